"""Parquet tables that hold the images themselves: Community Forensics, OpenFake, and what Hugging
Face's hub stores of any image data set.
"""

from __future__ import annotations

import pandas as pd

from aigi_core.archives import PARQUET, parquet_member
from aigi_core.errors import AigiError
from aigi_core.statements import counted
from precompute.ingest.layouts.base import Layout, Reading, Tree, split_of
from precompute.ingest.listing import describe, first_named
from precompute.ingest.tables import read_table

SHAPE = "Parquet files with image bytes and the column label"
GENERATORS = ("generator", "model_name", "model")


def parse(tree: Tree) -> Reading | None:
    """Rows of all Parquet files that hold image bytes; images stay where they are and are read from
    there.

    A split stands in a column, or in the file's name (``train-00000-of-00004.parquet``).

    Raises:
        AigiError: several columns of images and none of them chosen.
    """
    parts, notes, questions = [], [], []
    for file in tree.files:
        if file.archive or not file.path.lower().endswith(PARQUET):
            continue
        table = read_table(tree.root / file.path)
        if not table.image_columns:
            continue
        column = _image_column(table.image_columns, tree, file.path)
        inside = table.image_columns[column]
        filled: dict[str, pd.Series | str] = {
            "path": pd.Series(
                [f"{file.path}/{parquet_member(inside, i)}" for i in range(len(table))]
            )
        }
        if "split" not in table.names:
            filled["split"] = split_of(f"{file.path}/row")
        known = first_named("generator", GENERATORS, table.names)
        answers = tree.answers
        if "path" in answers.columns:  # it chose the column of images
            rest = {key: value for key, value in answers.columns.items() if key != "path"}
            answers = type(answers)(**{**vars(answers), "columns": rest})
        listed = describe(table, answers, known=known, filled=filled, strict_splits=False)
        notes += [note for note in listed.notes if note not in notes]
        if column in table.without_image:
            nulls = counted(table.without_image[column], "row", "hold")
            notes.append(f"{nulls} no image in {file.path}: they will be left out.")
        questions += [q for q in listed.questions if q not in questions]
        parts.append(listed.table.assign(archive=file.path, offset=range(len(table))))
    if not parts:
        return None
    joined = pd.concat(parts, ignore_index=True)
    why = f"{counted(len(joined), 'image', 'stand')} in {counted(len(parts), 'Parquet file')}"
    return Reading(joined, why, tuple(notes), tuple(questions))


def _image_column(columns: dict[str, str], tree: Tree, path: str) -> str:
    chosen = tree.answers.columns.get("path")
    if chosen in columns:
        return chosen
    if len(columns) > 1:
        raise AigiError(
            f"{path} has several columns of images ({', '.join(columns)}): say --columns"
            f" path={next(iter(columns))}."
        )
    return next(iter(columns))


LAYOUT = Layout(
    "parquet",
    SHAPE,
    parse,
    source="Community Forensics, OpenFake, the Hugging Face hub",
    tabled=True,
)
