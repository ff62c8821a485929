"""Neighbours by cells against an exact search: the stated share is found, and copies are."""

from __future__ import annotations

import re

import numpy as np
import pytest

from aigi_core import _halves as halves
from aigi_core import nearest
from aigi_core._faiss import PRODUCTS_FROM


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
    assert stated >= nearest.RECALL and low - 1e-4 <= share <= high + 1e-3
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


def by_hand(queries: np.ndarray, base: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    unit, among = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True).astype(float) for rows in (queries, base)
    )
    cosine = unit @ among.T
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosine, order, 1), order


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pairs", [0, np.inf])
def test_all_cells_or_all_rows_give_what_a_search_by_hand_does(
    monkeypatch: pytest.MonkeyPatch, seed: int, pairs: float
) -> None:
    """Whatever the blocks, and how many queries a thread takes, that they cross."""
    rng = np.random.default_rng(seed)
    n, asked, k = (int(x) for x in rng.integers([300, 20, 1], [700, 400, 15]))
    base, queries = rows(n, seed), rows(asked, seed + 100) * rng.uniform(0.1, 9, (asked, 1))
    queries[3] = 7 * base[n - 1]
    monkeypatch.setattr(nearest, "EXACT_PAIRS", pairs)
    monkeypatch.setattr(nearest, "FEWEST_CELLS", 10**6)
    monkeypatch.setattr(nearest, "MOST_CELLS", 10**6)
    monkeypatch.setattr(nearest, "BLOCK", int(rng.integers(16, 70)))
    monkeypatch.setattr(nearest, "QUERIES", int(rng.integers(16, 150)))
    found = nearest.nearest_neighbours(queries.astype(np.float32), base.astype(np.float32), k)
    cosine, order = by_hand(queries, base, k)
    np.testing.assert_allclose(found.similarity, cosine, atol=2e-6)
    assert (found.rows == order).mean() > 0.999
    assert found.rows[3, 0] == n - 1
    assert ("100.0%" in found.how) == (pairs == 0)


def test_the_share_is_that_of_the_search_and_copies_are_found_where_rows_lie_in_no_clusters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((6000, 48)).astype(np.float32)
    copied = rng.choice(6000, (2, 200), replace=False)
    X[copied[1]] = X[copied[0]] * rng.uniform(0.5, 2, (200, 1)) + 1e-4 * X[copied[1]]
    exact = nearest.nearest_neighbours(X, X, 11)
    monkeypatch.setattr(nearest, "EXACT_PAIRS", 0)
    monkeypatch.setattr(nearest, "MOST_CELLS", 16)
    monkeypatch.setattr(nearest, "ASKED", 6000)  # so that the share stated is that of all
    found = nearest.nearest_neighbours(X, X, 11)
    shares = (found.rows[:, None] == exact.rows[:, :, None]).any(axis=2).mean()
    assert f"16 of its 154 cells (IVF), which found {shares:.1%}" in found.how and shares < 0.9
    assert (found.rows[copied[1], :2] == copied[0][:, None]).any(axis=1).all()
    assert (found.rows[copied[0], :2] == copied[1][:, None]).any(axis=1).all()


def test_threads_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same result on any number of threads, and of the same seed."""
    X = rows(2000, 3)
    monkeypatch.setattr(nearest, "EXACT_PAIRS", 0)
    monkeypatch.setattr(nearest, "QUERIES", 300)
    first = nearest.nearest_neighbours(X, X, 5, seed=7)
    monkeypatch.setattr(nearest, "WORKERS", 1)
    again = nearest.nearest_neighbours(X, X, 5, seed=7)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.similarity, again.similarity)
    assert first.how == again.how
    other = nearest.nearest_neighbours(X, X, 5, seed=8)
    assert (first.rows[:, 0] == other.rows[:, 0]).all()


def test_the_time_announced_grows_as_the_search_does() -> None:
    border = int(nearest.EXACT_PAIRS**0.5)
    assert nearest.search_seconds(border, 768) == 4 * nearest.search_seconds(border // 2, 768)
    assert nearest.search_seconds(border + 1, 768) < nearest.search_seconds(border, 768)
    million, four = (nearest.search_seconds(n * 10**6, 768) for n in (1, 4))
    assert 7.5 < four / million < 8  # as n to the power 1.5, once centres cost little
    assert nearest.search_seconds(10**6, 384) == million / 2


@pytest.mark.parametrize("k", [1, 11])
def test_products_in_bfloat16_find_what_those_in_float32_do(
    monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    X = np.tanh(rows(3000, 4)).astype(np.float32)
    X[5], X[9], X[11:30] = X[2000], 3 * X[2100], X[2200]  # copies, more than are asked for
    for name, value in (("EXACT_PAIRS", 0), ("BLOCK", 200), ("QUERIES", 1000)):
        monkeypatch.setattr(nearest, name, value)
    found = []
    for half in (None, halves):
        monkeypatch.setattr(nearest, "_halves", lambda half=half: half)
        found.append(nearest.nearest_neighbours(X, X, k))
    whole, shortened = found
    assert whole.how == shortened.how and "cells" in whole.how
    np.testing.assert_allclose(shortened.similarity, whole.similarity, atol=1e-6)
    same = (shortened.rows == whole.rows)[np.r_[30:2200, 2201:3000]]  # copies are in any order
    assert same.mean() > 0.99  # equal to the last digit of float32


@pytest.mark.parametrize("count", [40, 120])
def test_nearest_rows_equal_those_of_numpy(count: int) -> None:
    """In turn, and by a product of matrices."""
    rng = np.random.default_rng(0)
    vectors, queries = (
        rng.standard_normal((500, 32)).astype(np.float32),
        rng.standard_normal((count, 32)),
    )
    assert (queries.size >= PRODUCTS_FROM) == (count == 120)
    products, found = nearest.nearest_rows(queries, vectors, 9)
    expected = queries @ vectors.T
    assert found.tolist() == np.argsort(-expected, axis=1)[:, :9].tolist()
    assert products == pytest.approx(-np.sort(-expected, axis=1)[:, :9], abs=1e-4)
    assert nearest.nearest_rows(queries, vectors[:3], 9)[1].shape == (count, 3)
