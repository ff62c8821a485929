"""From a table that describes images to candidates: which column is what, labels, paths, checks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import COLUMNS, FAKE, REAL
from aigi_core.remote import stands
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from precompute.ingest.answers import OUR_COLUMNS, Answers
from precompute.ingest.families import family_of, is_collection
from precompute.ingest.polarity import class_of_word, folder_signs, read_labels
from precompute.ingest.tables import Table, read_table
from precompute.ingest.walk import looks_like_image, quoted, some

LIKELY = {
    "path": ("file_name", "filename", "image_path", "img_path", "file", "image", "filepath"),
    "label": ("typ", "target", "class", "is_fake", "fake", "label_str", "type"),
    "generator": ("model", "model_name", "generator_name"),
}
"""Common names of columns, for advice only."""
ALSO = {"caption": ("prompt",), "group": ("pair", "pair_id", "prompt_id")}
"""Columns that are taken under these names as well."""


@dataclass(frozen=True, eq=False)
class Listed:
    """Rows of one or several tables as candidates (columns of :data:`OUR_COLUMNS`, then the tables'
    own), with notes and questions as in :class:`precompute.ingest.layouts.base.Reading`.
    """

    table: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def read_listing(
    root: Path,
    file: Path,
    answers: Answers = Answers(),  # noqa: B008
    table: Table | None = None,
) -> Listed:
    """Rows of a manifest as candidates, sorted by path.

    Only ``path`` (relative to the image root, or absolute below it) and ``label`` (fake or real, 1
    or 0) are required. A fake without a generator is called ``unknown``, a row without a pool
    belongs to the pool ``all``. Rows whose file is missing, or whose path leaves the image root,
    are kept with the reason.

    Args:
        table: what the file holds, where it was read before.

    Raises:
        AigiError: unreadable file, missing column, unknown label or split, a path that stands
            twice, a generator of two families.
    """
    table = read_table(file) if table is None else table
    listed = describe(table, answers)
    told, notes = listed.table, [f"{file.name} was {table.dialect}.", *listed.notes]
    if elsewhere := _elsewhere(told["path"].tolist(), root):
        told["path"] = told["path"].str.removeprefix(elsewhere)
        notes.append(
            f"The paths of {file.name} begin with {elsewhere}, which is not here: the files were"
            f" found below {root}."
        )
    told["path"], told["left_out"], outside = _paths(told, root, file, table)
    if outside:
        notes.append(
            f"{counted(outside, 'row')} of {file.name} name files outside the image root"
            f" {root}: they are"
            " left out."
        )
    ordered = told.sort_values("path", ignore_index=True)
    return Listed(ordered, tuple(notes), listed.questions)


def describe(
    table: Table,
    answers: Answers,
    *,
    known: Mapping[str, str] | None = None,
    filled: Mapping[str, pd.Series | str] | None = None,
    strict_splits: bool = True,
) -> Listed:
    """What the rows of a table say of their images, in the order of the table.

    Args:
        known: our name of a column -> the table's, where the layout knows it; the user's answers
            go before.
        filled: columns that do not stand in the table: one value, or one a row.
        strict_splits: refuse split names that are none of train, val, test; else they are only
            noted.

    Raises:
        AigiError: see :func:`read_listing`.
    """
    filled = dict(filled or {})
    if "path" in filled and "path" in answers.columns:
        raise AigiError(
            f"--columns names a column of paths, but the images of {table.file} are named by where"
            " they stand: leave path out."
        )
    filled = {name: value for name, value in filled.items() if name not in answers.columns}
    named = _columns(table, answers, known or {}, filled)
    if not len(table):
        raise AigiError(f"The table {table.file} has no rows: list one image a row.")
    notes: list[str] = []
    if "label" not in filled and named["label"] == _told_class(table) != answers.columns.get(
        "label"
    ):
        told_by = named["label"]
        notes.append(
            f"Column {told_by!r} was read as the label: the file names its classes"
            f" {', '.join(table.class_names[told_by])}."
        )
    measured = [name for name in table.names if name in COLUMNS and name not in OUR_COLUMNS]
    if measured:
        notes.append(
            f"The manifest's {', '.join(measured)} were not used: they are measured from the files."
        )
    told = pd.DataFrame(
        {name: table.text(named[name]) if name in named else "" for name in OUR_COLUMNS},
        index=range(len(table)),
    )
    for name, value in filled.items():
        told[name] = value
    evidence = [("the folders", folder_signs(told["path"])), *_signs(table, named)]
    labels = read_labels(
        told["label"],
        table.rows,
        column=named.get("label", "label"),
        file=table.file,
        answers=answers,
        evidence=evidence,
    )
    notes += [labels.note] if labels.note else []
    if labels.names_generators and "generator" not in named and "generator" not in filled:
        told["generator"] = told["label"]
        notes.append(f"Column {named['label']!r} names the generators, too.")
    told["label"] = labels.values
    told["split"] = _splits(told["split"], table, named, strict=strict_splits, notes=notes)
    fake = told["label"] == FAKE
    _complete_generators(told, fake, table, notes)
    extra = {
        name: table.typed(name)
        for name in table.names
        if name not in named.values() and name not in COLUMNS and name not in filled
    }
    result = pd.concat([told, pd.DataFrame(extra, index=told.index)], axis=1)
    return Listed(result, tuple(notes), (labels.question,) if labels.question else ())


def _told_class(table: Table) -> str:
    """The one column whose classes the file itself names as real and fake, where none is called
    label; empty where none or several are.
    """
    told = [
        name
        for name, classes in table.class_names.items()
        if name in table.names and {class_of_word(one) for one in classes} == {REAL, FAKE}
    ]
    called = first_named("label", ("label",), table.names)
    return told[0] if len(told) == 1 and not called else ""


def _columns(
    table: Table, answers: Answers, known: Mapping[str, str], filled: Mapping[str, object]
) -> dict[str, str]:
    """Our name -> the table's, of the columns that are told."""
    absent = [name for name in answers.columns.values() if name not in table.names]
    if absent:
        raise AigiError(
            f"{table.file} has no column {', '.join(map(repr, absent))}: it has"
            f" {', '.join(table.names)}."
        )
    named: dict[str, str] = {}
    for name in OUR_COLUMNS:
        named |= first_named(name, (name, *ALSO.get(name, ())), table.names)
    named |= {name: column for name, column in known.items() if column in table.names}
    if "label" not in named and (told := _told_class(table)):
        named["label"] = told
    named |= answers.columns
    missing = [name for name in ("path", "label") if name not in named and name not in filled]
    if missing:
        likely = [
            f"{name}={column}"
            for name in missing
            for column in [first_named(name, LIKELY[name], table.names).get(name, "COLUMN")]
        ]
        if any(looks_like_image(column) for column in table.names):
            raise AigiError(
                f"The first line of {table.file} is a row ({', '.join(table.names)}): write above"
                " it one with the names of the columns, such as path,label."
            )
        classes = [f"{name} ({some(of)})" for name, of in table.class_names.items()]
        raise AigiError(
            f"The table {table.file} lacks the {'columns' if len(missing) > 1 else 'column'}"
            f" {' and '.join(missing)}: it has"
            f" {', '.join(table.names)}"
            + (f", of which hold classes {', '.join(classes)}" if classes else "")
            + ". Name the columns meant, such as --columns"
            f" {','.join(likely)}"
            + (
                "; of fakes only, name the folders: --fake NAME=DIR --real DIR."
                if "label" in missing
                else "."
            )
        )
    return named


