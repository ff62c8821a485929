"""Lists of paths alone: ``real.txt`` beside ``fake.txt``, a path on each line; the lists' names say
class, split and generator (``train_fake_sdxl.txt``), as those of folders do elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa

from aigi_core.manifest import FAKE
from aigi_core.remote import stands
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from precompute.ingest.layouts import manifest
from precompute.ingest.layouts.base import Layout, Reading, Tree
from precompute.ingest.listing import path_below
from precompute.ingest.polarity import class_of_word
from precompute.ingest.tables import Table, paths_alone
from precompute.ingest.walk import FileEntry, shown, some

SHAPE = "real.txt beside fake.txt or fake_<generator>.txt, a path on each line"
UNNAMED = "unknown"
MOST = 200
"""Most files that are opened: more are texts of single images."""
FILLERS = frozenset({"list", "image", "images", "img", "path", "paths", "file", "files", "0", "1"})
"""Parts of a list's name that say nothing."""


def parse(tree: Tree) -> Reading | None:
    """Every list's images; None where the lists are not all in one folder, or in folders that are
    called after splits: what other folders mean is not known.
    """
    named = [
        (file, parts)
        for file in tree.files
        if not file.archive and file.path.lower().endswith(".txt")
        for parts in [_parts(file)]
        if parts is not None
    ]
    if len(named) > MOST:
        return None
    read = [(file, parts, paths_alone(tree.root / file.path)) for file, parts in named]
    lists = [one for one in read if one[2]]
    if {parts["label"] for _, parts, _ in lists} != {"real", "fake"}:
        return None
    if len({_plain_folders(file) for file, _, _ in lists}) > 1:
        return None
    columns: dict[str, list[str]] = {name: [] for name in ("path", "label", "generator", "split")}
    rows = []
    for file, parts, lines in lists:
        start = _start(tree.root, PurePosixPath(file.path).parent, lines[0][1])
        for number, path in lines:
            told = {"path": f"{start}{path}", **parts}
            for name, values in columns.items():
                values.append(told[name])
            rows.append(f"line {number} of {file.path}")
    folder = tree.root / Path(lists[0][0].path).parent
    listed = Table(folder, pa.table(columns), rows, "read as lists of paths")
    reading = manifest.read(tree, folder, "names of lists tell the class", listed)
    notes = [note for note in reading.notes if listed.dialect not in note]
    if UNNAMED in columns["generator"]:
        notes.append(
            f"A list of fakes names no generator: they are called {UNNAMED!r}; --rename"
            f" {UNNAMED}=NAME names it."
        )
    names = [(file.path, None) for file, _, _ in lists]
    notes += tree.unlisted(reading.table["path"], names)
    why = (
        f"{counted(len(rows), 'image', 'are')} named in {counted(len(lists), 'list')}"
        f" ({some(shown(file) for file, _ in names)})"
    )
    return replace(reading, why=why, notes=tuple(notes))


def _parts(file: FileEntry) -> dict[str, str] | None:
    """Label, generator and split that a list's name and folders tell; None without a class."""
    path = PurePosixPath(file.path)
    whole = class_of_word(path.stem)
    words = [path.stem] if whole is not None else re.split(r"[-_ ]+", path.stem)
    classes = [_class(word) for word in words]
    if len({one for one in classes if one is not None}) != 1:
        return None
    label = next(one for one in classes if one is not None)
    others = [word for word, one in zip(words, classes, strict=True) if one is None]
    splits = [SPLIT_OF[p.lower()] for p in (*others, *path.parts[:-1]) if p.lower() in SPLIT_OF]
    named = [word for word in others if word.lower() not in FILLERS | SPLIT_OF.keys()]
    return {
        "label": "fake" if label == FAKE else "real",
        "generator": ("-".join(named) or UNNAMED) if label == FAKE else "",
        "split": splits[0] if splits else "",
    }


def _class(word: str) -> int | None:
    one = class_of_word(word)
    return one if one is not None else class_of_word(word.removesuffix("s"))


def _plain_folders(file: FileEntry) -> tuple[str, ...]:
    """The folders above a list, without those that are called after splits."""
    above = PurePosixPath(file.path).parts[:-1]
    return tuple(part for part in above if part.lower() not in SPLIT_OF)


def _start(root: Path, folder: PurePosixPath, first: str) -> str:
    """What goes before a list's paths: its folder, where they begin there and not at the root."""
    below = path_below(first, root)
    if below is None or stands(root / below) or not stands(root / folder / first):
        return ""
    return f"{folder}/"


LAYOUT = Layout("path-lists", SHAPE, parse, last=True, source="Lists that training scripts read")
