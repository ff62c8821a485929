"""Group-aware stratified bootstrap of the test images, shared by all detectors so that differences
are paired.

What is resampled are groups (same prompt, same scene, a real and its translation), within strata of
groups that hold the same kind of images. The intervals therefore speak of other test images of the
same kind; the training images stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Integer

from aigi_core.errors import AigiError
from aigi_core.intervals import Interval
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.resampling import group_weights
from aigi_core.statements import Finding, counted

DRAWN_SINGLY = 10_000
"""Most images whose groups are drawn one by one; more are drawn in blocks of groups."""
AT_A_TIME = 2**24
"""Counts of images in draws that are held at once where images are very many."""
BLOCKS = 512
"""Blocks of groups that are drawn where images are too many to be drawn one by one."""
SMALLEST_STRATUM = 5
"""Strata of fewer groups are merged: resampling one group within itself would hide all of its
variance.
"""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; ``n`` counts what was averaged (cells, images,
    pairs).
    """

    value: float
    low: float
    high: float
    n: int

    def finding(self, what: str) -> Finding:
        """For sentences on a difference; ``what`` is counted by ``n``."""
        return Finding(self.value, self.low, self.high, n=self.n, what=what)

    @property
    def interval(self) -> Interval:
        """The bounds as one value."""
        return Interval(np.asarray(self.low), np.asarray(self.high))

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Resample:
    """Images as they are, and bootstrap draws of them, in memory that does not grow with images
    times draws.

    Attributes:
        counts: [B, m] how often each image occurs in each draw, or each block of images where
            there are more than :data:`DRAWN_SINGLY`.
        block: [n] of each image; None where images are drawn singly.
    """

    counts: Float32[np.ndarray, "B m"]
    block: Int[np.ndarray, " n"] | None

    @classmethod
    def of(
        cls, domains: Domains, rows: Integer[np.ndarray, " n"], draws: int = 1000, seed: int = 0
    ) -> Resample:
        """Draws of these images: by :func:`draw_counts`, or :func:`draw_block_counts` for many."""
        if len(rows) <= DRAWN_SINGLY:
            return cls(draw_counts(domains, rows, draws, seed), None)
        block, counts = draw_block_counts(domains, rows, draws, seed)
        return cls(counts, block)

    def sums(
        self, values: Float[np.ndarray, "n c"], of: Bool[np.ndarray, " n"] | slice = slice(None)
    ) -> Float[np.ndarray, "1+B c"]:
        """Sums over the images (or some ``of`` them), as they are and then in each draw."""
        chosen = values[of].astype(np.float64)
        first = chosen.sum(axis=0, keepdims=True)
        if self.block is None:
            drawn = self.counts[:, of] @ chosen
        else:
            block, size = self.block[of], self.counts.shape[1]
            table = np.stack([np.bincount(block, one, size) for one in chosen.T], axis=1)
            drawn = self.counts @ table
        return np.concatenate([first, drawn])

    def weights(self) -> Iterator[Float32[np.ndarray, "b n"]]:
        """How often each image occurs, first as they are (1), then draw by draw; some draws at a
        time."""
        images = self.counts.shape[1] if self.block is None else len(self.block)
        yield np.ones((1, images), np.float32)
        step = max(1, AT_A_TIME // images)
        for start in range(0, len(self.counts), step):
            part = self.counts[start : start + step]
            yield part if self.block is None else part[:, self.block]


def draw_counts(
    domains: Domains, rows: Integer[np.ndarray, " n"], draws: int = 1000, seed: int = 0
) -> Float32[np.ndarray, "B n"]:
    """How often each of these images occurs in each draw.

    Groups are drawn with replacement within strata, as many as there are. A stratum is what a group
    holds: its pools, and real images, one generator's or several generators' fakes, or both. Where
    several generators share prompts such strata shrink; those of fewer than
    :data:`SMALLEST_STRATUM` groups are merged by whether they hold real images, fakes or both.

    Raises:
        AigiError: no draws, no images, or a negative seed.
    """
    _check_draws(rows, draws, seed)
    group, stratum = _strata(domains, rows)
    return group_weights(group, draws, strata=stratum[group], seed=seed)


def draw_block_counts(
    domains: Domains,
    rows: Integer[np.ndarray, " n"],
    draws: int = 1000,
    seed: int = 0,
    blocks: int = BLOCKS,
) -> tuple[Int[np.ndarray, " n"], Float32[np.ndarray, "B G"]]:
    """As :func:`draw_counts`, for many images: groups are dealt into blocks, and blocks are drawn
    (the method of random groups: Wolter 2007, chapter 2).

    Groups are dealt in the order of their strata, at random within each, so that every block holds
    the same share of each stratum, to within one group: what differs between strata adds nothing to
    the variance between blocks. Of a stratum with fewer groups than blocks, the number that is
    drawn varies.

    Args:
        blocks: how many; one a group where there are fewer groups.

    Returns:
        The block of each of these images, and how often each block occurs in each draw.

    Raises:
        AigiError: as :func:`draw_counts`.
    """
    _check_draws(rows, draws, seed)
    group, stratum = _strata(domains, rows)
    size = min(blocks, len(stratum))
    order = np.lexsort((np.random.default_rng(seed).permutation(len(stratum)), stratum))
    block_of = np.empty(len(stratum), int)
    block_of[order] = np.arange(len(stratum)) % size
    return block_of[group], group_weights(np.arange(size), draws, seed=seed)


def _check_draws(rows: Integer[np.ndarray, " n"], draws: int, seed: int) -> None:
    if draws < 1 or len(rows) == 0 or seed < 0:
        raise AigiError(
            "A bootstrap needs images, at least one draw and a seed of 0 or more; got"
            f" {counted(len(rows), 'image')}, {counted(draws, 'draw')} and seed {seed}."
        )


def _strata(
    domains: Domains, rows: Integer[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " groups"]]:
    """Group number of each row and stratum number of each group. An image without a group is one of
    its own.
    """
    group = domains.group_numbers(rows)
    kinds = np.zeros((group.max() + 1, 2), bool)
    kinds[group, np.where(domains.labels[rows] == FAKE, FAKE, REAL)] = True
    _, fine, sizes = np.unique(
        _contents(domains, rows, group), return_inverse=True, return_counts=True
    )
    coarse = len(sizes) + kinds @ np.array([1, 2])
    _, stratum = np.unique(
        np.where(sizes[fine] < SMALLEST_STRATUM, coarse, fine), return_inverse=True
    )
    return group, stratum


def _contents(
    domains: Domains, rows: Integer[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> np.ndarray:
    """[groups] a text for each group that names the pools and generators of its images, in
    order."""
    pools, pool = np.unique(domains.pool[rows].astype(str), return_inverse=True)
    makers, maker = np.unique(domains.generator[rows].astype(str), return_inverse=True)
    names = [f"{p}\0{m}" for p in pools for m in makers]
    place = np.argsort(np.argsort(names))  # as sorted texts stand
    kind = place[pool * len(makers) + maker]
    held = np.unique(np.stack([group, kind], axis=1), axis=0)
    starts = np.flatnonzero(np.append(True, held[1:, 0] != held[:-1, 0]))
    texts = np.array(sorted(names), dtype=object)[held[:, 1]]
    ends = np.append(starts[1:], len(held))
    return np.array(["\0\0".join(texts[a:b]) for a, b in zip(starts, ends, strict=True)])
