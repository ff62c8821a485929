"""What a way of naming sources did on test images: confusions, recall and precision of each
source, all with intervals that count groups of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.attribution.task import REAL_SOURCE
from aigi_core.intervals import (
    Groups,
    Interval,
    paired_interval,
    rate_of_draws,
    rates_by_group,
)
from aigi_core.reprs import ShortRepr
from aigi_core.resampling import group_weights
from aigi_core.significance import sign_flip
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.difference import PairedDifference


@dataclass(frozen=True, eq=False, repr=False)
class Named(ShortRepr):
    """Sources named for test images.

    Attributes:
        names: [S] sources.
        rows: [n] rows of the workspace.
        truth, named: [n] numbers of sources.
        named_in_pool: [n] the likeliest of those sources that have training images in the image's
            pool (:meth:`~aigi_core.attribution.task.SourceTask.rivals`).
        rivals: [n] how many those are.
        group: [n] numbers.
    """

    names: tuple[str, ...]
    rows: Int[np.ndarray, " n"]
    truth: Int[np.ndarray, " n"]
    named: Int[np.ndarray, " n"]
    named_in_pool: Int[np.ndarray, " n"]
    rivals: Int[np.ndarray, " n"]
    group: Int[np.ndarray, " n"]

    def confusion(self) -> tuple[Float[np.ndarray, "S S"], Interval, Int[np.ndarray, " S"]]:
        """Share of each source's images (rows) that are named as each source (columns), its 95%
        interval, and the number of images of each row.
        """
        size = len(self.names)
        rate = np.zeros((size, size))
        low, high = np.zeros((size, size)), np.ones((size, size))
        n = np.bincount(self.truth, minlength=size)
        for source in range(size):
            mine = self.truth == source
            hits = (self.named[mine] == np.arange(size)[:, None]).astype(float)
            rate[source], (low[source], high[source]) = rates_by_group(hits, self.group[mine])
        return rate, Interval(low, high), n

    def confusion_table(self) -> pd.DataFrame:
        """One row a cell with an image: ``made_by, named_as, images, n, share, low, high``."""
        rate, (low, high), n = self.confusion()
        at = np.argwhere(rate > 0)
        return pd.DataFrame(
            {
                "made_by": [self.names[i] for i, _ in at],
                "named_as": [self.names[j] for _, j in at],
                "images": [round(rate[i, j] * n[i]) for i, j in at],
                "n": [int(n[i]) for i, _ in at],
                "share": rate[tuple(at.T)],
                "low": low[tuple(at.T)],
                "high": high[tuple(at.T)],
            }
        )

    def by_source(self) -> pd.DataFrame:
        """One row a source: ``source, n, recall``; ``named`` (images named as it) and
        ``precision``, among all test images; ``in_pool``, recall where only sources with training
        images in the image's pool may be named, and ``in_pool_chance``, that of guessing among
        them; ``taken_for``, the source that its images are most often mistaken for, and
        ``taken_share``. Rates have ``_low`` and ``_high``.
        """
        rate, _, n = self.confusion()
        table = []
        for source, name in enumerate(self.names):
            mine, called = self.truth == source, self.named == source
            row: dict[str, object] = {"source": name, "n": int(n[source])}
            for column, right, of in (
                ("recall", called, mine),
                ("precision", mine, called),
                ("in_pool", self.named_in_pool == source, mine),
            ):
                value, bounds = rates_by_group(right[of][None].astype(float), self.group[of])
                row |= {
                    column: float(value[0]),
                    f"{column}_low": float(bounds.low[0]),
                    f"{column}_high": float(bounds.high[0]),
                }
            others = np.where(np.arange(len(self.names)) == source, -1.0, rate[source])
            row |= {
                "named": int(called.sum()),
                "in_pool_chance": float((1 / self.rivals[mine]).mean()),
                "taken_for": self.names[int(others.argmax())] if others.max() > 0 else "",
                "taken_share": float(max(others.max(), 0.0)),
            }
            table.append(row)
        return pd.DataFrame(table)

    def mean_recall(self, *, in_pool: bool = False) -> Estimate:
        """Recall averaged over the sources; its interval from 1,000 draws of groups."""
        return self._recalls[in_pool]

    @cached_property
    def _recalls(self) -> list[Estimate]:
        right = np.stack([self.named, self.named_in_pool]) == self.truth
        return mean_of_rates(right, self.truth, self.group)

    def less(self, other: Named) -> PairedDifference:
        """Mean recall of this way less that of another, paired image by image; ``n`` counts
        images.
        """
        right = [(each.named == each.truth).astype(float) for each in (self, other)]
        return difference_of_rates(right[0], right[1], self.truth, self.group)

    def tells_real(self) -> Bool[np.ndarray, " n"]:
        """Whether each image is named rightly as far as real or generated goes: a real one as real,
        a fake as any generator's.
        """
        real = self.names.index(REAL_SOURCE)
        right: np.ndarray = (self.named == real) == (self.truth == real)
        return right


def difference_of_rates(
    right: Float[np.ndarray, " n"],
    other: Float[np.ndarray, " n"],
    stratum: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
) -> PairedDifference:
    """Mean over strata of the share of images that are right (1 or 0), less that of another way on
    the same images; ``n`` counts images.
    """
    strata, at, counts = np.unique(stratum, return_inverse=True, return_counts=True)
    contributions = ((right - other) / (len(strata) * counts[at]))[None]
    groups, value = Groups.of(group), contributions.sum(axis=1)
    share = dict.fromkeys(range(len(strata)), 1 / len(strata))
    low, high = paired_interval(value, contributions, at, groups, share)
    p = float(sign_flip(contributions, groups)[0])
    return PairedDifference(float(value[0]), float(low[0]), float(high[0]), p, len(stratum))


def mean_of_rates(
    right: Bool[np.ndarray, "M n"],
    stratum: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    draws: int = 1000,
    seed: int = 0,
) -> list[Estimate]:
    """Means, over strata, of the share of images that are right; ``n`` counts images."""
    strata = np.unique(stratum)
    weights = group_weights(group, draws, strata=stratum, seed=seed).astype(np.float64)
    of = (stratum[:, None] == strata).astype(float)
    sizes = weights @ of
    estimates = []
    for own in right:
        with np.errstate(invalid="ignore"):
            drawn = np.nanmean(weights @ (of * own[:, None]) / sizes, axis=1)
        value = float(np.mean([own[stratum == s].mean() for s in strata]))
        low, high = rate_of_draws(value, drawn, len(np.unique(group)))
        estimates.append(Estimate(value, float(low), float(high), len(group)))
    return estimates
