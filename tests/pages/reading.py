"""What a page run by Streamlit's test runner shows, as text."""

import re
from html import unescape

import pandas as pd
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


def tables(app: AppTest) -> list[pd.DataFrame]:
    """Its tables as they are read: titles and texts."""
    return tables_in("".join(block.proto.body for block in app.get("html")))


def tables_in(html: str) -> list[pd.DataFrame]:
    found = []
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        head, *rows = (
            [unescape(re.sub("<[^>]+>", "", c)) for c in re.findall("<t[hd].*?</t[hd]>", row)]
            for row in re.findall("<tr>.*?</tr>", table)
        )
        found.append(pd.DataFrame(rows, columns=head))
    return found
