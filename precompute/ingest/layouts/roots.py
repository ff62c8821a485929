"""Several folders at once: ``--real DIR --fake NAME=DIR``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.remote import common_folder
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from precompute.ingest.answers import Answers
from precompute.ingest.families import family_of
from precompute.ingest.layouts.base import (
    Folder,
    Layout,
    Place,
    Reading,
    Tree,
    by_folder,
    folder_and_name,
)
from precompute.ingest.layouts.samples import sample
from precompute.ingest.polarity import nearest_class
from precompute.ingest.tables import read_table
from precompute.ingest.walk import is_no_image, looks_like_image, shown, some

GENERATED, RECORDS = "manifest.csv", "records.jsonl"
"""The table that ``precompute generate`` writes beside its images at the end of a run, and what it
notes of each as it goes.
"""
MODEL = ".model.txt"
"""Ends the name of a file that names the generator of the image beside it."""
TOLD_OF_PROMPTS = {"group", "caption", "model", "steps"}
OTHER = {REAL: {"fake", "1_fake"}, FAKE: {"real", "0_real"}}
"""Folders that cannot lie below one of the class."""
_OPTIONS = ("--real DIR", "--fake NAME=DIR")
SHAPE = "the folders named by --real and --fake"


def common_root(answers: Answers, images: Path | None = None, *, both: bool = True) -> Path | None:
    """The folder that images are named from: the one that holds all folders named by --real and
    --fake, or ``images`` where it is given. It may hold much else, which is no image.

    Args:
        both: whether one class alone is refused.

    Raises:
        AigiError: one class is named without the other, a folder is not there, or lies outside
            --images.
    """
    folders = answers.folders
    if not folders:
        return images
    if both and not (answers.real and answers.fake):
        missing = "--fake NAME=DIR" if answers.real else "--real DIR"
        raise AigiError(f"Folders of one class only were named: add {missing}.")
    for folder in folders:
        if folder.is_file():
            raise AigiError(
                f"{folder} is a file: put it into a folder of its own, and name that by --real or"
                " --fake (tars and zips are read without unpacking)."
            )
        if not folder.is_dir():
            raise AigiError(f"The folder {folder} is not there: check --real and --fake.")
    resolved = [folder.resolve() for folder in folders]
    # A folder of several generators may hold one that is named by itself, as the real images.
    several = {folder.resolve() for name, folder in answers.fake if not name}
    for i, one in enumerate(resolved):
        for two in resolved[i + 1 :]:
            outer, inner = sorted((one, two), key=lambda folder: len(folder.parts))
            if inner.is_relative_to(outer) and (one == two or outer not in several):
                raise AigiError(f"{one} and {two} hold the same files: name each folder once.")
    if images is not None:
        if outside := [f for f in resolved if not f.is_relative_to(images.resolve())]:
            raise AigiError(
                f"{outside[0]} lies outside --images {images}: leave --images out, then the folder"
                " that holds all of them is taken."
            )
        return images
    return common_folder(resolved)


def prefixes(answers: Answers, root: Path) -> list[str]:
    """Where below the root the files lie that are looked at, each with a '/' at its end: in the
    outermost of the named folders, or everywhere.
    """
    above = root.resolve()
    named = {folder.resolve().relative_to(above).parts for folder in answers.folders}
    outermost = {parts for parts in named if not any(parts[:n] in named for n in range(len(parts)))}
    return ["".join(f"{part}/" for part in parts) for parts in sorted(outermost)] or [""]


def parse(tree: Tree) -> Reading | None:
    """All files below the named folders; a folder called after a split is the data set's own."""
    answers = tree.answers
    if not (answers.real or answers.fake):
        return None
    root = tree.root.resolve()
    named: dict[Folder, tuple[int, str]] = {
        folder.resolve().relative_to(root).parts: (REAL, "") for folder in answers.real
    }
    for name, folder in answers.fake:
        named[folder.resolve().relative_to(root).parts] = (FAKE, name)
    places: dict[Folder, Place] = {}
    loose: Counter[str] = Counter()
    contrary: list[str] = []
    for path in tree.folders:
        top = _top(named, path)
        assert top is not None
        label, name = named[top]
        below = path[len(top) :]
        if OTHER[label] & {part.lower() for part in below}:
            contrary.append("/".join(path))
        split = next((SPLIT_OF[p] for part in below if (p := _plain(part)) in SPLIT_OF), "")
        if label == FAKE and not name:
            inner = [part for part in below if _plain(part) not in SPLIT_OF]
            if not inner:
                loose["/".join(path)] = tree.images_in(path)
                continue
            name = inner[0]
        places[path] = Place(label, name, "all", split)
    _refuse_empty(tree, named)
    questions = [
        f"{tree.root / where} holds {counted(n, 'image')} beside the folders that name generators:"
        f" which generator made them? Say --fake NAME={tree.root / where}, or take them out."
        for where, n in loose.items()
        if n
    ]
    doubts = [
        f"{where}/ lies below a folder of the other class that --real or --fake names. Name the"
        " folders further down (--real DIR/real --fake NAME=DIR/fake); --layout roots takes it as"
        " told."
        for where in contrary[:3]
    ]
    doubts += [
        f"{option} names {'/'.join(parts)}/, and its folders say the reverse. If they are right,"
        f" name it with {other}; --layout roots takes it as told."
        for parts, (label, _) in named.items()
        if (told := nearest_class(parts)) is not None and told != label
        for option, other in [_OPTIONS if label == REAL else _OPTIONS[::-1]]
    ]
    doubts += [
        f"--fake {shown(name)}={tree.root.joinpath(*top)} gives one name to the fakes of"
        f" {counted(len(inner), 'folder')} ({some(map(shown, inner))}). If these are"
        " generators, say --fake DIR without a name; --layout roots takes it as told."
        for top, (_, name) in named.items()
        if name and len(inner := _generators_in(tree, top)) > 1
    ]
    reading = by_folder(tree, places, SHAPE, questions=tuple(questions))
    if reading is None:
        return None
    reading = replace(reading, doubts=tuple(doubts))
    reading = _with_models(reading, tree, [folder for name, folder in answers.fake if not name])
    reading = _with_photographs(reading)
    return _with_prompts(reading, tree, [folder for _, folder in answers.fake])


