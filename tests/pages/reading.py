"""What a page run by Streamlit's test runner shows, as text."""

from streamlit.testing.v1 import AppTest


def text_of(app: AppTest) -> str:
    """All its markdown."""
    return "\n".join(block.value for block in app.markdown)


def stats(app: AppTest) -> str:
    """Its own HTML: the row of numbers with their n and intervals."""
    return "".join(block.proto.body for block in app.get("html"))
