"""Exact search by inner product, against NumPy."""

import numpy as np
import pytest

from aigi_core.clip import search
from aigi_core.clip.search import TextIndex
from aigi_core.errors import AigiError


def test_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (
        rng.standard_normal((500, 32)).astype(np.float32),
        rng.standard_normal((40, 32)),
    )
    products, rows = TextIndex(vectors).search(queries, 9)
    expected = queries @ vectors.T
    assert rows.tolist() == np.argsort(-expected, axis=1)[:, :9].tolist()
    assert products == pytest.approx(-np.sort(-expected, axis=1)[:, :9], abs=1e-4)


@pytest.mark.parametrize("k", [0, 4])
def test_more_than_there_is(k: int) -> None:
    with pytest.raises(AigiError, match="nearest of 3 texts"):
        TextIndex(np.eye(3, dtype=np.float32)).search(np.eye(3), k)


def test_equal_products_and_many_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "AT_ONCE", 8)  # two queries at once
    vectors = np.eye(4, dtype=np.float32)
    products, rows = TextIndex(vectors).search(np.array([[1, 0, 1, 0.5]] * 5), 4)
    assert rows.tolist() == [[0, 2, 3, 1]] * 5 and products.tolist() == [[1, 1, 0.5, 0]] * 5
    assert TextIndex(vectors).search(np.zeros((0, 4)), 2)[1].shape == (0, 2)