def _generators_in(tree: Tree, top: Folder) -> list[str]:
    """Folders in this one, if any is called like a generator."""
    inside = tree.folders_in(top)
    return sorted(inside) if any(family_of(name) != "other" for name in inside) else []


def _refuse_empty(tree: Tree, named: Mapping[Folder, tuple[int, str]]) -> None:
    """Raise AigiError for folders that were named and hold no file that may be an image."""
    held = {_top(named, tree.folder_of(f)) for f in tree.files if not is_no_image(f.path)}
    empty = [parts for parts in named if parts not in held]
    if empty:
        label, name = named[empty[0]]
        option = "--real " if label == REAL else f"--fake {name}=" if name else "--fake "
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise AigiError(
            f"{option}{shown(str(tree.root.joinpath(*empty[0])))} holds no image{more}: check the"
            " folder, or leave it out."
        )


def _with_models(reading: Reading, tree: Tree, folders: Sequence[Path]) -> Reading:
    """With generators from what stands beside the images (``000017.model.txt``, as in DRAGON's
    tars) of folders of fakes that no name was given for; a question where one was given, and
    several stand there."""
    table = reading.table
    told: dict[Any, str] = {}
    fake = table["label"] == FAKE
    for i, path in table.loc[fake, "path"].items():
        if MODEL in (beside := tree.beside(path)):
            told[i] = sample(tree.root, {MODEL: beside[MODEL]})["model"]
    if not told:
        return reading
    above = ["/".join((*f.resolve().relative_to(tree.root.resolve()).parts, "")) for f in folders]
    unnamed = [i for i in told if str(table.loc[i, "path"]).startswith(tuple(above))]
    table.loc[unnamed, "generator"] = [told[i] for i in unnamed]
    notes, questions = list(reading.notes), list(reading.questions)
    if unnamed:
        notes.append(
            f"Files *{MODEL} beside them name the generators of {counted(len(unnamed), 'image')}."
        )
    if len(others := {told[i] for i in told.keys() - set(unnamed)}) > 1:
        questions.append(
            f"Beside the fakes stand the names of {counted(len(others), 'generator')}"
            f" ({some(map(shown, others))}), but --fake NAME=DIR calls them by one: say --fake DIR"
            " without a name."
        )
    lost = fake & ~table.index.isin(list(told)) & table["path"].str.startswith(tuple(above))
    if unnamed and lost.any():
        questions.append(
            f"{counted(int(lost.sum()), 'image', 'lack')} such a file: take them out, or name the"
            " folders with --fake NAME=DIR."
        )
    return replace(reading, table=table, notes=tuple(notes), questions=tuple(questions))


