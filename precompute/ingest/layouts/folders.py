"""``real/`` beside ``fake/``: the commonest layout; generators, pools and splits are folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

from aigi_core.manifest import FAKE, REAL
from aigi_core.statements import counted
from precompute.ingest.families import family_of
from precompute.ingest.layouts.base import (
    Folder,
    Layout,
    Marked,
    Place,
    Reading,
    Tree,
    by_folder,
    find_markers,
)
from precompute.ingest.walk import shown, some

SHAPE = "real/ beside fake/<generator>/"
WORDS: Mapping[str, int] = {"real": REAL, "fake": FAKE}
MORE_WORDS = {"authentic": REAL, "genuine": REAL} | dict.fromkeys(
    ("ai", "ai-generated", "ai_generated", "generated", "synthetic", "artificial"), FAKE
)
"""Words that count where ``real`` and ``fake`` alone do not name both classes."""
FAMILIES = frozenset(
    {
        "gan",
        "gans",
        "diffusion",
        "dm",
        "dms",
        "ldm",
        "ldms",
        "diffusion_models",
        "ar",
        "autoregressive",
        "vae",
        "vaes",
        "flow",
        "flows",
        "transformer",
        "transformers",
        "other",
        "others",
        "commercial",
        "proprietary",
        "closed",
        "closed_source",
        "closed-source",
        "open",
        "open_source",
        "open-source",
    }
)
"""Names of folders that hold generators of one kind."""


def parse(tree: Tree) -> Reading | None:
    """``[<pool>/]real/`` beside ``[<pool>/]fake/[<generator>/]``, with split folders anywhere.

    Where ``fake/`` holds no folders, the generator is called as the folder above it
    (``<generator>/{real,fake}``), or ``unknown`` at the top. Folders of a family
    (``fake/gan/<generator>/``) are passed over.
    """
    plain = read(tree, WORDS.get, SHAPE)
    if plain is not None and {REAL, FAKE} <= set(plain.table["label"]):
        return plain
    more = read(tree, (dict(WORDS) | MORE_WORDS).get, SHAPE)
    return more if more is not None and {REAL, FAKE} <= set(more.table["label"]) else plain


def read(tree: Tree, class_of: Callable[[str], int | None], shape: str) -> Reading | None:
    """A tree whose folders tell the class.

    Args:
        class_of: 1, 0 or None for a folder's name in lower case.
        shape: what is read so, in words.
    """
    marked, notes, questions = _without_families(tree, find_markers(tree.folders, class_of))
    inside: defaultdict[tuple[int, tuple[str, ...]], set[str]] = defaultdict(set)
    for m in marked.values():
        if m.after:
            inside[m.label, m.before].add(m.after[0])
    places = {}
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
    return by_folder(tree, places, shape, tuple(notes), tuple(questions))


def _without_families(
    tree: Tree, marked: Mapping[Folder, Marked]
) -> tuple[dict[Folder, Marked], list[str], list[str]]:
    """What folders of fakes say without those that are called after a family of generators and
    hold known ones. Beside it, what is said of these, and what is asked of those that may be such
    or not; where all fakes lie in one folder, that is asked of any layout.
    """
    below: defaultdict[str, set[str]] = defaultdict(set)
    loose = {m.after[0] for m in marked.values() if m.label == FAKE and len(m.after) == 1}
    for m in marked.values():
        if m.label == FAKE and len(m.after) > 1:
            below[m.after[0]].add(m.after[1])
    several = len(loose | below.keys()) > 1
    passed: set[str] = set()
    notes, questions = [], []
    for name, inside in sorted(below.items()):
        known = {one for one in inside if family_of(one) != "other"}
        called_so = name.lower() in FAMILIES
        if name in loose or tree.answers.decides(name):
            continue
        if called_so and known == inside:
            passed.add(name)
            notes.append(
                f"The folder {shown(name)}/ of fakes holds the generators"
                f" {some(map(shown, inside))}: it was read as their family."
            )
        elif several and (called_so or (known and family_of(name) == "other")):
            questions.append(
                f"The folder {shown(name)}/ of fakes holds {some(map(shown, inside))}: are these"
                f" generators? If so, name the folders, --real DIR --fake DIR/{shown(name)}; if"
                f" {shown(name)} is the generator, say --rename {shown(name)}={shown(name)}."
            )
    kept = {
        folder: replace(m, after=m.after[1:])
        if m.label == FAKE and m.after and m.after[0] in passed
        else m
        for folder, m in marked.items()
    }
    return kept, notes, questions


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
