"""A data set's own table: one row an image."""

from __future__ import annotations

from pathlib import Path

from aigi_core.archives import divide
from aigi_core.remote import stands
from aigi_core.statements import counted
from precompute.ingest.layouts.base import Layout, Reading, Tree
from precompute.ingest.listing import read_listing, say_gone
from precompute.ingest.tables import SUFFIXES, Table

LISTINGS = tuple(f"manifest{suffix}" for suffix in SUFFIXES if suffix not in (".pq", ".txt"))
SHAPE = "a table manifest.csv (or .tsv, .json, .jsonl, .parquet) with the columns path and label"


def listings(root: Path) -> list[Path]:
    """The manifests at the top of a folder."""
    return [root / name for name in LISTINGS if (root / name).is_file()]


def read(tree: Tree, file: Path, why: str, listed_in: Table | None = None) -> Reading:
    """The rows of one manifest, or of a table that was made of several lists in a folder."""
    listed = read_listing(tree.root, file, tree.answers, listed_in)
    table = listed.table.assign(archive="", offset=-1)
    notes, questions = list(listed.notes), list(listed.questions)
    offered = table.loc[table["left_out"] == "", "path"]
    gone = [path for path in offered if not _is_there(tree.root / path)]
    say_gone(gone, len(offered), file.name, tree.root, notes, questions, beside=file.parent)
    why = f"{why} ({file.name}, {counted(len(table), 'row')})"
    return Reading(table, why, tuple(notes), tuple(questions), gone=tuple(gone))


def _is_there(path: Path) -> bool:
    return stands(path) or divide(path) is not None


def parse(tree: Tree) -> Reading | None:
    """The only manifest at the top; None where there is none, or more than one."""
    files = listings(tree.root)
    if len(files) != 1:
        return None
    return read(tree, files[0], f"the folder holds {files[0].name}")


LAYOUT = Layout(
    "manifest", SHAPE, parse, source="this project, ForensicHub, grip-unina", tabled=True
)