def _with_photographs(reading: Reading) -> Reading:
    """With groups where fakes lie in folders that are called as real images (COCOFake): both belong
    together."""
    table = reading.table
    folder, names = folder_and_name(table["path"])
    real = table["label"] == REAL
    of_photograph = (table["label"] == FAKE) & folder.isin(set(names[real]) - {""})
    if not of_photograph.any():
        return reading
    mine = real & names.isin(set(folder[of_photograph]))
    table.loc[mine, "group"], table.loc[of_photograph, "group"] = names[mine], folder[of_photograph]
    note = (
        f"{counted(int(of_photograph.sum()), 'fake', 'lie')} in folders called as a real image:"
        " each shares its group."
    )
    return replace(reading, table=table, notes=(*reading.notes, note))


def _with_prompts(reading: Reading, tree: Tree, folders: Sequence[Path]) -> Reading:
    """With groups, captions, models and steps from the table that ``generate`` wrote beside its
    images, so that the images of a prompt stay on one side of a split.

    Raises:
        AigiError: a table that cannot be read.
    """
    table, notes = reading.table, list(reading.notes)
    questions = list(reading.questions)
    for folder in folders:
        file = folder / GENERATED
        if (folder / RECORDS).is_file() and (lost := _unnamed(table, tree, folder)):
            questions.append(
                f"{counted(lost, 'image')} of {folder} {'is' if lost == 1 else 'are'} not in its"
                f" {GENERATED}, for the last run of 'generate' was ended by force: run the same"
                " command again, so that the images of a prompt stay together."
            )
        if not file.is_file():
            continue
        listed = read_table(file).columns
        if not {"path", "group"} <= set(listed.column_names):
            continue
        above = PurePosixPath(folder.resolve().relative_to(tree.root.resolve()))
        paths = [(above / str(path)).as_posix() for path in listed["path"].to_pylist()]
        rows = table.index[table["path"].isin(paths)]
        for column in sorted(TOLD_OF_PROMPTS & set(listed.column_names)):
            values = ("" if one is None else str(one) for one in listed[column].to_pylist())
            told = dict(zip(paths, values, strict=True))
            if column not in table:
                table[column] = ""
            table.loc[rows, column] = table.loc[rows, "path"].map(told)
        notes.append(
            f"{file.name} in {folder.name} gives the groups of {counted(len(rows), 'image')}."
        )
    return replace(reading, table=table, notes=tuple(notes), questions=tuple(questions))


def _unnamed(table: pd.DataFrame, tree: Tree, folder: Path) -> int:
    """How many images below a folder that ``generate`` wrote its table does not name."""
    above = PurePosixPath(folder.resolve().relative_to(tree.root.resolve()))
    file = folder / GENERATED
    named = read_table(file).text("path") if file.is_file() else ()
    known = {(above / str(path)).as_posix() for path in named}
    inside = [path for path in table["path"] if PurePosixPath(path).is_relative_to(above)]
    return sum(looks_like_image(path) and path not in known for path in inside)


def _plain(part: str) -> str:
    """``train2017`` and the like are splits, too."""
    return part.lower().rstrip("0123456789")


def _top(named: Iterable[Folder], path: Folder) -> Folder | None:
    """The named folder that a folder is or lies in; of several the innermost."""
    return max((parts for parts in named if path[: len(parts)] == parts), key=len, default=None)


LAYOUT = Layout("roots", SHAPE, parse, source="Synthbuster with RAISE, and any two trees")
