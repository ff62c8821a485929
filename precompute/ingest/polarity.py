"""Which value of a label means fake. Words say it; integers alone do not, and are checked against
everything else that a data set tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.statements import counted, part_counted
from precompute.ingest.answers import Answers

REAL_WORDS = frozenset(
    {"real", "authentic", "genuine", "nature", "natural", "human", "photo", "original"}
)
FAKE_WORDS = frozenset(
    {
        "fake",
        "ai",
        "generated",
        "ai-generated",
        "ai_generated",
        "synthetic",
        "synthesis",
        "synthesized",
        "artificial",
    }
)
INTEGERS = {"1": FAKE, "1.0": FAKE, "true": FAKE, "0": REAL, "0.0": REAL, "false": REAL}


def class_of_word(word: str) -> int | None:
    """The class that a word names (``real``, ``1_fake``, ``AI-generated``), None for others.

    Example:
        >>> [class_of_word(word) for word in ("Real", "0_real", "ai", "cat")]
        [0, 0, 1, None]
    """
    plain = re.sub(r"^[01]_", "", word.strip().lower())
    return REAL if plain in REAL_WORDS else FAKE if plain in FAKE_WORDS else None


def may_be_class(value: str) -> bool:
    """Whether a label can mean a class by itself, as a word or a number."""
    return value.strip().lower() in INTEGERS or class_of_word(value) is not None


def _class_of_one(column: str) -> int:
    """What 1 means in a column of numbers: real where it is called so (``is_real``), else fake."""
    name = re.sub(r"^(is|label)[_ -]?", "", column.strip().lower())
    return REAL if class_of_word(name) == REAL else FAKE


def nearest_class(folders: Sequence[str]) -> int | None:
    """The class that the last of these folders says which names one, None where none does."""
    classes = (class_of_word(folder) for folder in reversed(folders))
    return next((one for one in classes if one is not None), None)


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of all rows.

    Attributes:
        values: 1 fake, 0 real.
        names_generators: the column holds generators' names where it does not say real.
        note: a sentence on how it was read; "" where words said it.
        question: what contradicts the reading; "" where nothing does.
    """

    values: pd.Series
    names_generators: bool
    note: str
    question: str


def read_labels(
    values: pd.Series,
    rows: Sequence[str],
    *,
    column: str,
    file: object,
    answers: Answers,
    evidence: Iterable[tuple[str, pd.Series]] = (),
) -> Labels:
    """Labels from a column of text.

    Args:
        values: [N] stripped texts. rows: what each row is called in messages.
        evidence: further signs of the class: what the sign is, and [N] of 1, 0 or missing.

    Raises:
        AigiError: a value that means neither class, names the row and the option that decides it.
    """
    lower = values.str.lower()
    present = set(lower)
    if answers.fake_labels or answers.real_labels:
        return _as_told(lower, column, file, answers, evidence)
    if all(class_of_word(value) is not None for value in present):
        labels = lower.map(class_of_word).astype(int)
        return Labels(labels, False, "", _contradiction(labels, evidence, column, " says"))
    if present <= INTEGERS.keys():
        one = _class_of_one(column)
        labels = lower.map(INTEGERS).astype(int)
        labels = labels if one == FAKE else 1 - labels
        fake, real = (1, 0) if one == FAKE else (0, 1)
        note = (
            f"Column {column!r} holds numbers only: {fake} was read as fake, {real} as real. If it"
            f" is the other way round, say --fake-label {real}."
        )
        return Labels(
            labels, False, note, _contradiction(labels, evidence, column, ", read so, says")
        )
    position = next(i for i, value in enumerate(lower) if not _means_a_class(value, present))
    others = sorted(value for value in present if class_of_word(value) is None)
    advice = "say --fake-label VALUE or --real-label VALUE"
    known = sorted(value for value in present if class_of_word(value) == REAL)
    if known and len(others) < len(values):
        advice = (
            f"if all but {', '.join(known)} are names of generators, say --real-label {known[0]};"
            " else --fake-label VALUE"
        )
    raise AigiError(
        f"Column {column!r} of {file}: expected fake or real (1 or 0), got"
        f" {values.iloc[position]!r} in {rows[position]}"
        f" ({counted(int((~lower.map(lambda v: _means_a_class(v, present))).sum()), 'such row')}):"
        f" {advice}."
    )


