"""Hugging Face's ImageFolder: ``metadata.csv`` (or .jsonl, .parquet) with ``file_name`` beside the
images; the class stands in a column or in the folders' names.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aigi_core.remote import stands
from aigi_core.statements import counted
from precompute.ingest.layouts.base import Layout, Reading, Tree, split_of
from precompute.ingest.listing import describe, first_named, path_below, say_gone
from precompute.ingest.polarity import folder_signs
from precompute.ingest.walk import FileEntry

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SHAPE = "metadata.csv (or .jsonl, .parquet) with the column file_name beside the images"


def parse(tree: Tree) -> Reading | None:
    """Every metadata file's rows; a folder called after a split is the data set's own split.

    The file may stand inside an archive with its images, or beside the archive that holds them.
    """
    tables = [(f.path, tree.table(f)) for f in tree.named(*NAMES)]
    tables = [(path, table) for path, table in tables if "file_name" in table.names]
    if not tables:
        return None
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    questions: list[str] = []
    for path, table in tables:
        folder = Path(path).parent
        packed = _packed_beside(tree, folder)
        paths = table.text("file_name").map(
            lambda name, folder=folder, packed=packed: (
                packed.get(name) or path_below(str(folder / name), tree.root) or str(folder / name)
            )
        )
        filled: dict[str, pd.Series | str] = {"path": paths}
        if "label" not in table.names and "label" not in tree.answers.columns:
            signs = folder_signs(paths)
            if signs.isna().any():
                return None  # the class stands nowhere: other layouts, or --columns label=...
            filled["label"] = signs.map({0: "real", 1: "fake"})
        if "split" not in table.names:
            filled["split"] = paths.map(split_of)
        known = first_named("generator", ("generator", "model"), table.names)
        listed = describe(table, tree.answers, known=known, filled=filled)
        parts.append(listed.table)
        notes += [note for note in listed.notes if note not in notes]
        questions += listed.questions
    joined = pd.concat(parts, ignore_index=True)
    there = {f.path: f for f in tree.files}
    found = [there.get(path, FileEntry(path)) for path in joined["path"]]
    joined = joined.assign(archive=[f.archive for f in found], offset=[f.offset for f in found])
    of = tables[0][0] if len(tables) == 1 else "the metadata files"
    gone = [path for path in joined["path"] if path not in there]
    say_gone(gone, len(joined), of, tree.root, notes, questions)
    notes += tree.unlisted(joined["path"], tables)
    why = (
        f"{counted(len(joined), 'image', 'are')} listed in {counted(len(tables), 'metadata file')}"
    )
    return Reading(joined, why, tuple(notes), tuple(questions), gone=tuple(gone))


def _packed_beside(tree: Tree, folder: Path) -> dict[str, str]:
    """Name inside an archive that lies in a folder -> path, where no plain file has the name."""
    return {
        name: f.path
        for f in tree.files
        if f.archive and Path(f.archive).parent == folder
        for name in [f.path.removeprefix(f"{f.archive}/")]
        if not stands(tree.root / folder / name)
    }


LAYOUT = Layout(
    "imagefolder",
    SHAPE,
    parse,
    over=("folders",),
    source="Hugging Face datasets' ImageFolder",
    tabled=True,
)
