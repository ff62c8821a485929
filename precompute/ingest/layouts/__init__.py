"""Which files there are, and what their folders and tables say about label, generator, pool, split.

A layout is one file with a :class:`~precompute.ingest.layouts.base.Layout`, and a line in
:data:`LAYOUTS`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path

import pandas as pd

from aigi_core.arguments import did_you_mean
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from precompute.ingest.answers import ANY, Answers, composed
from precompute.ingest.checks import derived, folders_of, lacking, questions_of
from precompute.ingest.families import VIDEO, scene_of
from precompute.ingest.layouts import (
    artbench,
    artifact,
    cnndetection,
    cocofake,
    drct,
    folders,
    genimage,
    imagefolder,
    manifest,
    numbered,
    parquet_images,
    path_lists,
    roots,
    samples,
    siblings,
    truefake,
)
from precompute.ingest.layouts.base import UNKNOWN, Layout, Reading, Tree
from precompute.ingest.listing import suggested
from precompute.ingest.polarity import class_of_word
from precompute.ingest.tables import SUFFIXES as tables_suffixes
from precompute.ingest.walk import quoted, shown, walk

FRAMES = frozenset({"frames", "frames_all", "real_frames", "fake_frames"})
"""Names of folders whose folders are videos."""
SUGGESTED = 3
"""Most tables that are named where no layout fits."""
LOOKED_AT = 12
"""Most that are looked at for it."""
__all__ = ["LAYOUTS", "UNKNOWN", "Candidates", "asked_of_both", "find_candidates"]
LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT
    for module in (
        folders,
        cnndetection,
        genimage,
        truefake,
        drct,
        cocofake,
        numbered,
        siblings,
        manifest,
        imagefolder,
        artbench,
        artifact,
        parquet_images,
        samples,
        path_lists,
        roots,
    )
}


@dataclass(frozen=True, eq=False)
class Candidates:
    """Files with what is known of them before they are opened.

    Attributes:
        table: columns path, label, generator, family, pool, group, split (the data set's own),
            source_url, caption, note, left_out, archive, offset, and a table's further columns;
            sorted by path.
        layout: name of the layout that was used.
        why: one sentence on what decided it.
        notes: sentences on what was decided or passed over.
        questions: sentences that the user must answer first; each names the option.
        gone: paths of rows whose file is not there.
    """

    table: pd.DataFrame = field(repr=False)
    layout: str
    why: str
    notes: tuple[str, ...]
    questions: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()


def find_candidates(
    root: Path,
    layout: str = "auto",
    manifest_file: Path | None = None,
    answers: Answers = Answers(),  # noqa: B008
) -> Candidates:
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
    if manifest_file is not None and layout not in ("auto", "manifest"):
        raise AigiError(f"A manifest was given beside --layout {layout}: choose one of the two.")
    asked = layout != "auto"
    if answers.real or answers.fake:
        if manifest_file is not None or layout not in ("auto", "roots"):
            raise AigiError("--real and --fake name the folders themselves: leave --layout out.")
        layout = "roots"
    if manifest_file is not None or layout == "manifest":
        name, reading = "manifest", _listed(root, manifest_file, answers)
        walked: tuple[str, ...] = ()
    else:
        files, walked = walk(root, roots.prefixes(answers, root))
        if not files:
            raise AigiError(f"The folder {root} holds no files: name a folder with images.")
        tree = Tree.of(root, files, answers)
        name, reading = _chosen(tree, layout, walked)
        reading = _with_captions(tree, reading)
    reading = _with_videos(replace(reading, table=_composed(reading.table)))
    _refuse_unused(answers, name)
    table, notes = _as_answered(reading.table, answers)
    doubts = () if asked else (*reading.doubts, *derived(reading.table, name))
    questions = (*reading.questions, *doubts, *questions_of(table, name, answers))
    return Candidates(
        table.sort_values("path", ignore_index=True),
        name,
        reading.why,
        (*walked, *reading.notes, *notes),
        questions,
        frozenset(reading.gone),
    )


def _with_videos(reading: Reading) -> Reading:
    """With a group for the frames of each video and of those made from it, which are nearly the
    same picture: images in a folder that is called as videos are, or lies in one called
    ``frames``."""
    above = pd.Series(folders_of(reading.table["path"]), index=reading.table.index)
    videos = {folder for folder in set(above) if _is_video(folder)}
    table = reading.table.copy()
    frames = above.isin(videos) & (table["group"] == "")
    if not frames.any():
        return reading
    scenes = {folder: f"video {scene_of(folder.rpartition('/')[2])}" for folder in videos}
    table.loc[frames, "group"] = above[frames].map(scenes)
    note = (
        f"{counted(int(frames.sum()), 'image', 'are')} frames of videos, by the names of"
        f" {counted(len(videos), 'folder')}: those of a video, and of the one it was made from,"
        " share a group."
    )
    return replace(reading, table=table, notes=(*reading.notes, note))


def _is_video(folder: str) -> bool:
    *_, above, name = ("", *folder.lower().split("/"))
    return above in FRAMES or VIDEO.fullmatch(name) is not None


def _composed(table: pd.DataFrame) -> pd.DataFrame:
    """With names in one spelling of accents, whatever system wrote the folders."""
    spelled = {
        name: {one: composed(one) for one in table[name].unique()} for name in ("generator", "pool")
    }
    return table.assign(
        **{
            name: table[name].map(known)
            for name, known in spelled.items()
            if any(before != after for before, after in known.items())
        }
    )


def asked_of_both(candidates: Candidates) -> Candidates:
    """With the question that a data set of one class leaves open; ``add`` takes such a one."""
    return replace(candidates, questions=(*candidates.questions, *lacking(candidates.table)))


def _listed(root: Path, file: Path | None, answers: Answers) -> Reading:
    tree = Tree(root, (), answers)
    if file is not None:
        return manifest.read(tree, file, "a manifest was given")
    files = manifest.listings(root)
    if len(files) != 1:
        raise AigiError(
            f"{root} has {'several' if files else 'none'} of {', '.join(manifest.LISTINGS)}: name"
            " the one to use with --manifest."
        )
    return manifest.read(tree, files[0], "it was asked for")


def _chosen(tree: Tree, wanted: str, walked: tuple[str, ...]) -> tuple[str, Reading]:
    if wanted != "auto":
        reading = LAYOUTS[wanted].parse(tree)
        if reading is None:
            raise AigiError(
                f"The layout {wanted} fits nothing in {tree.root}: expected"
                f" {LAYOUTS[wanted].shape}."
            )
        return wanted, reading
    listings = manifest.listings(tree.root)
    others = [layout for layout in LAYOUTS.values() if layout.name not in ("manifest", "roots")]
    fits = {layout.name: reading for layout in others if (reading := layout.parse(tree))}
    complete = {
        name: reading
        for name, reading in fits.items()
        if {REAL, FAKE} <= set(reading.table["label"])
    }
    fuller = {name for kept in complete for name in LAYOUTS[kept].over}
    better = listings or any(not LAYOUTS[name].last for name in complete)
    complete = {
        name: reading
        for name, reading in complete.items()
        if name not in fuller and not (better and LAYOUTS[name].last)
    }
    options = [f"manifest ({file.name})" for file in listings]
    options += [f"{name} ({reading.why})" for name, reading in complete.items()]
    if len(options) > 1:
        raise AigiError(
            f"The layout of {tree.root} is ambiguous: {', '.join(options)} all fit; choose with"
            " --layout."
        )
    if listings:
        why = f"the folder holds {listings[0].name} and no other layout fits"
        return "manifest", manifest.read(tree, listings[0], why)
    fits = complete or fits
    if len(fits) != 1:
        raise AigiError(_no_layout(tree, len(others) - 1, walked))
    return next(iter(fits.items()))


def _no_layout(tree: Tree, others: int, walked: tuple[str, ...]) -> str:
    """What is said where no layout fits: what is at the top, and what could be said instead, as far
    as names and tables suggest it.
    """
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*tree.folders, strict=False))
    above = len(list(shared))
    tops = sorted({"/".join(folder[: above + 1]) for folder in tree.folders if folder})
    seen = ", ".join(f"{shown(top)}/" for top in tops[:8]) or "files only"
    text = f"No layout fits {tree.root} (at its top: {seen})."
    tables = [f for f in tree.files if not f.archive and f.path.lower().endswith(tables_suffixes)]
    lines = (suggested(tree.root, f.path) for f in tables[:LOOKED_AT])
    listing = list(islice(filter(None, lines), SUGGESTED))
    plain = [top for top in tops if (tree.root / top).is_dir()]
    named = {
        of: [top for top in plain if _plain_class(top.rpartition("/")[2]) == of]
        for of in (REAL, FAKE)
    }
    if listing:
        return f"{text} {' or '.join(listing)}."
    if arrow := [f.path for f in tree.files if f.path.lower().endswith((".arrow", ".feather"))]:
        return (
            f"{text} {counted(len(arrow), 'Arrow file', 'are')} not read, such as"
            f" {shown(arrow[0])}: write them as Parquet (for each split of what"
            ' datasets.load_from_disk gives, .to_parquet("SPLIT.parquet")), and name the folder of'
            " these."
        )
    if named[REAL] and named[FAKE]:
        options = [f"--real {shlex.quote(str(tree.root / top))}" for top in named[REAL]]
        several = {top for top in named[FAKE] if len(_inner(tree, top)) > 1}
        options += [
            f"--fake {'' if top in several else 'NAME='}{shlex.quote(str(tree.root / top))}"
            for top in named[FAKE]
        ]
        meant = ["NAME for the generator"] * (len(several) < len(named[FAKE]))
        meant += ["each folder in it a generator"] * bool(several)
        return (
            f"{text} If the folders say which images are real, name them: {' '.join(options)}"
            f" ({', '.join(meant)}), without --images."
        )
    return (
        f"{text} Name the folders: --real DIR --fake NAME=DIR for each generator; or give a table"
        " of the images: --manifest FILE. Read without either are real/ beside fake/GENERATOR/,"
        f" and {others} layouts of data sets, which docs/data.md shows."
        + "".join(f" {note}" for note in walked if "not opened" in note)
    )


def _inner(tree: Tree, top: str) -> set[str]:
    """Folders in one of the tree, without those of splits."""
    inside = tree.folders_in(tuple(top.split("/")))
    return {name for name in inside if name.lower() not in SPLIT_OF}


def _plain_class(folder: str) -> int | None:
    """The class that a word of a folder's name tells, where no other word tells the other
    (``real_images``, ``fakes``, ``Celeb-real``, ``AiArtData``).
    """
    name = folder.rpartition("/")[2]
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    found = {class_of_word(one) for word in (name, *words) for one in (word, word.rstrip("s"))}
    found -= {None}
    return found.pop() if len(found) == 1 else None


def _refuse_unused(answers: Answers, layout: str) -> None:
    """Refuse options on a table's columns where the layout reads none."""
    if LAYOUTS[layout].tabled:
        return
    for option, given in (
        ("--columns", answers.columns),
        ("--fake-label", answers.fake_labels),
        ("--real-label", answers.real_labels),
    ):
        if given:
            raise AigiError(
                f"{option} tells of a table, but the layout {layout} reads labels from folders:"
                " leave it out, or name the table with --manifest FILE."
            )


def _refuse_unknown(answers: Answers, found: set[str]) -> None:
    """Refuse answers on generators that are not there."""
    named = [("--rename", name, found) for name in answers.rename]
    after = found | {answers.generator(name) for name in found}
    named += [("--pool", name, after) for name in answers.pools]
    for option, name, known in named:
        if name != ANY and name not in known:
            raise AigiError(
                f"{option} names the generator {quoted(name)}, which is not there"
                f"{did_you_mean(name, known)} There are {', '.join(map(shown, sorted(known)))}."
            )


def _as_answered(table: pd.DataFrame, answers: Answers) -> tuple[pd.DataFrame, list[str]]:
    """Generators under their new names, pools as told, and sentences on both."""
    table, notes = table.copy(), []
    fake = table["label"] == FAKE
    before = table["generator"]
    if answers.rename or answers.pools:
        _refuse_unknown(answers, set(before[fake]))
    if answers.rename:
        table["generator"] = before.where(~fake, before.map(answers.generator))
        renamed = set(zip(before, table["generator"], strict=True))
        told = ", ".join(f"{a} is called {b}" for a, b in sorted(renamed) if a != b)
        notes += [f"As told: {shown(told)}."] if told else []
    if answers.pools:
        pairs = {
            (old, new, pool): answers.pool(new, answers.pools.get(old, pool))
            for old, new, pool in set(
                zip(
                    before[fake], table.loc[fake, "generator"], table.loc[fake, "pool"], strict=True
                )
            )
        }
        table.loc[fake, "pool"] = [
            pairs[key]
            for key in zip(
                before[fake], table.loc[fake, "generator"], table.loc[fake, "pool"], strict=True
            )
        ]
        real = table["label"] == REAL
        everything = answers.pools.get(ANY) if len(answers.pools) == 1 else None
        if everything and everything not in set(table.loc[real, "pool"]):
            table.loc[real, "pool"] = everything
    if table.duplicated("path").any():
        twice = table.loc[table.duplicated("path"), "path"].iloc[0]
        raise AigiError(f"{quoted(twice)} is listed more than once: list each image once.")
    return table, notes


def _with_captions(tree: Tree, reading: Reading) -> Reading:
    """Captions that stand in a text beside an image."""
    if not tree.sidecars:
        return reading
    table = reading.table
    empty = (table["caption"] == "") & (table["left_out"] == "")
    captions = {
        i: samples.sample(tree.root, beside)
        for i, path in zip(table.index[empty], table.loc[empty, "path"], strict=True)
        if set(beside := tree.beside(path)) & {".txt", ".json", ".prompt.txt"}
    }
    if not captions:
        return reading
    table = table.copy()
    for i, record in captions.items():
        table.loc[i, "caption"] = str(record.get("caption") or record.get("prompt") or "")
        if str(record.get("url") or "").startswith("http") and not table.loc[i, "source_url"]:
            table.loc[i, "source_url"] = str(record["url"])
    return replace(reading, table=table)
