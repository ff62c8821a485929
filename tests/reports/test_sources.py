"""Tables of attribution and fine-tuning: counted by hand, and those that docs/methods.md shows."""

import re

import pandas as pd

from aigi_core.assets import asset
from aigi_core.attribution.report import load_attribution
from aigi_core.workspace import Workspace
from reports.__main__ import fill
from reports.sources import SourceTables
from tests.conftest import ROOT


def test_the_document_shows_the_demo_as_it_is() -> None:
    workspace = Workspace.open(asset("demo"))
    tables = SourceTables(workspace).tables()
    text = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert set(re.findall(r"<!-- results (\S+) -->", text)) == set(tables)
    assert fill(text, tables) == text


def test_the_confusions_are_those_counted_by_hand() -> None:
    workspace = Workspace.open(asset("demo"))
    tables, named = SourceTables(workspace), load_attribution(workspace).named["regression"]
    counted = pd.crosstab(named.truth, named.named)
    rows = tables.confusion()[1:]
    assert len(rows) == len(named.names)
    for at, row in enumerate(rows):
        own = counted.loc[at]
        assert int(row[-1]) == own.sum() and row[0] == f"{at + 1} {named.names[at]}"
        for other, cell in enumerate(row[1:-2]):
            hits = int(own.get(other, 0))
            shown = 0.0 if cell == "·" else float(cell)
            assert (hits > 0) == (cell != "·") and abs(shown - 100 * hits / own.sum()) <= 0.5 + 1e-9
    by_source = {row[1]: row for row in tables.named()[1:] if row[0] == "regression"}
    assert float(by_source["sdxl"][2].split()[0]) == round(
        counted.loc[named.names.index("sdxl"), named.names.index("sdxl")] / 45, 3
    )
    shares = [[float(cell.split()[0]) for cell in row[3:6]] for row in tables.open_set()[1:]]
    assert all(abs(sum(three) - 1) < 0.002 for three in shares) and len(shares) == 30
    kept = [row for row in tables.finetuning()[1:] if row[-1] == "1"]
    lowest = min(tables.finetuning()[1:], key=lambda row: float(row[5]))
    assert kept == [lowest]
