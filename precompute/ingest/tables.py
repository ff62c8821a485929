"""One strict reader for the tables that come with data sets: CSV, TSV, JSON, JSON lines, Parquet,
and lists of images in plain text.

Nothing is guessed in silence. Columns keep the type that the file gives them, integers with gaps
keep their digits, an index that pandas stored is a column like any other, doubled headers and rows
that do not fit the header are refused by line, and the dialect that was detected is stated.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aigi_core.errors import AigiError
from aigi_core.manifest import REAL
from aigi_core.record import read_json
from aigi_core.soundness import open_parquet
from aigi_core.splits import SPLIT_OF
from aigi_core.statements import counted
from aigi_core.transfer.imported import KEYS
from precompute.ingest.families import scene_of
from precompute.ingest.polarity import class_of_word
from precompute.ingest.walk import looks_like_image

NO_NUMBER = ("", "nan", "na", "n/a", "none", "null")
"""What stands for no score, in lower case."""
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".pq", ".txt")
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it was read.

    Attributes:
        columns: all columns but those of image bytes, with the file's own types.
        rows: what each row is called in messages ("line 7", "row 7").
        dialect: one sentence on how the file was read.
        class_names: column -> names of its integers, where the file tells them (the ClassLabel of
            Hugging Face's data sets).
        image_columns: columns of image bytes: name -> dotted name of the bytes in the file.
        without_image: column of image bytes -> rows that hold none.
    """

    file: Path
    columns: pa.Table = field(repr=False)
    rows: Sequence[str] = field(repr=False)
    dialect: str
    class_names: dict[str, list[str]] = field(default_factory=dict)
    image_columns: dict[str, str] = field(default_factory=dict)
    without_image: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(self.columns.column_names)

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def text(self, name: str) -> pd.Series:
        """A column as stripped text, "" where it is empty; class labels by their names.

        Raises:
            AigiError: values that no text can be made of, such as dates that Python does not know.
        """
        try:
            if name in self.class_names:
                return _named(self, name)
            return pd.Series(_texts(self.columns[name]), dtype=str)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise AigiError(
                f"Column {name!r} of {self.file} cannot be read"
                f" ({' '.join(str(error).split())}): save it as text, or take it out."
            ) from error

    def typed(self, name: str) -> pd.Series:
        """A column with its type: whole numbers (nullable where there are gaps), numbers,
        booleans, else text. A text file's column has the type that all its values allow.
        """
        column = self.columns[name]
        kind = column.type
        if name not in self.class_names and not self._is_text_file:
            if pa.types.is_boolean(kind):
                kind_of = "boolean" if column.null_count else "bool"
                return pd.Series(pd.array(column.to_pylist(), dtype=kind_of))
            if pa.types.is_integer(kind):
                return pd.Series(
                    pd.array(column.to_pylist(), dtype="Int64" if column.null_count else "int64")
                )
            if pa.types.is_floating(kind):
                return pd.Series(column.to_pandas()).astype("float64")
            return self.text(name)
        values = self.text(name)
        filled = values[values != ""]
        if name in self.class_names or filled.empty:
            return values
        if filled.map(lambda value: _WHOLE.fullmatch(value) is not None).all():
            whole = [int(value) if value else None for value in values]
            return pd.Series(
                pd.array(whole, dtype="int64" if len(filled) == len(values) else "Int64")
            )
        if filled.map(lambda value: _NUMBER.fullmatch(value) is not None).all():
            return values.map(lambda value: float(value) if value else float("nan"))
        return values

    @property
    def _is_text_file(self) -> bool:
        return self.file.suffix.lower() not in (".parquet", ".pq")


def read_table(file: Path, content: bytes | None = None) -> Table:
    """Read a table of any of :data:`SUFFIXES`.

    Args:
        content: its bytes, where it stands inside an archive.

    Raises:
        AigiError: no such file, an unknown kind, not readable as that kind, doubled column names,
            or a row with more or fewer values than the header; names the line.
    """
    if content is None and not file.is_file():
        raise AigiError(
            f"There is no table {file}: expected a file of these kinds: {', '.join(SUFFIXES)}."
        )
    suffix = file.suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return _read_parquet(file, file if content is None else io.BytesIO(content))
        text = _decoded(file.read_bytes() if content is None else content)
        if suffix in (".json", ".jsonl"):
            return _read_json(file, text, lines=suffix == ".jsonl")
        if suffix == ".txt" and (listed := _read_list(file, text)):
            return listed
        return _read_delimited(file, text, "\t" if suffix == ".tsv" else None)
    except (csv.Error, ValueError, OSError) as error:  # pyarrow's and json's are ValueErrors
        raise AigiError(
            f"The table {file} could not be read as {file.suffix or 'CSV'}"
            f" ({' '.join(str(error).split())}): expected a UTF-8 table ({', '.join(SUFFIXES)})."
        ) from error


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8") from error


