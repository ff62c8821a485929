"""GenImage: ``nature`` beside ``ai``."""

from __future__ import annotations

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts.base import (
    Layout,
    Place,
    Reading,
    Tree,
    by_folder,
    find_markers,
    named_after_root,
)

SHAPE = "<generator>/[train|val/]nature|ai"


def parse(tree: Tree) -> Reading | None:
    """``<generator>/[.../][train|val/]nature|ai``; each generator is its own pool."""
    marked = find_markers(tree.folders, {"nature": REAL, "ai": FAKE}.get, last=True)
    places = {}
    for folder, m in marked.items():
        generator = m.before[0] if m.before else tree.name
        places[folder] = Place(m.label, generator if m.label == FAKE else "", generator, m.split)
    return by_folder(tree, places, SHAPE, named_after_root(tree, places))


LAYOUT = Layout("genimage", SHAPE, parse, source="GenImage")
