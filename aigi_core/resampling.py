"""Intervals that respect groups: images of one group (one prompt, one scene) are drawn together or
not at all.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy.special import ndtri

from aigi_core.errors import AigiError


def group_numbers(groups: np.ndarray, rows: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """A number, from 0, for the group of each of these rows of a workspace; an image without a
    group is one of its own.

    Args:
        groups: [N] names of all images' groups; empty where an image has none.
    """
    names = groups[rows].astype(object)
    alone = names == ""
    names[alone] = [f"\0{row}" for row in rows[alone]]
    return np.asarray(np.unique(names.astype(str), return_inverse=True)[1])


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
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(first)), np.float32)
    for s in np.unique(stratum):
        of = np.flatnonzero(stratum == s)
        counts[:, of] = rng.multinomial(len(of), np.full(len(of), 1 / len(of)), size=draws)
    weights: np.ndarray = counts[:, member]
    return weights


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


def widened(
    value: Float[np.ndarray, " ..."],
    low: Float[np.ndarray, " ..."],
    high: Float[np.ndarray, " ..."],
    images: Int[np.ndarray, " ..."],
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """An interval over draws, where the value is 1 or 0 and draws cannot tell how far from it the
    truth may be.

    The exact (Clopper-Pearson) bound of a share of 1 (or 0) among so many images. It holds for an
    AUC of 1, too, with the images of the rarer class: as many pairs of a fake and a real image, no
    two of which share one, were all right.
    """
    bound = ((1 - level) / 2) ** (1 / np.maximum(images, 1))
    value = np.asarray(value)
    return np.where(value == 1, np.minimum(low, bound), low), np.where(
        value == 0, np.maximum(high, 1 - bound), high
    )


def q_values(p: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """p-values after Benjamini-Hochberg (1995) over all that are defined; NaN where they are
    not.
    """
    q = np.full_like(p, np.nan)
    finite = np.isfinite(p)
    if finite.any():
        from scipy.stats import (
            false_discovery_control,
        )  # a second to load, which every page would pay

        q[finite] = false_discovery_control(p[finite], method="bh")
    return q


def wilson(
    hits: Int[np.ndarray, " n"] | float, total: Int[np.ndarray, " n"] | float, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share of independent cases (Wilson 1927); (0, 1) where there is
    no case.
    """
    z = ndtri(0.5 + level / 2)
    hits, total = np.asarray(hits, float), np.asarray(total, float)
    n = np.maximum(total, 1)
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    empty = total == 0
    return np.where(empty, 0.0, np.clip(centre - half, 0, share)), np.where(
        empty, 1.0, np.clip(centre + half, share, 1)
    )
