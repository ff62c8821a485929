"""Folders called by the class's number, as torchvision's ``ImageFolder`` users write them: ``0/``
beside ``1/``; which of them is fake, only the user knows.
"""

from __future__ import annotations

from dataclasses import replace

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts import folders
from precompute.ingest.layouts.base import Layout, Reading, Tree, find_markers

SHAPE = "[<generator>/][train|test/]0|1"
NAMES = {"0": "0", "1": "1", "class_0": "0", "class_1": "1", "class0": "0", "class1": "1"}
ASKED = (
    "The folders 0/ and 1/ do not say which of them is fake. Say --fake-label 1 if the images in 1/"
    " are generated, or --fake-label 0 if those in 0/ are."
)


def parse(tree: Tree) -> Reading | None:
    """As ``real/`` beside ``fake/``, once it is told which number means what."""
    numbers = {m.marker for m in find_markers(tree.folders, _number).values()}
    if {NAMES[marker.strip().lower()] for marker in numbers} != {"0", "1"}:
        return None
    told = dict.fromkeys(tree.answers.fake_labels, FAKE)
    told |= dict.fromkeys(tree.answers.real_labels, REAL)
    known = len(told) in (1, 2) and set(told) <= {"0", "1"}
    value, label = next(iter(told.items())) if known else ("1", FAKE)
    class_of = {name: label if of == value else 1 - label for name, of in NAMES.items()}
    reading = folders.read(tree, class_of.get, SHAPE)
    if reading is None or (known and len(set(told.values())) == len(told)):
        return reading
    return replace(reading, questions=(ASKED, *reading.questions))


def _number(name: str) -> int | None:
    return int(NAMES[name]) if name in NAMES else None


LAYOUT = Layout("numbered", SHAPE, parse, source="Many sets of Kaggle", tabled=True)
