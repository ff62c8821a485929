"""The nearest of many rows for each of many, through FAISS: exactly, or by an inverted file (IVF;
Sivic and Zisserman 2003, Johnson et al. 2019) whose recall is measured on these rows.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

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
MOST_CELLS = 64
"""... or until so many are, where rows hardly lie in clusters: then a smaller share is stated."""
BLOCK = 4096
"""Queries a search: the only thing that grows with it is a block of similarities."""


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
        return Nearest(*_search(_flat(base), queries, k), "")
    rng = np.random.default_rng(seed)
    index = _in_cells(base, rng)
    asked = queries[np.sort(rng.choice(len(queries), min(ASKED, len(queries)), replace=False))]
    true = _exactly(asked, base, k)[1]
    most = min(MOST_CELLS, index.nlist)
    while True:
        neighbours = _search(index, asked, k)[1]
        shares = (neighbours[:, :, None] == true[:, None]).any(axis=1).mean(axis=1)
        if shares.mean() >= RECALL or index.nprobe >= most:
            break
        index.nprobe = min(2 * index.nprobe, most)
    low, high = mean_interval(shares, (0.0, 1.0))
    how = (
        f"searched in {index.nprobe:,} of its {counted(index.nlist, 'cell')} (IVF), which found"
        f" {shares.mean():.1%} ({float(low):.1%} to {float(high):.1%}) of the true"
        f" {counted(k, 'neighbour')} of {counted(len(asked), 'image')}"
    )
    similarity, rows = _search(index, queries, k)
    few = (rows < 0).any(axis=1)  # its cells hold fewer than k rows
    if few.any():
        similarity[few], rows[few] = _exactly(queries[few], base, k)
    return Nearest(similarity, rows, how)


def _flat(base: np.ndarray) -> Any:
    import faiss  # here, because most readers of an audit need no index

    index = faiss.IndexFlatIP(base.shape[1])
    for start in range(0, len(base), BLOCK):
        index.add(_unit(base[start : start + BLOCK]))
    return index


def _in_cells(base: np.ndarray, rng: np.random.Generator) -> Any:
    import faiss

    cells = max(int(2 * np.sqrt(len(base))), 1)
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(base.shape[1]), base.shape[1], cells, faiss.METRIC_INNER_PRODUCT
    )
    size = min(len(base), 40 * cells)  # what FAISS wants of rows for each centre
    index.train(_unit(base[np.sort(rng.choice(len(base), size, replace=False))]))
    for start in range(0, len(base), BLOCK):
        index.add(_unit(base[start : start + BLOCK]))
    index.nprobe = min(8, cells)
    return index


def _search(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        index.search(_unit(queries[start : start + BLOCK]), k)
        for start in range(0, len(queries), BLOCK)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _exactly(asked: np.ndarray, base: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`_search` of a flat index, which would be a second copy of all rows in memory."""
    unit, best = _unit(asked), np.full((len(asked), k), -np.inf, np.float32)
    rows = np.zeros((len(asked), k), int)
    for start in range(0, len(base), BLOCK):
        cosine = unit @ _unit(base[start : start + BLOCK]).T
        number = np.broadcast_to(np.arange(start, start + cosine.shape[1]), cosine.shape)
        both, names = np.hstack([best, cosine]), np.hstack([rows, number])
        top = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(both, top, 1), np.take_along_axis(names, top, 1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return unit_rows(
        np.asarray(rows, np.float32),
        lambda n: (
            f"{counted(n, 'embedding', 'are')} zero or not finite: encode those images again."
        ),
    )