def suggested(root: Path, file: str) -> str:
    """The options that would read a table of a tree; empty where it names no images."""
    try:
        table = read_table(root / file)
    except AigiError:
        return ""
    columns: dict[str, str] = {}
    for name, others in LIKELY.items():
        columns |= first_named(name, (name, *others), table.names)
    if "path" not in columns or not len(table):
        return ""
    first = table.text(columns["path"]).iloc[0]
    if not looks_like_image(first):
        return ""
    meant = [f"{name}={column}" for name, column in columns.items() if name != column.lower()]
    options = f"--manifest {root / file}" + (f" --columns {','.join(meant)}" if meant else "")
    lacks = "" if "label" in columns else " --columns label=COLUMN"
    below = path_below(first, root)
    found = below is not None and stands(root / below)
    place = "" if found else ", and --images the folder that its paths begin at"
    return f"{file} lists images by path: say {options}{lacks}{place}"


def first_named(name: str, columns: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Our name and the first of these columns that a table has, as a mapping; empty without one.

    Capital letters make no difference where no column has the very name, and one alone has it so.
    """
    there = list(present)
    for column in columns:
        alike = [one for one in there if one.lower() == column.lower()]
        if column in there or len(alike) == 1:
            return {name: column if column in there else alike[0]}
    return {}


def _signs(table: Table, named: Mapping[str, str]) -> list[tuple[str, pd.Series]]:
    """What other columns say of the class: those of words for real and fake, and the generators."""
    signs = []
    for name in table.names:
        if name in (named.get("label"), named.get("path"), named.get("caption")):
            continue
        values = table.text(name)
        classes = {value: class_of_word(value) for value in set(values)}
        if name == named.get("generator"):
            told = _named_classes(classes)
            if any(sign is not None for sign in told.values()):
                signs.append((f"the column {name!r}", values.map(told)))
        elif set(classes.values()) == {REAL, FAKE}:
            signs.append((f"the column {name!r}", values.map(classes)))
        elif "" in classes and _holds_generators(classes):
            signs.append((f"the column {name!r}", values.map(_named_classes(classes))))
    return signs


def _holds_generators(values: Iterable[str]) -> bool:
    """Whether most of these values, none apart, are known generators."""
    given = [value for value in values if value]
    return 2 * sum(family_of(value) != "other" for value in given) > len(given)


def _named_classes(classes: Mapping[str, int | None]) -> dict[str, int | None]:
    """The class that each value of a column of generators tells: real where it is empty, says so or
    is a collection of photographs, fake where it is a known generator; all others are generators,
    too, where some rows name none.
    """
    blank = any(value == "" or sign == REAL for value, sign in classes.items())

    def told(value: str) -> int | None:
        if value == "" or classes[value] == REAL or is_collection(value):
            return REAL
        return FAKE if blank or family_of(value) != "other" else None

    return {value: told(value) for value in classes}


def _splits(
    values: pd.Series, table: Table, named: Mapping[str, str], *, strict: bool, notes: list[str]
) -> pd.Series:
    known = SPLIT_OF | {"": ""}
    lower = values.str.lower()
    bad = ~lower.isin(list(known))
    if not bad.any():
        return lower.map(known)
    i = int(bad.to_numpy().argmax())
    if strict:
        raise AigiError(
            f"Column {named.get('split', 'split')!r} of {table.file}: expected train, val, test or"
            f" nothing, got {values.iloc[i]!r} in {table.rows[i]}"
            f" ({counted(int(bad.sum()), 'such row')})."
        )
    notes.append(
        f"Column {named.get('split', 'split')!r} holds {values.iloc[i]!r} and the like, which is"
        " no train, val or test: the images were divided anew."
    )
    return pd.Series("", index=values.index)


def _complete_generators(
    told: pd.DataFrame, fake: pd.Series, table: Table, notes: list[str]
) -> None:
    named = int((~fake & (told["generator"] != "")).sum())
    if named:
        notes.append(
            f"The generator of {counted(named, 'real image')} was dropped: real images have none."
        )
    unnamed = int((fake & (told["generator"] == "")).sum())
    if unnamed:
        notes.append(f"{counted(unnamed, 'fake', 'name')} no generator: they are called 'unknown'.")
    told["generator"] = (
        told["generator"].mask(fake & (told["generator"] == ""), "unknown").where(fake, "")
    )
    told["family"] = told["family"].str.lower().where(fake, "")
    told["pool"] = told["pool"].mask(told["pool"] == "", "all")
    families = told[fake & (told["family"] != "")].groupby("generator")["family"].unique()
    for generator, family in families.items():
        if len(family) > 1:
            raise AigiError(
                f"Generator {quoted(str(generator))} has the families"
                f" {', '.join(sorted(family))} in {table.file}: give it one."
            )


def _elsewhere(paths: Sequence[str], root: Path) -> str:
    """What absolute paths of another machine begin with, where all do and all that follows is there
    below the root; else empty.
    """
    first = paths[0] if paths else ""
    if path_below(first, root) is not None:
        return ""
    for at in (i for i, letter in enumerate(first, 1) if letter in "/\\"):
        start, rest = first[:at], path_below(first[at:], root)
        if rest is not None and stands(root / rest):
            below = [path_below(p[at:], root) for p in paths if p.startswith(start)]
            whole = len(below) == len(paths) and all(b and stands(root / b) for b in below)
            return start if whole else ""
    return ""


def _paths(
    told: pd.DataFrame, root: Path, file: Path, table: Table
) -> tuple[pd.Series, pd.Series, int]:
    """Paths relative to the root, one spelling each; reasons to leave out; how many lie outside."""
    clean = []
    left_out = []
    outside = 0
    for path, reason in zip(told["path"], told["left_out"], strict=True):
        below = path_below(path, root)
        if below is None:
            outside += 1
            reason = "outside the image root: its path does not lie below the folder of the images"
        clean.append(below if below is not None else path)
        left_out.append(reason)
    if outside == len(told):
        raise AigiError(
            f"The manifest {file} names {quoted(told['path'].iloc[0])} in {table.rows[0]}, and no"
            f" path below the image root {root} at all: mend it, or name another --images."
        )
    paths = pd.Series(clean, index=told.index, dtype=str)
    twice = paths.duplicated()
    if twice.any():
        raise AigiError(_named_twice(paths, told["label"], file, table))
    return paths, pd.Series(left_out, index=told.index, dtype=str), outside


def _named_twice(paths: pd.Series, labels: pd.Series, file: Path, table: Table) -> str:
    """What is said of a table that names an image in several rows: those whose labels contradict
    come first.
    """
    twice = paths.duplicated()
    contradict = labels.groupby(paths).transform("nunique") > 1
    i = int((contradict if contradict.any() else twice).to_numpy().argmax())
    same = paths == paths.iloc[i]
    if contradict.any():
        k = int((same & (labels != labels.iloc[i])).to_numpy().argmax())
        words = {REAL: "real", FAKE: "fake"}
        first, second = (f"{words[labels.iloc[row]]} in {table.rows[row]}" for row in (i, k))
        return (
            f"The labels of {counted(paths[contradict].nunique(), 'image')} in the manifest"
            f" {file} contradict: {quoted(paths.iloc[i])} is {first} and {second}. Keep the row"
            " that is right."
        )
    first = table.rows[int(same.to_numpy().argmax())]
    return (
        f"The manifest {file} names {quoted(paths.iloc[i])} more than once, in {first} and again in"
        f" {table.rows[i]} ({counted(int(twice.sum()), 'such row')})."
    )


def say_gone(
    gone: Sequence[str],
    of: int,
    file: str,
    root: Path,
    notes: list[str],
    questions: list[str],
    *,
    beside: Path | None = None,
) -> None:
    """Add what is said of rows whose image is not there: a note, and a question where none is.

    Args:
        of: how many images the rows of ``file`` name. beside: the folder of that file.
    """
    if not gone:
        return
    if len(gone) < of:
        notes.append(
            f"{counted(len(gone), 'row', 'name')} files that are not there, such as {gone[0]}: they"
            " will be left out."
        )
        return
    places = [*([beside] if beside else []), *list(root.resolve().parents)[:3]]
    found = next((place for place in places if stands(place / gone[0])), None)
    questions.append(
        f"None of the {counted(len(gone), 'image')} in {file} is there, such as {root / gone[0]}:"
        + (
            f" its paths begin at {found}. Say --images {found}."
            if found
            else " which folder do its paths begin at? Say --images DIR."
        )
    )


def path_below(path: str, root: Path) -> str | None:
    """A path relative to the root, in the spelling that the disk has; None where it leaves it."""
    pure = PurePosixPath(path)
    if pure.is_absolute():
        for base in (root.absolute(), root.resolve()):
            if pure.is_relative_to(base):
                pure = pure.relative_to(base)
                break
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        return None
    if PureWindowsPath(path).drive and not stands(root / path):
        return None
    plain = str(pure)
    # A manifest may have been written on a system that spells accents, or separates folders,
    # otherwise.
    spellings = (
        plain,
        unicodedata.normalize("NFC", plain),
        unicodedata.normalize("NFD", plain),
        plain.replace("\\", "/"),
    )
    for spelling in spellings:
        if ".." not in PurePosixPath(spelling).parts and stands(root / spelling):
            return spelling
    return plain
