"""Exact search by inner product, against NumPy."""

import numpy as np
import pytest

from aigi_core._faiss import PRODUCTS_FROM
from aigi_core.clip.search import TextIndex
from aigi_core.errors import AigiError


@pytest.mark.parametrize("count", [40, 120])
def test_equals_numpy(count: int) -> None:
    """In turn, and by a product of matrices."""
    rng = np.random.default_rng(0)
    vectors, queries = (
        rng.standard_normal((500, 32)).astype(np.float32),
        rng.standard_normal((count, 32)),
    )
    assert (queries.size >= PRODUCTS_FROM) == (count == 120)
    products, rows = TextIndex(vectors).search(queries, 9)
    expected = queries @ vectors.T
    assert rows.tolist() == np.argsort(-expected, axis=1)[:, :9].tolist()
    assert products == pytest.approx(-np.sort(-expected, axis=1)[:, :9], abs=1e-4)


@pytest.mark.parametrize("k", [0, 4])
def test_more_than_there_is(k: int) -> None:
    with pytest.raises(AigiError, match="nearest of 3 texts"):
        TextIndex(np.eye(3, dtype=np.float32)).search(np.eye(3), k)
