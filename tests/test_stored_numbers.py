"""Numbers of the demo are those that were stored before its rooms were moved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigi_core.workspace import Workspace
from tests.stored_numbers import FILE, METRICS, compute

DEMO = Path(__file__).parents[1] / "assets" / "demo"


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return compute(Workspace.open(DEMO))


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return loaded


@pytest.mark.parametrize("part", ["generators", "images", "stored words", "atlas"])
def test_counts_and_lists_are_the_same(
    now: dict[str, Any], stored: dict[str, Any], part: str
) -> None:
    assert now[part] == stored[part]


@pytest.mark.parametrize("part", ["matrix", "facts"])
def test_rates_are_the_same(now: dict[str, Any], stored: dict[str, Any], part: str) -> None:
    for metric in METRICS:
        assert_equal(now[part][metric], stored[part][metric])


def test_the_audit_is_the_same(now: dict[str, Any], stored: dict[str, Any]) -> None:
    mine, theirs = now["audit"], stored["audit"]
    assert_equal(mine["detector"], theirs["detector"])
    assert set(mine["facts"]) == set(theirs["facts"])
    for view, rates in theirs["facts"].items():
        assert_equal(mine["facts"][view], rates)
    for count in ("duplicates", "groups on both sides of a split"):
        assert mine[count] == theirs[count]


def assert_equal(mine: list[list[float]], theirs: list[list[float]]) -> None:
    """Rates are counts over counts: they are the same but for the order of the last sum."""
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def test_nearest_words_are_the_same(now: dict[str, Any], stored: dict[str, Any]) -> None:
    assert list(now["words"]) == list(stored["words"])
    for name, listed in stored["words"].items():
        assert [text for text, _ in now["words"][name]] == [text for text, _ in listed]
        cosines = [cosine for _, cosine in now["words"][name]]
        assert cosines == pytest.approx([cosine for _, cosine in listed], abs=1e-9)
