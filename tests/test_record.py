"""What ``workspace.json`` may hold: any JSON in the place of any entry is refused in one sentence,
or is of the entry's kind.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigi_core.errors import WorkspaceError
from aigi_core.record import check_record, read_json
from aigi_core.workspace import read_manifest
from tests.factory import make_workspace

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    10**30,
    float("nan"),
    float("inf"),
    "x",
    [],
    {},
    [[{"a": [None]}]],
    "y" * 300_000,
    "\ud800",
    "a\0b",
)
COPIES = {
    "op": "jpeg:50",
    "splits": ["test"],
    "heads": False,
    "half": False,
    "images": 54,
    "workspace_digest": "0" * 12,
}
BANK = {"source": "phrases.txt", "source_sha256": "0" * 64, "template": "{}", "cut": 0, "key": ""}
PREPROCESSING = {
    "size": 224,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.3, 0.3, 0.3],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "steps": ["jpeg:90"],
}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of a workspace with every entry that a job writes."""
    full = read_manifest(make_workspace(tmp_path_factory.mktemp("record") / "w", per_class=12))
    full["encoder"] |= {
        "device": "cpu",
        "batch_size": 8,
        "features": ["embedding", "heads"],
        "gives": {"heads": "class token", "lacks": {}},
        "settings": {"activation": "GELU"},
        "preprocessing": PREPROCESSING,
    }
    full["text"]["phrases"] |= BANK
    return full | {
        "perturbed": {"jpeg-50": COPIES},
        "held": {"jpeg-50": COPIES},
        "tools": {"numpy": "2"},
        "image_root": "/data",
        "image_root_hint": "data",
        "ingest": {"layout": "folders", "val": 0.15, "test": 0.3, "seed": 0, "min_images": 10},
    }


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the entries of a record stand."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for name, entry in inside:
        yield (*above, name)
        if isinstance(entry, dict | list):
            yield from places(entry, (*above, name))


def replaced(record: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(record))
    table: Any = copy
    for name in place[:-1]:
        table = table[name]
    table[place[-1]] = value
    return copy


def test_the_record_of_a_workspace_passes(record: dict[str, Any]) -> None:
    check_record(record)


MEASURED = ("shape", "dtype", "rows")
"""Entries of a file that ``verify`` holds against the file itself."""
FREE = (("encoder", "settings"), ("ingest",), ("schema_version",))
"""What is kept for people alone, and what is asked for elsewhere."""


def test_any_other_json_is_refused_in_a_sentence_or_of_the_entrys_kind(
    record: dict[str, Any],
) -> None:
    passed: dict[tuple[Any, ...], list[Any]] = {}
    for place in places(record):
        for value in HOSTILE:
            try:
                check_record(replaced(record, place, value))
            except ValueError as error:
                assert "\n" not in str(error) and len(str(error)) < 400
            else:
                passed.setdefault(place, []).append(value)
    for place, values in passed.items():
        own = record
        for name in place:
            own = own[name]
        if place[0] != "files" or place[2:3] not in [(name,) for name in MEASURED]:
            free = any(place[: len(at)] == at for at in FREE)
            kinds = {type(own), type(None)} | ({int, float} if isinstance(own, float) else set())
            assert free or {type(value) for value in values} <= kinds, place
        assert not any(value in (10**30, "y" * 300_000, "\ud800", "a\0b") for value in values)
        assert not any(value != value for value in values if isinstance(value, float))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data(), value=JSON)
def test_whatever_json_stands_somewhere_nothing_but_a_sentence_is_raised(
    record: dict[str, Any], data: st.DataObject, value: Any
) -> None:
    place = data.draw(st.sampled_from(sorted(places(record), key=repr)))
    try:
        check_record(replaced(record, place, value))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"schema_version": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"schema_version": Infinity, "files": {}}',
        '{"schema_version": true, "files": {}}',
        '{"schema_version": ' + "9" * 5000 + "}",
        "3",
        "[]",
        "",
        '{"schema_version": 1, "files": {"a\\u0000": {}}}',
        '{"schema_version": 1, "files": {}, "card": ' + "[" * 60 + "]" * 60 + "}",
    ],
    ids=range(10),
)
def test_a_record_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "workspace.json").write_text(text, "utf-8")
    with pytest.raises(WorkspaceError, match=r"damaged|format version"):
        read_manifest(tmp_path)


def test_json_is_read_up_to_a_size(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[" + " " * 100 + "]")
    assert read_json(file) == []
    with pytest.raises(ValueError, match="at most 100 are read"):
        read_json(file, most=100)
