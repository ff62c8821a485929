"""What a page run by Streamlit's test runner shows, as text."""

import re
from html import unescape
from urllib.parse import parse_qs

import pandas as pd
from streamlit.testing.v1 import AppTest


def text_of(app: AppTest) -> str:
    """All its markdown."""
    return "\n".join(block.value for block in app.markdown)


def with_how(app: AppTest) -> AppTest:
    """With the fold "How these numbers are made" opened."""
    app.session_state["how"] = True
    return app.run()


def links_of(app: AppTest) -> list[tuple[str, str, dict[str, list[str]]]]:
    """Page, text and controls of each link to another page."""
    links = [one.proto for one in app.get("page_link")]
    return [(one.page, one.label, parse_qs(one.query_string)) for one in links]


def notes(app: AppTest) -> list[str]:
    """What its notes say, without the backslashes that keep users' names inert."""
    return [note.value.replace("\\", "") for note in app.info]


def noted(app: AppTest, says: str) -> bool:
    """Whether a page without errors has a note with this text."""
    return not (app.exception or app.error) and any(says in note for note in notes(app))


def stats(app: AppTest) -> str:
    """Its own HTML: the row of numbers with their n and intervals."""
    return "".join(block.proto.body for block in app.get("html"))


COUNTS = {"Embedding", "C", "Nearest text's cosine", "p", "Logit, not calibrated"}
"""Tiles with a decimal value that is no estimate of a rate: a setting, a p-value, one image's or
one detector's own number."""
STATISTIC = re.compile(r"(?<![\w.,-])[-+]?(?:\d+\.\d+%?|\d+%)(?![\w.])")
BEHIND = re.compile(r"[^()\[\]]{0,120}[(\[][^()\[\]]*\d%?(?: to |, )[-+]?\d")
"""An interval in brackets, in the same breath."""
ALLOWED = "false discovery rate|5% FDR|false-alarm rate of|false alarms"


ABOVE_THE_CONTROLS = re.compile(r'<d\w+ class="aigi-(stats|controls)"')


def bare_statistics(app: AppTest) -> list[str]:
    """Numbers of the headline, and of the tiles below it, that stand without their interval."""
    drawn = re.sub(r'<details class="aigi-columns">.*?</details>', "", stats(app), flags=re.DOTALL)
    tiles = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", drawn, re.DOTALL)
    bare = []
    for label, value in tiles:
        label = re.sub("<p>.*?</p>", "", label)
        label, value = (unescape(re.sub("<[^>]+>", " ", part)).strip() for part in (label, value))
        told = "95% interval" in value or "in 95% of" in value
        if STATISTIC.search(value) and not told and label not in COUNTS:
            bare.append(f"{label}: {value}")
    text = re.sub(r"`[^`]*`", "NAME", headline(app)).replace("*", "").replace("\\", "")
    for found in STATISTIC.finditer("" if "not estimates" in text else text):
        before, behind = text[: found.start()], text[found.end() :]
        inside = len(re.findall(r"[(\[]", before)) > len(re.findall(r"[)\]]", before))
        allowed = re.search(ALLOWED, text[max(0, found.start() - 24) : found.end() + 8])
        if not inside and not allowed and not BEHIND.match(behind):
            bare.append(f"{found[0]} in: {text}")
    return bare


def headline(app: AppTest) -> str:
    """The answer to the page's question: the last text above the tiles, or the controls."""
    answer = ""
    for block in app.main:
        if block.type == "markdown":
            answer = block.value
        if block.type == "html" and re.match(
            r'<d\w+ class="aigi-(stats|controls)"', block.proto.body
        ):
            return answer
    return ""


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
