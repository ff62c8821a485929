"""TrueFake: the same pictures before and after several social networks."""

from __future__ import annotations

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts.base import Layout, Place, Reading, Tree, by_folder, find_markers

SHAPE = "<network>/{Fake,Real}/<generator or source>/"
NETWORKS = frozenset({"presocial", "facebook", "telegram", "x", "twitter", "whatsapp", "instagram"})


def parse(tree: Tree) -> Reading | None:
    """``{PreSocial,Facebook,...}/{Fake,Real}/<generator>/[<variant>/]``.

    Each network is a pool with its own copies of the real images; all copies of one picture share
    a group, so that they stay on one side of a split.
    """
    marked = {
        folder: m
        for folder, m in find_markers(tree.folders, {"real": REAL, "fake": FAKE}.get).items()
        if m.before and m.before[-1].lower() in NETWORKS and m.after
    }
    places = {}
    for folder, m in marked.items():
        twins = "/".join((m.marker.lower(), *m.after, ""))
        generator = m.after[0] if m.label == FAKE else ""
        places[folder] = Place(m.label, generator, m.before[-1], m.split, twins)
    notes = ("Copies of one picture on several networks share a group.",)
    return by_folder(tree, places, SHAPE, notes)


LAYOUT = Layout("truefake", SHAPE, parse, over=("folders",), source="TrueFake")
