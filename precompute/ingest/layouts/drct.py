"""DRCT-2M: MSCOCO's photographs in one tree, what models made of their captions in others."""

from __future__ import annotations

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts.base import Layout, Place, Reading, Tree, by_folder

SHAPE = "MSCOCO/{train,val}2017 beside <model>/{train,val}2017"
SPLITS = {"train2017": "train", "val2017": "val"}


def parse(tree: Tree) -> Reading | None:
    """``[.../]MSCOCO/{train,val}2017/`` and ``[.../]<model>/{train,val}2017/``.

    Files of one name show one caption of MSCOCO, and share a group.
    """
    places = {}
    for folder in tree.folders:
        if len(folder) > 1 and (split := SPLITS.get(folder[-1].lower())):
            real = folder[-2].lower() in ("mscoco", "coco")
            places[folder] = Place(
                REAL if real else FAKE, "" if real else folder[-2], "MSCOCO", split, "MSCOCO/"
            )
    if {place.label for place in places.values()} != {REAL, FAKE}:
        return None
    notes = ("Pictures of one name (one caption of MSCOCO) share a group.",)
    return by_folder(tree, places, SHAPE, notes)


LAYOUT = Layout("drct", SHAPE, parse, source="DRCT-2M")
