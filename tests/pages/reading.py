"""What a page run by Streamlit's test runner shows, as text."""

from streamlit.testing.v1 import AppTest


def text_of(app: AppTest) -> str:
    """All its markdown."""
    return "\n".join(block.value for block in app.markdown)


def notes(app: AppTest) -> list[str]:
    """What its notes say, without the backslashes that keep users' names inert."""
    return [note.value.replace("\\", "") for note in app.info]


def noted(app: AppTest, says: str) -> bool:
    """Whether a page without errors has a note with this text."""
    return not (app.exception or app.error) and any(says in note for note in notes(app))


def stats(app: AppTest) -> str:
    """Its own HTML: the row of numbers with their n and intervals."""
    return "".join(block.proto.body for block in app.get("html"))
