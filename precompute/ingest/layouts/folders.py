"""``real/`` beside ``fake/``: the commonest layout; generators, pools and splits are folders."""

from __future__ import annotations

from collections import defaultdict

from aigi_core.manifest import FAKE, REAL
from aigi_core.statements import counted
from precompute.ingest.families import family_of
from precompute.ingest.layouts.base import (
    Layout,
    Marked,
    Place,
    Reading,
    Tree,
    by_folder,
    find_markers,
)
from precompute.ingest.walk import some

SHAPE = "real/ beside fake/<generator>/"


def parse(tree: Tree) -> Reading | None:
    """``[<pool>/]real/`` beside ``[<pool>/]fake/[<generator>/]``, with split folders anywhere.

    Where ``fake/`` holds no folders, the generator is called as the folder above it
    (``<generator>/{real,fake}``), or ``unknown`` at the top.
    """
    marked = find_markers(tree.folders, {"real": REAL, "fake": FAKE}.get)
    inside: defaultdict[tuple[int, tuple[str, ...]], set[str]] = defaultdict(set)
    for m in marked.values():
        if m.after:
            inside[m.label, m.before].add(m.after[0])
    places = {}
    notes = []
    questions = []
    for folder, m in marked.items():
        fakes, reals = inside[FAKE, m.before], inside[REAL, m.before]
        if m.label == FAKE and not m.after and fakes:
            continue  # loose files beside generators' folders: whose they are is not known
        places[folder] = _place(tree, m, fakes, reals)
    bases = sorted({m.before for m in marked.values()})
    for before in bases:
        fakes, reals = inside[FAKE, before], inside[REAL, before]
        where = "/".join((*before, ""))
        if shared := fakes & reals:
            if _own_reals(fakes, reals):
                notes.append(
                    f"{where}fake/ and {where}real/ hold the same folders ({some(shared)}): each is"
                    " a generator with its own real images."
                )
            elif not all(tree.answers.decides(name) for name in fakes):
                questions.append(
                    f"{where}fake/ and {where}real/ both hold {some(shared)}: are these generators"
                    " with their own real images, or what the pictures show? Say --rename"
                    f" {sorted(shared)[0]}={sorted(shared)[0]} for each generator, or --rename"
                    " '*=NAME' if all fakes are by one generator."
                )
        elif len(reals) > 1 and fakes and not tree.answers.pools:
            questions.append(
                f"{where}real/ holds {counted(len(reals), 'folder')} ({some(reals)}) and"
                f" {where}fake/ the"
                f" generators {some(fakes)}: which generator is compared with which real images?"
                f" Say --pool GENERATOR=POOL for each (pools are the folders of {where}real/), or"
                " --pool all to compare every generator with all of them."
            )
    if any(p.generator == "unknown" for p in places.values()):
        notes.append(
            "The folder of fakes names no generator: they are called 'unknown'; --rename"
            " unknown=NAME names it."
        )
    return by_folder(tree, places, SHAPE, tuple(notes), tuple(questions))


def _own_reals(fakes: set[str], reals: set[str]) -> bool:
    """Whether folders found under both classes are named like generators."""
    return all(family_of(name) != "other" for name in fakes & reals)


def _place(tree: Tree, m: Marked, fakes: set[str], reals: set[str]) -> Place:
    pool = "/".join(m.before) or "all"
    shared = bool(fakes & reals)
    if m.label == REAL:
        if (m.after and tree.answers.pools and set(tree.answers.pools.values()) & reals) or (
            m.after and shared and _own_reals(fakes, reals)
        ):
            pool = m.after[0]
        return Place(REAL, "", pool, m.split)
    if not m.after:
        return Place(FAKE, m.before[-1] if m.before else "unknown", pool, m.split)
    if m.after[0] in reals and _own_reals(fakes, reals):
        pool = m.after[0]
    return Place(FAKE, m.after[0], pool, m.split)


LAYOUT = Layout("folders", SHAPE, parse, source="CIFAKE, Community Forensics and most others")
