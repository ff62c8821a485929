"""DiffusionForensics: ``real/`` beside one folder a generator."""

from __future__ import annotations

from dataclasses import replace

from aigi_core.manifest import FAKE, REAL
from aigi_core.splits import SPLIT_OF
from precompute.ingest.families import family_of
from precompute.ingest.layouts.base import (
    Folder,
    Layout,
    Place,
    Reading,
    Tree,
    by_folder,
    find_markers,
)
from precompute.ingest.polarity import class_of_word
from precompute.ingest.walk import shown, some

SHAPE = "[train|test/][<set>/]real/ beside <generator>/"


def parse(tree: Tree) -> Reading | None:
    """Each folder that lies beside a ``real/`` is a generator, compared with what is in that; None
    where a folder is called after fakes.
    """
    if any(class_of_word(part) == FAKE for folder in tree.folders for part in folder):
        return None
    marked = find_markers(tree.folders, {"real": REAL}.get)
    above: dict[Folder, str] = {}
    places: dict[Folder, Place] = {}
    for folder, m in marked.items():
        pool = "/".join(m.before) or "all"
        above[folder[: folder.index(m.marker)]] = pool
        places[folder] = Place(REAL, "", pool, m.split)
    for folder in tree.folders:
        # of several the one above it that is nearest
        at = next((i for i in reversed(range(len(folder))) if folder[:i] in above), None)
        if folder in places or at is None or folder[at].lower() in SPLIT_OF:
            continue
        split = next((SPLIT_OF[p] for part in folder if (p := part.lower()) in SPLIT_OF), "")
        places[folder] = Place(FAKE, folder[at], above[folder[:at]], split)
    names = {place.generator for place in places.values() if place.label == FAKE}
    reading = by_folder(tree, places, SHAPE) if names else None
    unknown = [n for n in names if family_of(n) == "other" and not tree.answers.decides(n)]
    if reading is None or not unknown:
        return reading
    asked = (
        f"The folder {shown(unknown[0])} lies beside real/: is it a generator?"
        if len(unknown) == 1
        else f"The folders {some(map(shown, unknown))} lie beside real/: are these generators?"
    )
    doubt = (
        f"{asked} If so, say --layout siblings; if not, name the folders with --real DIR --fake"
        " NAME=DIR."
    )
    return replace(reading, doubts=(*reading.doubts, doubt))


LAYOUT = Layout("siblings", SHAPE, parse, last=True, source="DiffusionForensics")
