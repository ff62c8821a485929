"""ArtiFact: ``metadata.csv`` in each generator's or source's folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.remote import stands
from aigi_core.statements import counted
from precompute.ingest.layouts.base import Layout, Reading, Tree
from precompute.ingest.listing import describe, path_below

SHAPE = "<generator or source>/metadata.csv with the columns image_path, target, category"


def parse(tree: Tree) -> Reading | None:
    """Generators are called as their folders; target 0 is real, any other number fake (each names a
    kind of generator); all real images form one pool.

    Raises:
        AigiError: images that lie neither below their folder nor below the root.
    """
    parts: list[pd.DataFrame] = []
    notes: list[str] = []
    questions: list[str] = []
    tables: list[tuple[str, object]] = []
    for file in tree.named("metadata.csv"):
        if file.archive:
            continue
        table = tree.table(file)
        if not {"image_path", "target"} <= set(table.names):
            continue
        tables.append((file.path, table))
        folder = Path(file.path).parent
        names = table.text("image_path")
        below = names.map(
            lambda name, folder=folder: (
                path_below(f"{folder.as_posix()}/{name}", tree.root) or (folder / name).as_posix()
            )
        )
        at_root = names.map(lambda name: stands(tree.root / name))
        beside = below.map(lambda path: stands(tree.root / path))
        if not (at_root | beside).any():
            raise AigiError(
                f"None of the images in {file.path} is there, neither below {folder}/ nor below"
                f" {tree.root}: check --images."
            )
        target = table.text("target")
        filled: dict[str, pd.Series | str] = {
            "path": below.where(beside | ~at_root, names),
            "label": target.map(lambda value: {"": "", "0": "real"}.get(value, "fake")),
            "generator": folder.name,
        }
        listed = describe(table, tree.answers, filled=filled)
        # A folder of real images is called after its source: that is no dropped generator.
        notes += [n for n in listed.notes if n not in notes and "was dropped" not in n]
        questions += listed.questions
        parts.append(listed.table.drop(columns=["image_path"], errors="ignore"))
    if not parts:
        return None
    joined = pd.concat(parts, ignore_index=True).assign(archive="", offset=-1)
    notes += tree.unlisted(joined["path"], tables)
    why = (
        f"{counted(len(joined), 'image', 'are')} listed in {counted(len(parts), 'file')}"
        " metadata.csv"
    )
    return Reading(joined, why, tuple(dict.fromkeys(notes)), tuple(questions))


LAYOUT = Layout("artifact", SHAPE, parse, source="ArtiFact", tabled=True)
