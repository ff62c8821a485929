"""Group-aware stratified bootstrap of the test images, shared by all detectors so that differences
are paired.

What is resampled are groups (same prompt, same scene, a real and its translation), within strata of
groups that hold the same kind of images. The intervals therefore speak of other test images of the
same kind; the training images stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Integer

from aigi_core.errors import AigiError
from aigi_core.intervals import Interval
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.resampling import group_numbers, group_weights

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

    @property
    def interval(self) -> Interval:
        """The bounds as one value."""
        return Interval(np.asarray(self.low), np.asarray(self.high))

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    if draws < 1 or len(rows) == 0 or seed < 0:
        raise AigiError(
            f"A bootstrap needs images, at least one draw and a seed of 0 or more; got {len(rows)}"
            f" images, {draws} draws and seed {seed}."
        )
    group, stratum = _strata(domains, rows)
    return group_weights(group, draws, strata=stratum[group], seed=seed)


def _strata(
    domains: Domains, rows: Integer[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " groups"]]:
    """Group number of each row and stratum number of each group. An image without a group is one of
    its own.
    """
    group = group_numbers(domains.group, rows)
    holds: list[set[str]] = [set() for _ in range(group.max() + 1)]
    kinds = np.zeros((len(holds), 2), bool)
    for member, row in zip(group, rows, strict=True):
        holds[member].add(f"{domains.pool[row]}\0{domains.generator[row]}")
        kinds[member, FAKE if domains.labels[row] == FAKE else REAL] = True
    keys = np.array(["\0\0".join(sorted(held)) for held in holds])
    _, fine, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    coarse = len(sizes) + kinds @ np.array([1, 2])
    _, stratum = np.unique(
        np.where(sizes[fine] < SMALLEST_STRATUM, coarse, fine), return_inverse=True
    )
    return group, stratum
