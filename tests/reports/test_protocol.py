"""The searches by both protocols in docs/results.md are those that the demo stores."""

from pathlib import Path

from aigi_core.workspace import Workspace
from reports.protocol import ProtocolTables
from reports.tables import markdown

ROOT = Path(__file__).parents[2]


def test_the_document_shows_the_searches_that_the_demo_stores() -> None:
    tables = ProtocolTables(Workspace.open(ROOT / "assets" / "demo"))
    header, *rows = tables.searches()
    assert {row[0] for row in rows} == {"components", "heads"}
    assert len(rows) == 3 * len({row[1] for row in rows if row[0] == "components"})
    assert markdown([header, *rows]) in (ROOT / "docs" / "results.md").read_text("utf-8")
