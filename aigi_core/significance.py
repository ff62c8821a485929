"""p-values of paired differences that hold for few images, and what several of them are worth
together."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int8
from scipy.special import ndtr, stdtr

from aigi_core.intervals import Groups
from aigi_core.resampling import MOST_KEPT

ENUMERATED = 12
"""Up to so many groups that differ, all their sign patterns are tried: the test is exact."""
FLIPS = 3999
BLOCK, SPREAD = 128, 2**22
"""Sign patterns that are spread out at once where there is one difference, or groups are many: more
than so many numbers are not in memory."""
NORMAL, EVEN = 10_000, 1e-3
"""Of more groups that differ, none of which holds more than this share of the sum of squares, the
normal limit of the distribution over sign patterns gives the p-value: it is off by the order of
1 / n, as the distribution is symmetric, where so many drawn patterns have a standard error of .0034
at p = .05. Those of the 300,000 test images of a million would take minutes and gigabytes."""
RESOLVED = 20
"""Fewer sign patterns as extreme than this do not give a p-value: the normal tail, corrected for
continuity, does."""


def sign_flip(
    contributions: Float[np.ndarray, "M n"],
    groups: Groups,
    observed: Float[np.ndarray, " M"] | None = None,
    seed: int = 0,
) -> Float[np.ndarray, " M"]:
    """Two-sided p-value of a paired difference: how often it is as large when the two detectors
    change places at random, group by group (Fisher 1935; for one class of independent images the
    exact test of McNemar 1947).

    It tests that the two are exchangeable on every image. Where one trades misses for false alarms
    at an equal mean of both, fewer than about 200 images of each class can give too many small
    values.

    Args:
        contributions: [M, n] what each image adds to the difference.
        observed: [M] the difference; the sum of the contributions by default. (An AUC's
            contributions sum to twice the difference.)

    >>> four_of_thirty = np.zeros((1, 30)); four_of_thirty[0, :4] = 1 / 30
    >>> float(sign_flip(four_of_thirty, Groups.of(np.arange(30)))[0])
    0.125
    """
    sums = groups.sums(np.asarray(contributions, float))
    size = np.abs(sums.sum(axis=1) if observed is None else np.asarray(observed, float))
    moving = np.abs(sums) > 1e-12
    count = moving.sum(axis=1)
    p = np.ones(len(sums))
    slack = 1e-9 * np.maximum(np.abs(sums).sum(axis=1), 1e-12)
    few = (count > 0) & (count <= ENUMERATED)
    if few.any():
        width = int(count[few].max())
        strongest = -np.sort(-np.abs(sums[few]), axis=1)[:, :width]
        reached = strongest @ _patterns(width)
        p[few] = (np.abs(reached) >= (size[few] - slack[few])[:, None]).mean(axis=1)
    squares = sums**2
    limit = (count > NORMAL) & (squares.max(axis=1) <= EVEN * squares.sum(axis=1))
    if limit.any():
        p[limit] = np.minimum(_normal_tail(sums[limit], size[limit] - slack[limit]), 1.0)
    many = (count > ENUMERATED) & ~limit
    if many.any():
        p[many] = _sampled(sums[many], size[many] - slack[many], seed)
    return p


def _sampled(
    sums: Float[np.ndarray, "M groups"], size: Float[np.ndarray, " M"], seed: int
) -> Float[np.ndarray, " M"]:
    used = (np.abs(sums) > 1e-12).any(axis=0)
    sums = sums[:, used]
    signs = _signs(sums.shape[1], seed)
    # one difference is the rule: its signs are spread out piece by piece, which stays in the cache
    step = BLOCK if len(sums) == 1 or FLIPS * sums.shape[1] > SPREAD else FLIPS
    extreme = np.zeros(len(sums), int)
    for start in range(0, FLIPS, step):
        flipped = sums @ (2.0 * signs[:, start : start + step] - 1.0)
        extreme += (np.abs(flipped) >= size[:, None]).sum(axis=1)
    p: np.ndarray = (1.0 + extreme) / (1.0 + FLIPS)
    rare = extreme < RESOLVED
    if rare.any():
        tail = _normal_tail(sums[rare], size[rare])
        p[rare] = np.minimum(tail, (1.0 + RESOLVED) / (1.0 + FLIPS))
    return p


def _normal_tail(
    sums: Float[np.ndarray, "M groups"], size: Float[np.ndarray, " M"]
) -> Float[np.ndarray, " M"]:
    """Of the limit, corrected for continuity."""
    moving = np.where(np.abs(sums) > 1e-12, np.abs(sums), np.inf)
    spread = np.sqrt((sums**2).sum(axis=1))
    tail: np.ndarray = 2 * ndtr(-np.maximum(size - moving.min(axis=1), 0.0) / spread)
    return tail


def _signs(count: int, seed: int) -> Int8[np.ndarray, "groups flips"]:
    """0 or 1 for each group in each flip; kept where small, for a page tests many differences of
    the same images. Those of fewer groups are the first of those of more.
    """
    most = 2 ** max(count - 1, 0).bit_length()
    if most * FLIPS > MOST_KEPT:
        return _kept_signs.__wrapped__(count, seed)
    return _kept_signs(most, seed)[:count]


@lru_cache(maxsize=4)
def _kept_signs(count: int, seed: int) -> Int8[np.ndarray, "groups flips"]:
    return np.random.default_rng(seed).integers(0, 2, (count, FLIPS), np.int8)


@lru_cache(maxsize=ENUMERATED)
def _patterns(width: int) -> Float[np.ndarray, "width patterns"]:
    return 2.0 * (np.arange(2**width) >> np.arange(width)[:, None] & 1) - 1.0


def bootstrap_p_value(
    values: Float[np.ndarray, " ..."], draws: Float[np.ndarray, "B ..."], degrees: float = np.inf
) -> Float[np.ndarray, " ..."]:
    """Two-sided p-value of a paired difference from the standard deviation of its draws, for what
    has no contribution of single images (EER, average precision, a rate at a bounded one).

    Args:
        degrees: degrees of freedom of the t distribution: one less than the groups of the smaller
            class. It is too small by up to .03 at p = .05 with 15 images of a class.
    """
    spread = np.nanstd(draws, axis=0, ddof=1, dtype=np.float64)
    flat = spread < 1e-9
    at = -np.abs(values) / np.where(flat, 1.0, spread)
    tail = 2 * (ndtr(at) if np.isinf(degrees) else stdtr(max(degrees, 1.0), at))
    same = np.where(np.abs(values) < 1e-9, 1.0, 1 / (len(draws) + 1))
    p: np.ndarray = np.where(flat, same, tail)
    return p


def q_values(p: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """p-values after Benjamini-Hochberg (1995) over all that are defined; NaN where they are
    not.

    >>> q_values(np.array([0.01, np.nan, 0.5, 0.02]))
    array([0.03, nan, 0.5 , 0.03])
    """
    q = np.full_like(p, np.nan)
    finite = np.isfinite(p)
    order = np.argsort(-p[finite])
    # scipy.stats.false_discovery_control gives the same, and takes a second to load
    raised = p[finite][order] * (len(order) / np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum.accumulate(raised)
    q[finite] = np.minimum(adjusted, 1)
    return q


def holm(p_values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Holm's step-down adjustment: family-wise error at most the level, whatever the dependence."""
    order = np.argsort(p_values)
    raised = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted
