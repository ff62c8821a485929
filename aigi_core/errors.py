"""The one error that reaches a user: it says what was expected, what came and what to do about
it.
"""


class AigiError(Exception):
    """A mistake in the input or the environment that its reader can mend; the message is one clear
    sentence.
    """


class WorkspaceError(AigiError):
    """A workspace that is missing, damaged, half-built, of another version, or lacks what was asked
    of it.
    """


class NotMadeError(WorkspaceError):
    """What no job has made yet, or made for another state of the workspace; the message names the
    command. No mistake, so pages say it as a note.
    """


class HubError(AigiError):
    """Weights that a model hub did not give: no network, or no such file."""


class NotGivenError(AigiError):
    """Something that the workspace's encoder, or the setting chosen, cannot give; no mistake, so
    pages say it as a note.
    """
