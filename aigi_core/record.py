"""What ``workspace.json`` may hold: the one place that says of each entry which JSON it is.

A record is a stranger's word. :func:`read_json` reads it within limits, :func:`check_record` holds
it against the format; whoever reads an entry afterwards need not ask what it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aigi_core import stored_features
from aigi_core.capabilities import Capabilities
from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS
from aigi_core.perturb import parse_ops
from aigi_core.statements import counted

MOST_JSON = 64 * 2**20
"""Bytes of a JSON file that is read."""
MOST_CHARACTERS = 10_000
"""Of one text in a record."""
DEEPEST = 32
"""Lists and tables within each other in a record."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_json(
    source: Path | bytes | str,
    most: int = MOST_JSON,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """The value of a JSON file or text.

    Args:
        most: bytes of a file that are read.
        pairs: makes a table of its entries, as for :func:`json.loads`.

    Raises:
        OSError: the file cannot be read.
        ValueError: too large, nested too deeply, or no JSON.
    """
    if isinstance(source, Path):
        size = source.stat().st_size
        if size > most:
            raise ValueError(f"it has {counted(size, 'byte')}, at most {most:,} are read")
        source = source.read_text("utf-8")
    try:
        return json.loads(source, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("its lists are nested too deeply") from error


# What an entry may be: a test, and its name in a sentence.
Kind = tuple[Callable[[Any], bool], str]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:  # finite: infinite ones are refused wherever they stand
    return isinstance(value, int | float) and not isinstance(value, bool)


TEXT: Kind = (lambda value: isinstance(value, str), "a text")
WHOLE: Kind = (_is_whole, "a whole number from 0 on")
BOOL: Kind = (lambda value: isinstance(value, bool), "true or false")
TABLE: Kind = (lambda value: isinstance(value, dict), "a table")
DIGEST: Kind = (
    lambda value: isinstance(value, str) and bool(_SHA256.fullmatch(value)),
    "a SHA-256 in hex",
)


def _list_of(kind: Kind, what: str) -> Kind:
    return (lambda value: isinstance(value, list) and all(map(kind[0], value)), f"a list of {what}")


def _table_of(kind: Kind, what: str) -> Kind:
    return (
        lambda value: isinstance(value, dict) and all(map(kind[0], value.values())),
        f"a table of {what}",
    )


TEXTS = _list_of(TEXT, "texts")
CHANNELS: Kind = (
    lambda value: isinstance(value, list) and len(value) == 3 and all(map(_is_number, value)),
    "a list of three numbers",
)
SHARE: Kind = (lambda value: _is_number(value) and 0 <= value < 1, "a share from 0 to below 1")
SIDE: Kind = (lambda value: _is_whole(value) and 0 < value <= 4096, "a side of 1 to 4,096 px")
SPLIT_NAMES: Kind = (
    lambda value: isinstance(value, list) and bool(value) and all(one in SPLITS for one in value),
    f"a list of {', '.join(SPLITS)}",
)

RECORD: dict[str, Kind] = {
    "name": TEXT,
    "image_root": TEXT,
    "image_root_hint": TEXT,
    "unfinished": BOOL,
    "before": _table_of(TEXT, "texts"),
    "tools": _table_of(TEXT, "texts"),
    "ingest": TABLE,
    "card": TABLE,
    "encoder": TABLE,
    "encoding": TABLE,
    "rows": _table_of(DIGEST, "digests"),
    "text": _table_of(TABLE, "tables"),
    "perturbed": _table_of(TABLE, "tables"),
    "held": _table_of(TABLE, "tables"),
}
FILE: dict[str, Kind] = {"bytes": WHOLE, "sha256": DIGEST}
ENCODER: dict[str, Kind] = {
    "library": TEXT,
    "model": TEXT,
    "pretrained": TEXT,
    "weights_sha256": TEXT,
    "preprocessing": TABLE,
    "preprocessing_sha256": TEXT,
    **dict.fromkeys(("layers", "heads", "head_width", "width", "embedding_width"), WHOLE),
    "precision": TEXT,
    "device": TEXT,
    "batch_size": WHOLE,
    "features": TEXTS,
    "settings": TABLE,
    "gives": TABLE,
}
REQUIRED = (
    "library",
    "model",
    "pretrained",
    "weights_sha256",
    "preprocessing",
    "layers",
    "heads",
    "embedding_width",
    "precision",
)
"""Entries that every encoder's record has."""
PREPROCESSING: dict[str, Kind] = {
    "size": SIDE,
    "mean": CHANNELS,
    "std": CHANNELS,
    "interpolation": TEXT,
    "resize_mode": TEXT,
    "steps": TEXTS,
}
GIVES: dict[str, Kind] = {"heads": TEXT, "lacks": _table_of(TEXT, "texts")}
BANK: dict[str, Kind] = {
    "texts": WHOLE,
    "source": TEXT,
    "source_sha256": TEXT,
    "template": TEXT,
    "cut": WHOLE,
    "key": TEXT,
}
COPIES: dict[str, Kind] = {
    "op": TEXT,
    "splits": SPLIT_NAMES,
    "heads": BOOL,
    "half": BOOL,
    "images": WHOLE,
    "preprocessing_sha256": TEXT,
    "workspace_digest": TEXT,
}
RECIPE: dict[str, Kind] = {
    "layout": TEXT,
    "why": TEXT,
    "val": SHARE,
    "test": SHARE,
    "seed": WHOLE,
    "min_images": WHOLE,
}
"""Entries of ``ingest`` that later jobs go on with."""


def check_record(record: Mapping[str, Any]) -> None:
    """Raise ValueError with what is wrong, as a clause, where a record is not of the format."""
    _limit(record)
    files = record.get("files")
    if not isinstance(files, dict):
        raise ValueError("'files' is no table of files")
    for name, entry in files.items():
        _check(entry, FILE, f"of {name!r}", tuple(FILE))
    _check(record, RECORD, "of the workspace")
    rows = record.get("rows")
    _require(
        rows is None or {"images", "features"} <= set(rows),
        "'rows' does not say in which order images and features are",
    )
    _check(record.get("ingest") or {}, RECIPE, "of 'ingest'")
    for name, about in (record.get("text") or {}).items():
        _check(about, BANK, f"of the text bank {name!r}", ("texts",))
        for file in (f"text/{name}.npy", f"text/{name}.parquet"):
            _require(file in files, f"the text bank {name!r} lacks {file}")
    for place in ("perturbed", "held"):
        for slug, about in (record.get(place) or {}).items():
            _check_copies(slug, about)
    encoder = record.get("encoder")
    if encoder is not None:
        _check_encoder(encoder, files)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _check(
    table: Any, kinds: Mapping[str, Kind], whose: str, required: tuple[str, ...] = ()
) -> None:
    """Each entry that is there and not null is of its kind."""
    _require(isinstance(table, dict), f"the entry {whose} is no table")
    for name, (holds, what) in kinds.items():
        value = table.get(name)
        if value is None:
            _require(name not in required, f"the entry {name!r} {whose} is missing")
        else:
            _require(holds(value), f"the entry {name!r} {whose} is not {what}: {_short(value)}")


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def _check_copies(slug: str, about: Any) -> None:
    whose = f"of the copies {slug!r}"
    _check(about, COPIES, whose, ("op", "splits", "heads", "workspace_digest"))
    try:
        named = parse_ops([about["op"]])[0].slug
    except AigiError as error:
        raise ValueError(f"the entry 'op' {whose}: {str(error).rstrip('.')}") from error
    _require(named == slug, f"the copies {slug!r} are said to be of {about['op']}")


def _check_encoder(encoder: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    _check(encoder, ENCODER, "of the encoder", REQUIRED)
    preprocessing = encoder["preprocessing"]  # none in a workspace of made-up features
    needed_of_it = ("size", "mean", "std") if preprocessing else ()
    _check(preprocessing, PREPROCESSING, "of the encoder's preprocessing", needed_of_it)
    if encoder.get("gives") is not None:
        _check(encoder["gives"], GIVES, "of what the encoder gives", ("heads", "lacks"))
    try:
        gives = Capabilities.of_record(encoder)
        needed = stored_features.files(stored_features.tokens(encoder.get("features") or []))
        stored = stored_features.stored(files)
    except AigiError as error:
        raise ValueError(str(error).rstrip(".")) from error
    further = stored_features.tokens(stored)
    sizes = ["embedding_width"]
    sizes += ["layers", "heads", "head_width"] if gives.has("heads") else []
    sizes += ["width"] if further else []
    sizes += ["layers"] if {"layers", "norm2"} & set(further) else []
    for name in sizes:
        size = encoder.get(name)
        _require(_is_whole(size) and size != 0, f"the encoder's {name} is {_short(size)}")
    for name in ("images.parquet", "embeddings.npy", *needed):
        _require(name in files, f"it lacks {name}")


def _limit(record: Any) -> None:
    """Values that no text, table or page can hold, wherever they stand."""
    for value, depth in _values(record, 0):
        _require(depth <= DEEPEST, f"it is nested more than {DEEPEST} deep")
        if isinstance(value, str):
            _require(
                len(value) <= MOST_CHARACTERS,
                f"a text of it has {counted(len(value), 'character')}",
            )
            _require("\0" not in value, "a text of it holds NUL")
            _require(not re.search("[\ud800-\udfff]", value), "a text of it is no Unicode")
        elif isinstance(value, float):
            _require(math.isfinite(value), "a number of it is no number (NaN or infinity)")
        elif isinstance(value, int):
            _require(abs(value) < 2**63, "a number of it is too large")


def _values(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """All values with how deep they stand, names of entries included."""
    yield value, depth
    if depth > DEEPEST:
        return
    if isinstance(value, dict):
        yield from ((name, depth) for name in value)
        for inside in value.values():
            yield from _values(inside, depth + 1)
    elif isinstance(value, list):
        for inside in value:
            yield from _values(inside, depth + 1)
