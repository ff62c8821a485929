"""CNNDetection and those who follow it: ``0_real`` beside ``1_fake``."""

from __future__ import annotations

from collections import defaultdict

from aigi_core.manifest import FAKE, REAL
from precompute.ingest.layouts.base import (
    LSUN,
    Layout,
    Place,
    Reading,
    Tree,
    by_folder,
    find_markers,
    named_after_root,
)

SHAPE = "<generator>/[<class>/]0_real|1_fake[_<generator>]"
IMAGENET, LAION = "imagenet", "laion"
REALS_OF = {"guided": IMAGENET, "dalle": LAION}
"""Real images of UniversalFakeDetect's diffusion half, by generator (``ldm_*`` and ``glide_*``:
LAION); dataset_paths.py there.
"""


def class_of(name: str) -> int | None:
    """The class that a folder names: ``0_real``, ``1_fake``, or ``1_fake_<generator>`` (FGTS)."""
    if name == "0_real":
        return REAL
    return FAKE if name == "1_fake" or name.startswith("1_fake_") else None


def parse(tree: Tree) -> Reading | None:
    """Each generator with its own real images, but for three cases.

    - LSUN's classes at the top are ProGAN's (CNNDetection's and AIGIBench's training sets).
    - Folders with fakes only, beside others with real images only (the diffusion half of
      UniversalFakeDetect): each generator gets the pool that its authors compare it with.
    - ``1_fake_<name>`` beside ``0_real``: the name is the generator.
    """
    marked = find_markers(tree.folders, class_of, last=True)
    halves: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    for m in marked.values():
        halves[m.before].add(m.label)
    # Folders that hold one class only, by their parent: what lies beside them are their partners.
    partners: defaultdict[tuple[str, ...], dict[int, list[str]]] = defaultdict(
        lambda: {REAL: [], FAKE: []}
    )
    for before, labels in halves.items():
        if len(labels) == 1 and before:
            partners[before[:-1]][next(iter(labels))].append(before[-1])
    tops: defaultdict[str, set[str]] = defaultdict(set)
    for m in marked.values():
        tops[m.split].add(m.before[0].lower() if m.before else "")
    lsun = {split for split, names in tops.items() if _is_progan_training(split, names)}
    places = {}
    questions = []
    open_pairs = {}
    for folder, m in marked.items():
        single = halves[m.before] == {m.label} and m.before
        beside = partners[m.before[:-1]] if single else {REAL: [], FAKE: []}
        if single and beside[REAL] and beside[FAKE]:
            name = m.before[-1]
            pool = name if m.label == REAL else _pool_beside(name, beside[REAL])
            if not pool and name not in tree.answers.pools:
                open_pairs[name] = sorted(beside[REAL])
            places[folder] = Place(m.label, name if m.label == FAKE else "", pool or name, m.split)
            continue
        top = m.before[0] if m.before else tree.name
        own = "progan" if m.split in lsun and top.lower() in LSUN else top
        named = m.marker[len("1_fake_") :]
        places[folder] = Place(m.label, (named or own) if m.label == FAKE else "", own, m.split)
    for name, pools in sorted(open_pairs.items()):
        questions.append(
            f"{name}/ holds fakes only, and beside it lie the real images of {', '.join(pools)}:"
            f" which belong to it? Say --pool {name}={pools[0]}."
        )
    return by_folder(
        tree, places, SHAPE, named_after_root(tree, places), questions=tuple(questions)
    )


def _is_progan_training(split: str, names: set[str]) -> bool:
    """Whether the folders at the top are the classes of a ProGAN training set: classes only
    (CNNDetection), or, in a split of its own, AIGIBench's four beside other generators.
    """
    classes = names & LSUN
    if len(names) > 1 and names <= LSUN:
        return True
    return bool(split) and {"car", "cat", "chair", "horse"} <= classes


def _pool_beside(generator: str, reals: list[str]) -> str:
    if len(reals) == 1:
        return reals[0]
    name = generator.lower()
    known = REALS_OF.get(name) or (LAION if name.startswith(("ldm", "glide", "dalle")) else "")
    return next((pool for pool in reals if pool.lower() == known), "")


LAYOUT = Layout(
    "cnndetection", SHAPE, parse, source="CNNDetection, UniversalFakeDetect, AIGIBench, FGTS"
)
