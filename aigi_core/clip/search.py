"""Exact nearest-neighbour search by inner product, through FAISS."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int

from aigi_core.errors import AigiError
from aigi_core.statements import counted


class TextIndex:
    """An index of unit rows; the inner product with a unit query is the cosine."""

    def __init__(self, vectors: Float32[np.ndarray, "T d"]) -> None:
        from aigi_core._faiss import faiss

        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: Float[np.ndarray, "B d"], k: int
    ) -> tuple[Float32[np.ndarray, "B k"], Int[np.ndarray, "B k"]]:
        """The k rows of largest inner product for each query: products, descending, and row
        numbers.
        """
        if not 1 <= k <= len(self):
            raise AigiError(
                f"Asked for the {k} nearest of {counted(len(self), 'text')}: ask for 1 to"
                f" {len(self)}."
            )
        products, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return products, rows