def _means_a_class(value: str, present: set[str]) -> bool:
    """Words always do; integers only where they stand alone."""
    if any(v in INTEGERS for v in present) and not any(
        class_of_word(v) is not None for v in present
    ):
        return value in INTEGERS
    return class_of_word(value) is not None


def _as_told(
    lower: pd.Series,
    column: str,
    file: object,
    answers: Answers,
    evidence: Iterable[tuple[str, pd.Series]],
) -> Labels:
    if answers.fake_labels and answers.real_labels:
        known = {value.lower() for value in (*answers.fake_labels, *answers.real_labels)}
        if unknown := sorted(set(lower) - known):
            raise AigiError(
                f"Column {column!r} of {file} also holds {', '.join(map(repr, unknown[:5]))}: name"
                " all values of one class only, with --fake-label or with --real-label."
            )
    told = {v.lower(): FAKE for v in answers.fake_labels}
    told |= {v.lower(): REAL for v in answers.real_labels}
    if missing := sorted(told.keys() - set(lower)):
        present = ", ".join(map(repr, sorted(set(lower))[:8]))
        raise AigiError(
            f"Column {column!r} of {file} never holds {', '.join(map(repr, missing))}: it holds"
            f" {present}."
        )
    other = REAL if answers.fake_labels else FAKE
    labels = lower.map(told).fillna(other).astype(int)
    fakes = set(lower[labels == FAKE])
    generators = not answers.fake_labels and not fakes <= INTEGERS.keys() | FAKE_WORDS
    words = [value for value, one in told.items() if class_of_word(value) not in (None, one)]
    against = f"the word {words[0]!r}" if words else _contrary_of(labels, evidence)
    if not against or (answers.fake_labels and answers.real_labels):
        return Labels(labels, generators, "", "")
    called, rest = ("fake", "real") if answers.fake_labels else ("real", "fake")
    value = next(iter(told))
    question = (
        f"--{called}-label {value} makes column {column!r} say the contrary of {against}. If it is"
        f" right, name the values of both classes, --{called}-label {value} --{rest}-label VALUE;"
        " else take it out."
    )
    return Labels(labels, generators, "", question)


def _contradiction(
    labels: pd.Series, evidence: Iterable[tuple[str, pd.Series]], column: str, verb: str
) -> str:
    """A question where another sign of the class says otherwise."""
    against = _contrary_of(labels, evidence)
    return against and (
        f"Column {column!r}{verb} the contrary of {against}. Which of its values means fake? Say"
        " --fake-label VALUE (the column decides) and run again."
    )


def _contrary_of(labels: pd.Series, evidence: Iterable[tuple[str, pd.Series]]) -> str:
    """The sign of the class that says otherwise in most of the rows it covers, and in how many."""
    for what, signs in evidence:
        known = signs.notna()
        wrong = int((signs[known].astype(int) != labels[known]).sum())
        if known.any() and 2 * wrong > int(known.sum()):
            return f"{what} in {part_counted(wrong, known.sum(), 'row')}"
    return ""


def folder_signs(paths: Iterable[str]) -> pd.Series:
    """The class that the folders on each path name, missing where they name none or both; a table
    written on Windows parts them by backslashes."""
    above = [path.replace("\\", "/").rpartition("/")[0] for path in paths]
    signs = {folder: _sign(folder.split("/")) for folder in set(above)}  # files are many
    return pd.Series([signs[folder] for folder in above], dtype="object")


def _sign(folders: Sequence[str]) -> int | None:
    classes = {c for folder in folders if (c := class_of_word(folder)) is not None}
    return classes.pop() if len(classes) == 1 else None
