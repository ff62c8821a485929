"""Neighbours by cells against an exact search: the stated share is found, and copies are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from aigi_core import nearest


def rows(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, 24))
    return centres[rng.integers(0, 40, n)] + 0.4 * rng.standard_normal((n, 24))


def test_cells_find_the_share_of_neighbours_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    X = rows(4000)
    X[17] = 2 * X[3001]
    exact = nearest.nearest_neighbours(X, X, 11)
    assert exact.how == ""
    monkeypatch.setattr(nearest, "EXACT_PAIRS", 1e6)
    found = nearest.nearest_neighbours(X, X, 11)
    (stated, low, high) = (float(number) / 100 for number in re.findall(r"([\d.]+)%", found.how))
    share = (found.rows[:, :, None] == exact.rows[:, None]).any(axis=1).mean()
    assert stated >= nearest.RECALL and low <= share <= high + 1e-3
    assert "126 cells" in found.how and (found.rows >= 0).all()
    assert set(found.rows[17, :2]) == {17, 3001}
    assert (np.diff(found.similarity, axis=1) <= 1e-6).all()


def test_few_rows_in_the_cells_searched_are_searched_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = rows(300)
    exact = nearest.nearest_neighbours(X, X, 80)
    monkeypatch.setattr(nearest, "EXACT_PAIRS", 0)
    monkeypatch.setattr(nearest, "RECALL", 0.0)  # so that eight cells are taken for enough
    found = nearest.nearest_neighbours(X, X, 80)
    np.testing.assert_allclose(found.similarity[:, 0], exact.similarity[:, 0], atol=1e-6)
    assert (found.rows >= 0).all() and np.isfinite(found.similarity).all()
