"""Which files there are, and what their folders say about label, generator, pool and split.

A layout is a function from all folders that hold files to a :class:`Place` each; a new one is a
function and a line in
:data:`LAYOUTS`.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from precompute.ingest.listing import read_listing
from precompute.ingest.splits import SPLIT_OF

UNKNOWN = -1
"""Label of a file about which the layout says nothing; such rows are always left out."""
CLUTTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "ehthumbs.db"})
LISTINGS = ("manifest.csv", "manifest.parquet")

Folder = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """What a folder says of the files in it; ``split`` is empty where the data set has none of its
    own.
    """

    label: int
    generator: str
    pool: str
    split: str


@dataclass(frozen=True)
class Candidates:
    """Files with what is known of them before they are opened.

    Attributes:
        table: columns path, label, generator, family, pool, group, split (the data set's own),
            source_url, caption, note, left_out, and a manifest's further columns; sorted by path.
        layout: name of the layout that was used.
        why: one sentence on what decided it.
        notes: sentences on what was passed over.
    """

    table: pd.DataFrame
    layout: str
    why: str
    notes: tuple[str, ...]


def find_candidates(root: Path, layout: str = "auto", manifest: Path | None = None) -> Candidates:
    """List the files of a data set and name their label and generator.

    Raises:
        AigiError: no folder, no files, a manifest that does not hold, no layout that fits, or more
            than one.
    """
    if not root.is_dir():
        raise AigiError(
            f"Expected a folder of images, but {root}"
            f" {'is a file' if root.exists() else 'does not exist'}."
        )
    if manifest is not None and layout not in ("auto", "manifest"):
        raise AigiError(f"A manifest was given beside --layout {layout}: choose one of the two.")
    listings = (
        [manifest]
        if manifest is not None
        else [root / name for name in LISTINGS if (root / name).is_file()]
    )
    if layout == "manifest" or manifest is not None:
        if len(listings) != 1:
            found = "both" if listings else "neither"
            raise AigiError(
                f"{root} has {found} of {' and '.join(LISTINGS)}: name the one to use with"
                " --manifest."
            )
        why = "it was asked for" if manifest is None else "a manifest was given"
        return _listed(root, listings[0], why)
    paths, notes = walk(root)
    if not paths:
        raise AigiError(f"The folder {root} holds no files: expected images in it, {EXPECTED}.")
    folders = Counter(tuple(path.split("/")[:-1]) for path in paths)
    fits = {
        name: fit for name, parse in LAYOUTS.items() if (fit := parse(folders, root.resolve().name))
    }
    if layout == "auto":
        complete = {
            name: fit
            for name, fit in fits.items()
            if {place.label for place in fit.values()} == {REAL, FAKE}
        }
        options = [f"manifest ({file.name})" for file in listings]
        options += [
            f"{name} ({_explained(fit, folders):,} of {len(paths):,} files)"
            for name, fit in complete.items()
        ]
        if len(options) > 1:
            raise AigiError(
                f"The layout of {root} is ambiguous: {', '.join(options)} all fit; choose with"
                " --layout."
            )
        if listings:
            return _listed(
                root, listings[0], f"the folder holds {listings[0].name} and no other layout fits"
            )
        fits = complete or fits
        if len(fits) != 1:
            seen = (
                ", ".join(sorted({shown(folder[0]) + "/" for folder in folders if folder})[:8])
                or "files only"
            )
            raise AigiError(f"No layout fits {root} (at its top: {seen}): expected {EXPECTED}.")
        layout = next(iter(fits))
    elif layout not in fits:
        raise AigiError(f"The layout {layout} fits nothing in {root}: expected {SHAPES[layout]}.")
    fit = fits[layout]
    why = f"{_explained(fit, folders):,} of {len(paths):,} files match {SHAPES[layout]}"
    return Candidates(_placed(paths, fit, layout), layout, why, notes)


def _listed(root: Path, file: Path, why: str) -> Candidates:
    table, notes = read_listing(root, file)
    return Candidates(table, "manifest", f"{why} ({file.name}, {len(table):,} rows)", notes)


def _explained(fit: Mapping[Folder, Place], folders: Counter[Folder]) -> int:
    return sum(folders[folder] for folder in fit)


def _placed(paths: list[str], fit: Mapping[Folder, Place], layout: str) -> pd.DataFrame:
    rows = []
    for path in paths:
        place = fit.get(tuple(path.split("/")[:-1]))
        known = place or Place(UNKNOWN, "", "", "")
        left_out = "" if place else f"outside the layout: not under {SHAPES[layout]}"
        if _undecodable(path):
            path, left_out = _escaped(path), "unreadable: its name is not valid Unicode"
        rows.append(
            dict(
                path=path,
                label=known.label,
                generator=known.generator,
                family="",
                pool=known.pool,
                group="",
                split=known.split,
                source_url="",
                caption="",
                note="",
                left_out=left_out,
            )
        )
    return pd.DataFrame(rows).sort_values("path", ignore_index=True)


def _undecodable(path: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in path)


def _escaped(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def shown(text: str) -> str:
    """A name as it may be printed: control characters and lone surrogates escaped, the rest as it
    is.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def walk(root: Path) -> tuple[list[str], tuple[str, ...]]:
    """Every file below a folder, relative, with '/' between parts, sorted; and notes on what was
    not entered.

    Hidden entries and a desktop's clutter are skipped. Symbolic links are followed, except into a
    folder that contains them.
    """
    found: list[str] = []
    hidden, loops, closed = 0, [], []
    stack: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while stack:
        folder, prefix, above = stack.pop()
        status = Path(folder).stat()
        above |= {(status.st_dev, status.st_ino)}
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            closed.append(f"{shown(prefix) or '.'} ({error.strerror})")
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in CLUTTER:
                hidden += 1
                continue
            try:
                inside = Path(entry.path).stat() if entry.is_dir() else None
            except OSError:  # a link that leads round to itself: decoding will say so
                inside = None
            if inside is None:
                found.append(prefix + entry.name)
            elif (inside.st_dev, inside.st_ino) in above:
                loops.append(shown(prefix + entry.name))
            else:
                stack.append((entry.path, f"{prefix}{entry.name}/", above))
    notes = []
    if hidden:
        notes.append(f"{hidden:,} hidden entries were skipped.")
    if loops:
        notes.append(
            f"{len(loops):,} links into a folder above themselves were not followed:"
            f" {_some(loops)}."
        )
    if closed:
        notes.append(f"{len(closed):,} folders could not be listed: {_some(closed)}.")
    return sorted(found), tuple(notes)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


# The layouts. Folder names are compared without case.
@dataclass(frozen=True)
class _Parsed:
    label: int
    before: Folder  # folders above the one that names the label, split folders removed
    after: Folder
    split: str


def _parse(
    folders: Iterable[Folder], markers: Mapping[str, int], last: bool = False
) -> dict[Folder, _Parsed]:
    """Find the folder that names the label, and split folders: those whose siblings all are called
    after splits.

    The second condition matters: ``train`` is also one of the twenty LSUN classes of CNNDetection.
    """
    marked: dict[Folder, int] = {}
    for folder in folders:
        places = [i for i, name in enumerate(folder) if name.lower() in markers]
        if places:
            marked[folder] = places[-1] if last else places[0]
    siblings: defaultdict[Folder, set[str]] = defaultdict(set)
    for folder in marked:
        for i, name in enumerate(folder):
            if name.lower() not in markers:
                siblings[folder[:i]].add(name.lower())
    parsed = {}
    for folder, at in marked.items():
        splits = [
            i
            for i, name in enumerate(folder)
            if name.lower() in SPLIT_OF and siblings[folder[:i]] <= SPLIT_OF.keys() and i != at
        ]
        plain = [i for i in range(len(folder)) if i not in splits and i != at]
        parsed[folder] = _Parsed(
            label=markers[folder[at].lower()],
            before=tuple(folder[i] for i in plain if i < at),
            after=tuple(folder[i] for i in plain if i > at),
            split=SPLIT_OF[folder[splits[0]].lower()] if splits else "",
        )
    return parsed


def folders_layout(folders: Iterable[Folder], root_name: str) -> dict[Folder, Place]:
    """``[<pool>/]real/`` beside ``[<pool>/]fake/<generator>/``, with split folders anywhere."""
    return {
        folder: Place(
            p.label, p.after[0] if p.label == FAKE else "", "/".join(p.before) or "all", p.split
        )
        for folder, p in _parse(folders, {"real": REAL, "fake": FAKE}).items()
        if p.label == REAL or p.after
    }


LSUN = frozenset(
    {
        "airplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    }
)
"""Classes on which CNNDetection trains ProGAN; its training folders name them and not the
generator.
"""


def cnndetection_layout(folders: Iterable[Folder], root_name: str) -> dict[Folder, Place]:
    """``<generator>/[<class>/]0_real|1_fake`` (CNNDetection, UniversalFakeDetect); each generator
    is its own pool.
    """
    parsed = _parse(folders, {"0_real": REAL, "1_fake": FAKE}, last=True)
    tops: defaultdict[str, set[str]] = defaultdict(set)
    for p in parsed.values():
        tops[p.split].add(p.before[0].lower() if p.before else "")
    progan = {split for split, names in tops.items() if len(names) > 1 and names <= LSUN}
    places = {}
    for folder, p in parsed.items():
        generator = "progan" if p.split in progan else p.before[0] if p.before else root_name
        places[folder] = Place(p.label, generator if p.label == FAKE else "", generator, p.split)
    return places


def genimage_layout(folders: Iterable[Folder], root_name: str) -> dict[Folder, Place]:
    """``<generator>/[.../][train|val/]nature|ai`` (GenImage); each generator is its own pool."""
    return {
        folder: Place(p.label, generator if p.label == FAKE else "", generator, p.split)
        for folder, p in _parse(folders, {"nature": REAL, "ai": FAKE}, last=True).items()
        for generator in [p.before[0] if p.before else root_name]
    }


LAYOUTS: dict[str, Callable[[Iterable[Folder], str], dict[Folder, Place]]] = {
    "folders": folders_layout,
    "cnndetection": cnndetection_layout,
    "genimage": genimage_layout,
}
SHAPES = {
    "folders": "real/ beside fake/<generator>/",
    "cnndetection": "<generator>/[<class>/]0_real|1_fake",
    "genimage": "<generator>/[train|val/]nature|ai",
}
EXPECTED = (
    "either "
    + ", or ".join(SHAPES.values())
    + f", or a manifest ({' or '.join(LISTINGS)}, or --manifest FILE)"
)
