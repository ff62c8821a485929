"""Tables of the documents in ``docs/``, computed from a workspace: ``python -m reports``."""
