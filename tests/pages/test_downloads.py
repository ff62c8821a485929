"""Every table that a page offers for download, with names made for spreadsheets: no cell is a
formula, no name breaks out of its cell, and what is downloaded is the whole table.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace
from tests.factory import GENERATORS, edit_images, make_workspace
from ui.toolkit import tables
from ui.toolkit.page import Page
from ui.toolkit.router import PAGES

NAMES = ("=1+1", "a\r=cmd|' /C calc'!A0", "@SUM(1)\n\n| x", "\t-2+3")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_workspace(tmp_path_factory.mktemp("downloads") / "=w", per_class=20)

    def rename(table: pd.DataFrame) -> None:
        named = dict(zip([name for name, *_ in GENERATORS], NAMES, strict=True))
        table["generator"] = table["generator"].replace(named)
        table["family"] = table["family"].replace({"gan": "+family", "diffusion": "=family"})
        table["pool"] = "-" + table["pool"]
        table["path"] = "=" + table["path"]
        table["caption"] = "@caption\r=1"

    return edit_images(path, rename)


@pytest.mark.parametrize("stem", PAGES)
def test_no_cell_of_a_download_is_a_formula(
    open_app: Callable[..., AppTest], hostile: Path, stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[tuple[pd.DataFrame, str, str, str]] = []

    def files(
        page: Page, name: str, table: pd.DataFrame, formats: Any, latex: Any = Page._latex
    ) -> None:
        markdown = tables.markdown(tables.readable(table, formats))
        offered.append((table, tables.csv(table), latex(page, name, table, formats), markdown))

    def opened(page: Page, name: str, *rest: Any) -> None:
        table, formats = rest[-2:]
        if table is not None:
            files(page, name, table, formats)

    # what stands in expanders that nobody has opened
    monkeypatch.setattr(Page, "_table_files", files)
    monkeypatch.setattr(Page, "_more", opened)
    monkeypatch.setattr(Page, "_table_on_demand", opened)
    app = open_app(hostile, stem)
    assert not app.exception
    assert offered or stem in WITHOUT, f"{stem} offers no table"
    for table, made, latex, markdown in offered:
        check(table, made)
        lines = markdown.splitlines()
        assert len(lines) == len(table) + 2
        assert all(line.isprintable() for line in (*lines, *latex.splitlines()))
        check_caption(table, latex, Workspace.open(hostile).digest)


def check_caption(table: pd.DataFrame, latex: str, digest: str) -> None:
    """A paper's reader has no CSV file and no digest, and asks for n."""
    comment, *lines = latex.splitlines()
    [caption] = [line for line in lines if line.startswith(r"\caption")]
    assert digest in comment and comment.startswith("%") and digest not in "".join(lines)
    assert "CSV" not in caption and caption[len(r"\caption{")].isupper()
    if "trained on" in caption:
        assert ("n = " in caption) == ("n_fake" in table) and "Auc" not in caption
        assert "intervals at most" in caption


WITHOUT = (
    *("methods", "components", "geometry", "audit", "stress", "attribution"),
    *("inspect", "new_generator"),
)
"""Pages that have no table before a job has run, or an image was brought."""


def check(table: pd.DataFrame, made: str) -> None:
    """Read as a spreadsheet does: a CR or LF outside quotation marks ends a row."""
    rows = list(csv.reader(io.StringIO(made, newline="")))
    assert len(rows) == len(table) + 1
    texts = [at for at, kind in enumerate(table.dtypes) if kind.kind not in "biufc"]
    cells = [*rows[0], *(row[at] for row in rows[1:] for at in texts)]
    assert not [cell for cell in cells if cell.startswith(tables.FORMULA)]
