"""The nearest of many rows for each of many: exactly, or in the cells around a query (an inverted
file, IVF; Sivic and Zisserman 2003, Johnson et al. 2019), whose recall is measured on these rows.

Cells are searched one after another: all queries that look into a cell are multiplied with its rows
at once, at the speed of a matrix product. An inverted file of FAISS reads the cells of one query
after another instead, at the speed of the memory, and holds a copy of all rows.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float, Int
from threadpoolctl import threadpool_limits

from aigi_core.errors import AigiError
from aigi_core.intervals import mean_interval
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows

EXACT_PAIRS = 2.5e9
"""Pairs of rows up to which the search is exact: 50,000 rows among themselves, a minute of a
core."""
RECALL, ASKED = 0.99, 500
"""More cells are searched until this share of the true neighbours is found, measured on so many
rows drawn at random ..."""
FEWEST_CELLS, MOST_CELLS = 8, 64
"""... or until so many are, where rows hardly lie in clusters: then a smaller share is stated."""
BLOCK = 4096
"""Rows read at a time."""
QUERIES = 65_536
"""Queries that a thread searches for at once (200 MB of 768 numbers each): a cell is read once for
all of them."""
WORKERS = 2
"""Threads of a search in cells; results do not depend on it."""
SECONDS = {"exact": 2.6e-11, "cells": 4.4e-11}
"""Of a core for a product of two numbers and what is done with it, in an exact search and in cells
(docs/scale.md)."""


class Nearest(NamedTuple):
    """Neighbours of Q rows.

    Attributes:
        similarity: cosine, nearest first.
        rows: their numbers.
        how: in words, where the search was not exact; else empty.
    """

    similarity: Float[np.ndarray, "Q k"]
    rows: Int[np.ndarray, "Q k"]
    how: str


def nearest_neighbours(
    queries: Float[np.ndarray, "Q d"], base: Float[np.ndarray, "N d"], k: int, seed: int = 0
) -> Nearest:
    """Cosine and row of the k nearest base images of each query, nearest first.

    Exact up to :data:`EXACT_PAIRS` pairs. Beyond, base rows lie in 2 sqrt(N) cells around centres
    (k-means), and only the cells nearest to a query are searched: as many as find
    :data:`RECALL` of the neighbours that an exact search of :data:`ASKED` queries finds, but no
    more than :data:`MOST_CELLS`. Copies lie in the same cell and are found in any case.

    Raises:
        AigiError: fewer than k base images, values that are not finite, or a row of zeros.
    """
    if len(base) < max(k, 2):
        raise AigiError(
            f"Expected at least {counted(max(k, 2), 'image')} to search among, got {len(base)}."
        )
    if len(queries) * len(base) <= EXACT_PAIRS:
        return Nearest(*_exactly(queries, base, k), "")
    rng = np.random.default_rng(seed)
    asked = queries[np.sort(rng.choice(len(queries), min(ASKED, len(queries)), replace=False))]
    cells = _Cells.of(base, rng)
    searched, shares = _enough_cells(cells, asked, _exactly(asked, base, k)[1])
    low, high = mean_interval(shares, (0.0, 1.0))
    how = (
        f"searched in {searched:,} of its {counted(len(cells.centres), 'cell')} (IVF), which found"
        f" {shares.mean():.1%} ({float(low):.1%} to {float(high):.1%}) of the true"
        f" {counted(k, 'neighbour')} of {counted(len(asked), 'image')}"
    )
    similarity, rows = _in_cells(queries, base, cells, searched, k)
    few = (rows < 0).any(axis=1)  # its cells hold fewer than k rows
    if few.any():
        similarity[few], rows[few] = _exactly(queries[few], base, k)
    return Nearest(similarity, rows, how)


def search_seconds(n: int, width: int) -> float:
    """Seconds of a core, about, in which :func:`nearest_neighbours` searches n rows for themselves;
    in cells at most: as many are searched as where rows hardly lie in clusters.
    """
    if n**2 <= EXACT_PAIRS:
        return n**2 * width * SECONDS["exact"]
    cells = float(2 * np.sqrt(n))
    # ten rounds of k-means of 40 rows a cell, each row's cell and those that it looks into
    pairs = 400 * cells**2 + 2 * n * cells + n * MOST_CELLS * n / cells
    return pairs * width * SECONDS["cells"]


@dataclass(frozen=True, eq=False)
class _Cells:
    """Rows by the centre that they are nearest to.

    Attributes:
        of_row: each row's cell.
        rows: their numbers, sorted by cell.
        starts: cell c has ``rows[starts[c] : starts[c + 1]]``.
    """

    centres: Float[np.ndarray, "C d"]
    of_row: Int[np.ndarray, " N"]
    rows: Int[np.ndarray, " N"]
    starts: Int[np.ndarray, " C1"]

    @classmethod
    def of(cls, base: Float[np.ndarray, "N d"], rng: np.random.Generator) -> Self:
        """2 sqrt(N) cells, from as many rows drawn at random as FAISS wants for each centre."""
        from aigi_core._faiss import faiss

        count = max(int(2 * np.sqrt(len(base))), 1)
        size = min(len(base), 40 * count)
        drawn = _unit(base[np.sort(rng.choice(len(base), size, replace=False))])
        means = faiss.Kmeans(
            base.shape[1], count, niter=10, spherical=True, min_points_per_centroid=1
        )
        means.train(drawn)
        centres = np.asarray(means.centroids)
        of_row = _nearest_centres(base, centres, 1)[:, 0]
        starts = np.searchsorted(np.sort(of_row), np.arange(count + 1))
        return cls(centres, of_row, np.argsort(of_row, kind="stable"), starts)

    def visits(
        self, probed: Int[np.ndarray, "q searched"]
    ) -> Iterator[tuple[Int[np.ndarray, " asking"], Int[np.ndarray, " rows"]]]:
        """Cell by cell, which queries look into it, and its rows; ``probed`` are the numbers of the
        cells that each query looks into."""
        flat = probed.ravel()
        order = np.argsort(flat, kind="stable")
        bounds = np.searchsorted(flat[order], np.arange(len(self.centres) + 1))
        for cell in np.flatnonzero((np.diff(bounds) > 0) & (np.diff(self.starts) > 0)):
            asking = order[bounds[cell] : bounds[cell + 1]] // probed.shape[1]
            yield asking, self.rows[self.starts[cell] : self.starts[cell + 1]]


def _nearest_centres(
    rows: Float[np.ndarray, "n d"], centres: Float[np.ndarray, "C d"], count: int
) -> Int[np.ndarray, "n count"]:
    """Numbers of the centres nearest to each row, nearest first."""

    def of_block(start: int) -> np.ndarray:
        found: np.ndarray = nearest_rows(_unit(rows[start : start + BLOCK]), centres, count)[1]
        return found.astype(np.int32)

    return np.concatenate([*_on_threads(of_block, range(0, len(rows), BLOCK))])


def _enough_cells(
    cells: _Cells, asked: Float[np.ndarray, "a d"], true: Int[np.ndarray, "a k"]
) -> tuple[int, Float[np.ndarray, " a"]]:
    """How many cells to search, and the share of each asked row's true neighbours in them: a search
    finds all that lie in its cells."""
    most = min(MOST_CELLS, len(cells.centres))
    probed = _nearest_centres(asked, cells.centres, most)
    place = cells.of_row[true][:, :, None] == probed[:, None]
    count = min(FEWEST_CELLS, most)
    while True:
        shares = place[:, :, :count].any(axis=2).mean(axis=1)
        if shares.mean() >= RECALL or count == most:
            return count, shares
        count = min(2 * count, most)


def _in_cells(
    queries: Float[np.ndarray, "Q d"],
    base: Float[np.ndarray, "N d"],
    cells: _Cells,
    searched: int,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest in the cells whose centres are nearest to each query; row -1 and a similarity
    of minus infinity where they hold fewer than k."""

    half = _halves()

    def of_part(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        unit = _unit(queries[part[0] : part[-1] + 1])
        probed = nearest_rows(unit, cells.centres, searched)[1]
        nearest = _Best(len(unit), k)
        for some, rows in cells.visits(probed[:, :1] if half else probed):
            among = _unit(base[rows])
            for asking in _blocks(some):
                similarity, place = nearest_rows(unit[asking], among, k)
                nearest.take(asking, similarity, rows[place])
        if half:
            rounded = half.rounded(unit)
            for some, rows in cells.visits(probed[:, 1:]):
                among = _unit(base[rows])
                shortened = half.rounded(among)
                for asking in _blocks(some):
                    floor = nearest.similarity[asking, -1]
                    padded = np.append(asking, np.zeros(-len(asking) % half.STEP, int))
                    query, place = half.pairs_above(
                        rounded.take(padded, axis=0), shortened, floor, len(rows)
                    )
                    query = asking[query]
                    nearest.take_pairs(query, _products(unit, query, among, place), rows[place])
        return nearest.similarity, nearest.rows

    parts = np.array_split(np.arange(len(queries)), -(-len(queries) // QUERIES))
    with half.one_thread() if half else nullcontext():
        found = [*_on_threads(of_part, parts)]
    return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])


def _exactly(
    queries: Float[np.ndarray, "Q d"], base: Float[np.ndarray, "N d"], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of all rows, block by block."""
    unit, nearest = _unit(queries), _Best(len(queries), k)
    for start in range(0, len(base), BLOCK):
        similarity, place = nearest_rows(unit, _unit(base[start : start + BLOCK]), k)
        nearest.take(np.arange(len(unit)), similarity, start + place)
    return nearest.similarity, nearest.rows


class _Best:
    """The k nearest rows of each query so far, nearest first."""

    def __init__(self, queries: int, k: int) -> None:
        self.similarity = np.full((queries, k), -np.inf, np.float32)
        self.rows = np.full((queries, k), -1)

    def take(
        self,
        queries: Int[np.ndarray, " q"],
        similarity: Float[np.ndarray, "q c"],
        rows: Int[np.ndarray, "q c"],
    ) -> None:
        """Candidates of some queries, nearest first."""
        better = similarity[:, 0] > self.similarity[queries, -1]
        queries = queries[better]
        both = np.hstack([self.similarity[queries], similarity[better]])
        names = np.hstack([self.rows[queries], rows[better]])
        order = np.argsort(-both, axis=1, kind="stable")[:, : self.rows.shape[1]]
        self.similarity[queries] = np.take_along_axis(both, order, 1)
        self.rows[queries] = np.take_along_axis(names, order, 1)

    def take_pairs(
        self,
        queries: Int[np.ndarray, " p"],
        similarity: Float[np.ndarray, " p"],
        rows: Int[np.ndarray, " p"],
    ) -> None:
        """Candidates as pairs of a query and a row, in any order and number."""
        if not len(queries):
            return
        k = self.rows.shape[1]
        order = np.lexsort((-similarity, queries))
        some, number, count = np.unique(queries[order], return_inverse=True, return_counts=True)
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        kept = place < k
        best, names = np.full((len(some), k), -np.inf, np.float32), np.full((len(some), k), -1)
        best[number[kept], place[kept]] = similarity[order][kept]
        names[number[kept], place[kept]] = rows[order][kept]
        self.take(some, best, names)


def _halves() -> ModuleType | None:
    """Products in bfloat16, where this processor is quicker at them."""
    from aigi_core import _halves as halves  # torch takes two seconds to load

    return halves if halves.pay() else None


def _blocks(some: Int[np.ndarray, " n"]) -> Iterator[Int[np.ndarray, " block"]]:
    for start in range(0, len(some), BLOCK):
        yield some[start : start + BLOCK]


def _products(
    left: Float[np.ndarray, "a d"],
    of_left: Int[np.ndarray, " p"],
    right: Float[np.ndarray, "b d"],
    of_right: Int[np.ndarray, " p"],
) -> Float[np.ndarray, " p"]:
    """The product of each pair of rows, of so few at a time that a core's cache holds them."""
    products = np.empty(len(of_left), np.float32)
    first, second = (np.empty((64, left.shape[1]), np.float32) for _ in range(2))
    for start in range(0, len(products), 64):
        part = slice(start, start + 64)
        size = len(products[part])
        np.einsum(
            "ij,ij->i",
            left.take(of_left[part], axis=0, out=first[:size], mode="clip"),
            right.take(of_right[part], axis=0, out=second[:size], mode="clip"),
            out=products[part],
        )
    return products


def nearest_rows(
    queries: Float[np.ndarray, "q d"], rows: Float[np.ndarray, "n d"], k: int
) -> tuple[Float[np.ndarray, "q c"], Int[np.ndarray, "q c"]]:
    """Cosine and place of the ``c = min(k, n)`` nearest of some unit rows, nearest first; exact."""
    from aigi_core._faiss import faiss

    similarity, place = faiss.knn(
        queries, rows, min(k, len(rows)), metric=faiss.METRIC_INNER_PRODUCT
    )
    return similarity, place


def _on_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Results in order of the items; each thread's products on one thread."""
    from aigi_core._faiss import faiss

    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(WORKERS, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool,
    ):
        yield from pool.map(work, items)


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return unit_rows(
        np.asarray(rows, np.float32),
        lambda n: (
            f"{counted(n, 'embedding', 'are')} zero or not finite: encode those images again."
        ),
    )
