"""A data set's own manifest: a CSV or Parquet file with one row an image."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath

import pandas as pd
from pandas.api.types import is_numeric_dtype

from aigi_core.errors import AigiError
from aigi_core.manifest import COLUMNS, FAKE, REAL
from precompute.ingest.splits import SPLIT_OF

LABELS = {"fake": FAKE, "1": FAKE, "1.0": FAKE, "real": REAL, "0": REAL, "0.0": REAL}
TOLD = (
    "path",
    "label",
    "generator",
    "family",
    "pool",
    "group",
    "split",
    "source_url",
    "caption",
    "note",
    "left_out",
)
"""Columns that a manifest may tell; the others of the design are measured."""


def read_listing(root: Path, file: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of a manifest as candidates (see ``layouts.Candidates``), sorted by path, and notes on
    what was changed.

    Only ``path`` (relative to the image root, or absolute below it) and ``label`` (fake or real, 1
    or 0) are required. A fake without a generator is called ``unknown``, a row without a pool
    belongs to the pool ``all``. Rows whose file is missing are kept and fail when they are opened.

    Raises:
        AigiError: unreadable file, missing column, unknown label or split, a path that leaves the
            image root or stands twice, a generator of two families, or no file at all below the
            root.
    """
    table = _read(file)
    missing = [name for name in ("path", "label") if name not in table.columns]
    if missing:
        raise AigiError(
            f"The manifest {file} lacks the column {' and '.join(missing)}: it has"
            f" {', '.join(map(str, table.columns))}."
        )
    if not len(table):
        raise AigiError(f"The manifest {file} has no rows: list one image a row.")
    notes = []
    measured = [name for name in table.columns if name in COLUMNS and name not in TOLD]
    if measured:
        notes.append(
            f"The manifest's {', '.join(measured)} were not used: they are measured from the files."
        )
        table = table.drop(columns=measured)
    told = pd.DataFrame(
        {name: _text(table[name]) if name in table else "" for name in TOLD}, index=table.index
    )
    told["label"] = _mapped(told, "label", LABELS, "fake or real (1 or 0)", file)
    told["split"] = _mapped(told, "split", SPLIT_OF | {"": ""}, "train, val, test or nothing", file)
    told["path"] = _paths(told["path"], root, file)
    fake = told["label"] == FAKE
    named = int((~fake & (told["generator"] != "")).sum())
    if named:
        notes.append(f"The generator of {named:,} real images was dropped: real images have none.")
    unnamed = int((fake & (told["generator"] == "")).sum())
    if unnamed:
        notes.append(f"{unnamed:,} fakes name no generator: they are called 'unknown'.")
    told["generator"] = (
        told["generator"].mask(fake & (told["generator"] == ""), "unknown").where(fake, "")
    )
    told["family"] = told["family"].str.lower().where(fake, "")
    told["pool"] = told["pool"].mask(told["pool"] == "", "all")
    families = told[fake & (told["family"] != "")].groupby("generator")["family"].unique()
    for generator, family in families.items():
        if len(family) > 1:
            raise AigiError(
                f"Generator {generator!r} has the families {', '.join(sorted(family))}: give it"
                " one."
            )
    extra = {str(name): _extra(table[name]) for name in table.columns if name not in COLUMNS}
    result = pd.concat([told, pd.DataFrame(extra, index=told.index)], axis=1)
    return result.sort_values("path", ignore_index=True), tuple(notes)


def _read(file: Path) -> pd.DataFrame:
    if not file.is_file():
        raise AigiError(f"There is no manifest {file}: expected a CSV or Parquet file.")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(file)
        as_text = dict.fromkeys(TOLD, "str")
        return pd.read_csv(
            file, dtype=as_text, keep_default_na=False, na_values=[""], encoding="utf-8-sig"
        )
    except (ValueError, OSError) as error:  # pandas' parser errors and pyarrow's are ValueErrors
        raise AigiError(
            f"The manifest {file} could not be read as {file.suffix or 'CSV'}"
            f" ({' '.join(str(error).split())}): expected a UTF-8 CSV with commas, or Parquet."
        ) from error


def _text(column: pd.Series) -> pd.Series:
    return (
        column.astype(object)
        .where(column.notna(), "")
        .map(lambda value: str(value).strip())
        .astype(str)
    )


def _extra(column: pd.Series) -> pd.Series:
    return column if is_numeric_dtype(column) else _text(column)


def _mapped(table: pd.DataFrame, column: str, known: dict, expected: str, file: Path) -> pd.Series:
    values = table[column].str.lower()
    bad = ~values.isin(list(known))
    if bad.any():
        row = table[bad].iloc[0]
        raise AigiError(
            f"Column {column!r} of {file}: expected {expected}, got {row[column]!r} for"
            f" {row['path']!r} ({int(bad.sum()):,} such rows)."
        )
    return values.map(known)


def _paths(paths: pd.Series, root: Path, file: Path) -> pd.Series:
    """Paths relative to the root, one spelling each."""
    clean = pd.Series([_below(path, root, file) for path in paths], index=paths.index, dtype=str)
    twice = clean[clean.duplicated()]
    if len(twice):
        raise AigiError(
            f"The manifest {file} names {twice.iloc[0]!r} more than once ({len(twice):,} such"
            " rows)."
        )
    return clean


def _below(path: str, root: Path, file: Path) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute():
        for base in (root.absolute(), root.resolve()):
            if pure.is_relative_to(base):
                pure = pure.relative_to(base)
                break
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise AigiError(
            f"The manifest {file} names {path!r}, which is no path below the image root {root}:"
            " mend it."
        )
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
        if ".." not in PurePosixPath(spelling).parts and os.path.lexists(root / spelling):
            return spelling
    return plain
