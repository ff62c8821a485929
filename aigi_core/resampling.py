"""Intervals that respect groups: images of one group (one prompt, one scene) are drawn together or
not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Integer

from aigi_core.errors import AigiError

MOST_KEPT = 2**23
"""Counts of groups in draws that are kept for the next call; of more, drawing is the least."""


def group_numbers(groups: np.ndarray, rows: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """A number, from 0, for the group of each of these rows of a workspace; an image without a
    group is one of its own.

    Args:
        groups: [N] names of all images' groups; empty where an image has none.
    """
    names = groups[rows].astype(object)
    alone = names == ""
    names[alone] = [f"\0{row}" for row in rows[alone]]
    # by name, as draws depend on it; sorting every image's name takes several times as long
    return np.asarray(pd.factorize(names, sort=True)[0])


def pair_weights(
    pairs: Sequence[Sequence[str]], draws: int, *, seed: int = 0
) -> Int[np.ndarray, "draws pairs"]:
    """How often each pair of generators occurs in each bootstrap draw. Generators are drawn, not
    pairs, which share them: a pair counts as often as both its generators are drawn together.

    >>> int(pair_weights([("a", "b"), ("b", "a")], 4).max())
    1
    """
    names, ends = np.unique(np.asarray(pairs, str), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=draws
    )
    weights: np.ndarray = counts[:, ends.reshape(-1, 2)].prod(axis=2)
    return weights


def group_weights(
    groups: np.ndarray, draws: int, *, strata: np.ndarray | None = None, seed: int = 0
) -> Float[np.ndarray, "draws n"]:
    """How often each image occurs in each bootstrap draw, whole groups at a time.

    Args:
        groups: [n] group of each image.
        strata: [n] groups are drawn within the stratum of their first image (fakes with fakes,
            where groups allow).

    Returns:
        [draws, n] float32 counts, the same for all images of a group.
    """
    if len(groups) == 0:
        raise AigiError("There are no images to draw from: choose a set with at least one.")
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    stratum = (
        np.zeros(len(first), int)
        if strata is None
        else np.unique(strata, return_inverse=True)[1][first]
    )
    # groups of one stratum beside each other, strata in their order
    place = np.empty(len(first), int)
    place[np.argsort(stratum, kind="stable")] = np.arange(len(first))
    sizes = tuple(np.unique(stratum, return_counts=True)[1].tolist())
    kept = draws * len(first) <= MOST_KEPT
    counts = (_drawn if kept else _drawn.__wrapped__)(sizes, draws, seed)
    weights: np.ndarray = counts[:, place[member]]
    return weights


@lru_cache(maxsize=4)
def _drawn(sizes: tuple[int, ...], draws: int, seed: int) -> Float[np.ndarray, "draws groups"]:
    """How often each group is drawn, stratum after stratum; kept, for matrices on the same images
    are drawn alike. Do not change it."""
    rng = np.random.default_rng(seed)
    counts = [rng.multinomial(size, np.full(size, 1 / size), size=draws) for size in sizes]
    return np.concatenate(counts, axis=1, dtype=np.float32, casting="unsafe")


def percentile_interval(
    values: Float[np.ndarray, "draws ..."], level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper percentile over the draws; draws in which a statistic is undefined (NaN) are
    left out.
    """
    tails = [(1 - level) / 2, (1 + level) / 2]
    # NumPy's NaN-aware quantile goes cell by cell in Python: a hundred times slower on a matrix.
    low, high = (np.nanquantile if np.isnan(values).any() else np.quantile)(values, tails, axis=0)
    return low, high
