"""The encoders of the demo in docs/results.md are those that it holds."""

from pathlib import Path

from aigi_core.encodings import open_encodings
from aigi_core.workspace import Workspace
from reports.encoders import EncoderTables
from reports.tables import markdown

ROOT = Path(__file__).parents[2]


def test_the_document_shows_the_encoders_that_the_demo_holds() -> None:
    demo = Workspace.open(ROOT / "assets" / "demo")
    document = (ROOT / "docs" / "results.md").read_text("utf-8")
    tables = EncoderTables(demo).tables()
    header, *rows = tables["encoders"]()
    assert [row[0] for row in rows] == list(open_encodings(demo.path))
    assert markdown([header, *rows]) in document
    assert markdown(tables["encoder-errors"]()) in document
