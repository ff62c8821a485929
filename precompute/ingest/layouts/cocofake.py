"""COCOFake: MSCOCO's photographs, and for each a folder of its name with images made of its
captions.
"""

from __future__ import annotations

import re
from dataclasses import replace

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts.base import (
    Folder,
    Layout,
    Place,
    Reading,
    Tree,
    by_folder,
    folder_and_name,
    stem_of,
)

SHAPE = "<COCO>/.../<photograph>.jpg beside <fakes>/{train,val}2014/<photograph>/"
_NAME = re.compile(r"COCO_(train|val)2014_\d{12}", re.IGNORECASE)
UNNAMED = "unknown"


def parse(tree: Tree) -> Reading | None:
    """A photograph and the fakes in the folder of its name share a group; its name tells the split.

    Fakes are read where their photograph is there, and photographs where it or one beside it has
    fakes.
    """
    photographs = {
        stem_of(file.path).rpartition("/")[2]: folder
        for file in tree.files
        for folder in [tree.folder_of(file)]
        if not (folder and _NAME.fullmatch(folder[-1]))
    }
    places: dict[Folder, Place] = {}
    for folder in tree.folders:
        name = folder[-1] if folder else ""
        if (found := _NAME.fullmatch(name)) and name in photographs:
            places[folder] = Place(FAKE, UNNAMED, "MSCOCO", found[1].lower())
            places[photographs[name]] = Place(REAL, "", "MSCOCO", "")
    reading = by_folder(tree, places, SHAPE, NOTES)
    if reading is None:
        return None
    table = reading.table
    folders, names = folder_and_name(table["path"])
    own = names.where(table["label"] == REAL, folders)
    table["group"] = own.where(table["label"].isin([REAL, FAKE]), "")
    named = own.str.extract(_NAME, expand=False).str.lower().fillna("")
    table["split"] = table["split"].where(table["label"] != REAL, named)
    return replace(reading, table=table)


NOTES = (
    "A photograph and the fakes made of its captions share a group.",
    f"The folders name no generator: the fakes are called {UNNAMED!r}; --rename {UNNAMED}=NAME"
    " names it (COCOFake's were made by Stable Diffusion).",
)
LAYOUT = Layout("cocofake", SHAPE, parse, source="COCOFake")