def _read_delimited(file: Path, text: str, delimiter: str | None) -> Table:
    delimiter = delimiter or _delimiter(file, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    values: list[list[str]] = []
    rows: list[str] = []
    line = 1
    for record in reader:
        first, line = line, reader.line_num + 1
        if not record:
            continue
        if not header:
            header = _header(file, record)
            continue
        if len(record) != len(header):
            raise AigiError(_misfit(file, first, record, header, DELIMITERS[delimiter]))
        values.append([cell.strip() for cell in record])
        rows.append(f"line {first}")
    if not header:
        raise ValueError("it is empty")
    columns = list(zip(*values, strict=True)) if values else [()] * len(header)
    table = pa.table(
        {name: pa.array(column, pa.string()) for name, column in zip(header, columns, strict=True)}
    )
    return Table(file, table, rows, f"read with {DELIMITERS[delimiter]} between the columns")


def paths_alone(file: Path) -> list[tuple[int, str]]:
    """Line and path of each image of a list that holds nothing else; empty for other files."""
    try:
        numbered = _lines(_decoded(file.read_bytes()))
    except (ValueError, OSError):
        return []
    return numbered if all(looks_like_image(line) for _, line in numbered) else []


def _lines(text: str) -> list[tuple[int, str]]:
    return [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def _read_list(file: Path, text: str) -> Table | None:
    """A list without a header: on each line an image and its class, and what else there is; None
    where its first line begins with no image.

    Raises:
        AigiError: no class, or lines of several lengths.
    """
    numbered = _lines(text)
    if not numbered or (between := _between(numbered[0][1])) is None:
        return None
    values = [_cells(line, between) for _, line in numbered]
    if not between:
        raise AigiError(
            f"The list {file} names images without their class: write real or fake after each path,"
            " such as 'images/1.png fake', or call the lists real.txt and fake.txt and leave"
            " --manifest out."
        )
    header = ["path", "label", *(f"column{i}" for i in range(3, len(values[0]) + 1))]
    for (number, _), record in zip(numbered, values, strict=True):
        if len(record) != len(header):
            raise AigiError(
                f"Line {number} of {file} has {counted(len(record), 'value')}, but its first line"
                f" has {len(header)}: give each image as many."
            )
    columns = {
        name: pa.array(column, pa.string())
        for name, column in zip(header, zip(*values, strict=True), strict=True)
    }
    meaning = "an image, then its class" + (f", then {', '.join(header[2:])}" * bool(header[2:]))
    rows = [f"line {number}" for number, _ in numbered]
    return Table(file, pa.table(columns), rows, f"read as a list without a header ({meaning})")


def _between(line: str) -> str | None:
    """What follows the image that a line of a list begins with: a delimiter, a space for any
    spaces, nothing; None where no image does."""
    for delimiter in DELIMITERS:
        if delimiter in line and looks_like_image(line.split(delimiter)[0].strip()):
            return delimiter
    if looks_like_image(line):
        return ""
    return " " if len(_cells(line, " ")) > 1 else None


def _cells(line: str, between: str) -> list[str]:
    """The values of a line; a path may hold spaces itself."""
    if between.strip() or between == "\t":
        return [cell.strip() for cell in line.split(between)]
    for at, letter in enumerate(line):
        if letter.isspace() and looks_like_image(line[:at]):
            return [line[:at], *line[at:].split()]
    return [line]


def _delimiter(file: Path, text: str) -> str:
    """The delimiter that divides the header; where several do, the one that fits all first rows."""
    fits: dict[str, int] = {}
    for delimiter in DELIMITERS:
        try:
            sample = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            lengths = [len(record) for record, _ in zip(sample, range(50), strict=False) if record]
        except csv.Error:
            continue
        if lengths and lengths[0] > 1:
            fits[delimiter] = len(set(lengths))
    if len(fits) > 1:
        even = [delimiter for delimiter, kinds in fits.items() if kinds == 1]
        if len(even) != 1:
            names = " or ".join(DELIMITERS[delimiter] for delimiter in fits)
            raise AigiError(
                f"The columns of {file} may be divided by {names}: save it with one of them only,"
                " with quotes around values that hold it."
            )
        return even[0]
    return next(iter(fits), ",")


def _header(file: Path, cells: Sequence[str]) -> list[str]:
    """Stripped names; the nameless first column that pandas writes is its index."""
    names = [cell.strip() for cell in cells]
    if names and not names[0]:
        names[0] = "index"
    if "" in names:
        raise AigiError(f"Column {names.index('') + 1} of {file} has no name: give it one.")
    _refuse_doubled(file, names)
    return names


def _refuse_doubled(file: Path, names: Sequence[str]) -> None:
    doubled = sorted(name for name, times in Counter(names).items() if times > 1)
    if doubled:
        raise AigiError(
            f"{file} has the column {', '.join(map(repr, doubled))} more than once: rename or take"
            " out all but one."
        )


def _misfit(
    file: Path, line: int, record: Sequence[str], header: Sequence[str], between: str
) -> str:
    more = len(record) > len(header)
    cause = (
        f"probably a value holds one of the {between}, or each row ends in one: put quotes around"
        " such values"
        if more
        else "a value is missing, or a quote is not closed"
    )
    return (
        f"Line {line} of {file} has {counted(len(record), 'value')}, {'more' if more else 'fewer'}"
        " than the"
        f" header's {len(header)} ({', '.join(header)}): {cause}."
    )


def _read_json(file: Path, text: str, *, lines: bool) -> Table:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_doubled(file, [key.strip() for key, _ in pairs])
        return {key.strip(): value for key, value in pairs}

    records: Any
    videos: list[dict[str, Any]] = []
    if lines:
        numbered = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
        records = []
        for number, line in numbered:
            try:
                records.append(read_json(line, pairs=unique))
            except ValueError as error:
                what = getattr(error, "msg", str(error))
                raise ValueError(f"line {number}: {what}") from error
        rows = [f"line {number}" for number, _ in numbered]
    else:
        read = read_json(text, pairs=unique)
        videos = _of_videos(read)
        records = videos or _by_key(read)
        rows = []
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise AigiError(
            f"Expected a list of objects in {file}, one an image, such as"
            ' [{"path": "a.png", "label": "real"}, ...], or {"a.png": "real", ...}.'
        )
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: _json_column([record.get(name) for record in records]) for name in names}
    rows = rows or [f"entry {i}" for i in range(1, len(records) + 1)]
    dialect = (
        "read as a list of videos with their frames" if videos else "read as a list of objects"
    )
    return Table(file, pa.table(columns), rows, dialect)


def _by_key(records: Any) -> Any:
    """Objects of an object that has images for its keys (``{"a.png": "real"}``, ``{"a.png":
    {"label": "real"}}``) or lists of them for its values (``{"real": ["a.png"]}``); else the same.
    """
    if not isinstance(records, dict) or len(records) < 2:
        return records
    if all(map(looks_like_image, records)):
        told = [one if isinstance(one, dict) else {"label": one} for one in records.values()]
        if not any("path" in one for one in told):
            return [{"path": key} | one for key, one in zip(records, told, strict=True)]
    if not all(isinstance(of, list) for of in records.values()):
        return records
    listed = [{"path": path, "label": key} for key, of in records.items() for path in of]
    named = all(isinstance(one["path"], str) and looks_like_image(one["path"]) for one in listed)
    return listed if named else records


def _of_videos(records: Any) -> list[dict[str, Any]]:
    """Frames of DeepfakeBench's lists (``{SET: {CLASS: {train: {[c23:] {VIDEO: {"label": "x_Fake",
    "frames": [...]}}}}}}``), as objects; a video's frames are a group, fakes are called by the set.
    """
    found: list[dict[str, Any]] = []

    def look(inside: Any, above: tuple[str, ...]) -> None:
        if not isinstance(inside, dict):
            return
        if not isinstance(inside.get("frames"), list) or not above:
            for key, value in inside.items():
                look(value, (*above, key))
            return
        told = str(inside.get("label", ""))
        label = class_of_word(re.split(r"[-_]", told)[-1])
        row = {"label": told if label is None else "fake" if label else "real"}
        row |= {"split": next((key for key in above if key.lower() in SPLIT_OF), "")}
        row |= {"generator": above[0] if label != REAL else "", "group": scene_of(above[-1])}
        found.extend({"path": str(frame)} | row for frame in inside["frames"])

    look(records, ())
    return found


def _json_column(values: list[Any]) -> pa.Array:
    """Texts: a text file's column has the type that all its values allow (:meth:`Table.typed`)."""
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _read_parquet(file: Path, stream: Path | io.BytesIO) -> Table:
    parquet = open_parquet(stream)
    schema = parquet.schema_arrow
    _refuse_doubled(file, [name.strip() for name in schema.names])
    images = {f.name: where for f in schema if (where := bytes_within(f)) is not None}
    lacking = {name: _nulls(parquet, where) for name, where in images.items()}
    named = [name for name in images if lacking[name] == parquet.metadata.num_rows > 0]
    named = [name for name in named if _holds_path(schema.field(name).type)]
    images = {name: where for name, where in images.items() if name not in named}
    wanted = [name for name in schema.names if name not in (*images, *named)]
    columns = parquet.read(columns=wanted, use_pandas_metadata=False)
    for name in named:  # images that are only named: a data set that was saved without them
        paths = parquet.read(columns=[f"{name}.path"], use_pandas_metadata=False)[name]
        columns = columns.append_column(name, pc.struct_field(paths, "path"))
    if columns.num_columns == 0:  # no column keeps no number of rows
        columns = pa.table({"row": list(range(parquet.metadata.num_rows))})
    columns = columns.rename_columns([name.strip() for name in columns.column_names])
    rows = [f"row {i}" for i in range(1, parquet.metadata.num_rows + 1)]
    names = _class_names(schema.metadata or {})
    lacking = {name: lacking[name] for name in images if lacking[name]}
    return Table(file, columns, rows, "read as Parquet", names, images, lacking)


def _nulls(parquet: pq.ParquetFile, where: str) -> int:
    """Rows without a value in a column of bytes, as far as the file's statistics tell."""
    nulls, about = 0, parquet.metadata
    at = next(i for i in range(about.num_columns) if about.schema.column(i).path == where)
    for number in range(about.num_row_groups):
        known = about.row_group(number).column(at).statistics
        nulls += known.null_count if known is not None and known.has_null_count else 0
    return nulls


def _holds_path(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def bytes_within(column: pa.Field) -> str | None:
    """Dotted name of the bytes in a column of images (binary, or a struct that holds ``bytes``);
    None for other columns.
    """
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return str(column.name)
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        if any(f.name == "bytes" and bytes_within(f) for f in inner):
            return f"{column.name}.bytes"
    return None


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of class labels, from the description that Hugging Face's ``datasets`` writes."""
    try:
        features = read_json(metadata[b"huggingface"])["info"]["features"]
        return {
            str(name): [str(label) for label in about["names"]]
            for name, about in features.items()
            if isinstance(about, dict) and about.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError):
        return {}


def _named(table: Table, name: str) -> pd.Series:
    names = table.class_names[name]
    values = table.columns[name].to_pylist()
    wrong = [i for i, v in enumerate(values) if v is not None and not 0 <= int(v) < len(names)]
    if wrong:
        raise AigiError(
            f"Column {name!r} of {table.file} has {values[wrong[0]]} in {table.rows[wrong[0]]}, but"
            f" the file names {counted(len(names), 'class')} ({', '.join(names)})."
        )
    return pd.Series(["" if v is None else names[int(v)].strip() for v in values], dtype=str)


def _texts(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_floating(column.type):
        return ["" if v is None or v != v else _number(v) for v in column.to_pylist()]
    return ["" if value is None else _text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _number(value: float) -> str:
    """Whole numbers without a fraction: pandas turns integers with gaps into floats."""
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else repr(value)


def read_scores(file: Path, columns: Mapping[str, str] = {}) -> tuple[str, list[str], np.ndarray]:
    """A table of scores of images: which column names the images, their names, and the scores (NaN
    where the table has none).

    Args:
        columns: ``path``, ``content_hash`` and ``score`` -> what the table calls them, where it is
            otherwise.

    Raises:
        AigiError: other columns, or scores that are no numbers.
    """
    table = read_table(file)
    if missing := [name for name in columns.values() if name not in table.names]:
        raise AigiError(
            f"--columns names {', '.join(map(repr, missing))}, but {file} has the columns"
            f" {', '.join(table.names)}."
        )
    known = {name: columns.get(name, name) for name in (*KEYS, "score")}
    asked = [key for key in KEYS if key in columns]
    by = next((key for key in asked or KEYS if known[key] in table.names), None)
    if by is None or known["score"] not in table.names:
        raise AigiError(
            f"Expected the columns score and path or content_hash in {file}, got"
            f" {', '.join(table.names)}: say which are meant, such as --columns"
            " path=filename,score=prob."
        )
    texts = table.text(known["score"])
    scores = pd.to_numeric(texts, errors="coerce")
    words = scores.isna() & ~texts.str.strip().str.lower().isin(NO_NUMBER)
    if words.any():
        i = int(words.to_numpy().argmax())
        shown = texts.iloc[i]
        point = pd.to_numeric(shown.replace(",", ".").rstrip(" %"), errors="coerce")
        raise AigiError(
            f"Column {known['score']!r} of {file}: expected numbers, got {shown!r} in"
            f" {table.rows[i]} ({counted(int(words.sum()), 'such row')})"
            + (f": write {point:g}." if point == point else ".")
        )
    return by, table.text(known[by]).tolist(), scores.to_numpy(float)
