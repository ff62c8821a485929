"""Is one matrix better than another? Image by image, with Benjamini-Hochberg over cells.

Where each image has a share in the metric (rates, AUC), p-values are those of sign flips by group
(:func:`aigi_core.significance.sign_flip`), which hold for few images; elsewhere they come from the
bootstrap, with the t distribution of the smaller class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Integer

from aigi_core.errors import AigiError
from aigi_core.intervals import Groups, Interval, paired_interval
from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics import DEFAULT_METRIC, METRICS, Column
from aigi_core.reprs import ShortRepr
from aigi_core.resampling import percentile_interval
from aigi_core.significance import bootstrap_p_value, q_values, sign_flip
from aigi_core.statements import Finding, p_text, span
from aigi_core.transfer.matrix import TransferMatrix


@dataclass(frozen=True)
class PairedDifference:
    """A difference ``a - b`` with its interval and two-sided p-value; ``n`` counts the cells
    averaged.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int

    def finding(self, what: str, *, needed: int = 1) -> Finding:
        """For sentences; ``what`` is counted by ``n``."""
        return Finding(
            self.value, self.low, self.high, self.p_value, n=self.n, what=what, needed=needed
        )

    def __str__(self) -> str:
        return f"{span(self.value, self.low, self.high, signed=True)}, {p_text(self.p_value)}"


@dataclass(frozen=True, eq=False, repr=False)
class MatrixDifference(ShortRepr):
    """``a - b`` in every cell.

    Attributes:
        values, low, high: [K, T], the difference and its interval.
        p_value: [K, T], two-sided, of the hypothesis of no difference.
        q_value: [K, T], p-values after Benjamini-Hochberg over all cells: calling the cells with q
            below .05 different keeps the expected share of wrong calls among them below .05.
        draws: [B, K, T].
        columns: [T] the images of each column.
        added: [T] arrays [K, n], what each image adds to the difference; None where images have no
            share of their own in the metric.
    """

    metric: str
    train_names: tuple[str, ...]
    test: tuple[str, ...]
    values: Float[np.ndarray, "K T"] = field(repr=False)
    low: Float[np.ndarray, "K T"] = field(repr=False)
    high: Float[np.ndarray, "K T"] = field(repr=False)
    p_value: Float[np.ndarray, "K T"] = field(repr=False)
    q_value: Float[np.ndarray, "K T"] = field(repr=False)
    draws: Float[np.ndarray, "B K T"] = field(repr=False)
    columns: Sequence[Column] = field(repr=False)
    added: tuple[np.ndarray, ...] | None = field(repr=False)
    confidence: float = 0.95

    def mean(self, cells: Bool[np.ndarray, "K T"] | None = None) -> PairedDifference:
        """The mean difference over cells (all of them by default), paired."""
        chosen = np.ones(self.values.shape, bool) if cells is None else cells
        return self.weighted(chosen / max(int(chosen.sum()), 1))

    def weighted(self, share: Float[np.ndarray, "K T"]) -> PairedDifference:
        """The sum of the cells' differences, each times its weight; ``n`` counts the cells with
        one."""
        key = share.tobytes()
        if key not in self._known:
            self._known[key] = self._weighted(share)
        return self._known[key]

    @cached_property
    def _known(self) -> dict[bytes, PairedDifference]:
        """What :meth:`weighted` gave before: every run of a page asks for the same."""
        return {}

    def _weighted(self, share: Float[np.ndarray, "K T"]) -> PairedDifference:
        chosen = share != 0
        if not chosen.any():
            return PairedDifference(np.nan, np.nan, np.nan, np.nan, 0)
        value = float((self.values * share).sum())
        if self.added is None:
            draws = np.einsum("bkt,kt->b", self.draws, share)
            low, high = percentile_interval(draws, self.confidence)
            degrees = min(
                _degrees(c) for c, used in zip(self.columns, chosen.T, strict=True) if used.any()
            )
            p = bootstrap_p_value(np.array(value), draws, degrees)
            return PairedDifference(value, float(low), float(high), float(p), int(chosen.sum()))
        used = [t for t in range(len(self.columns)) if chosen[:, t].any()]
        columns = [self.columns[t] for t in used]
        images, first = np.unique(np.concatenate([c.images for c in columns]), return_index=True)
        added = np.zeros((1, len(images)))
        for t, column in zip(used, columns, strict=True):
            added[0, np.searchsorted(images, column.images)] += share[:, t] @ self.added[t]
        labels, groups = (
            np.concatenate([getattr(c, what) for c in columns])[first]
            for what in ("labels", "groups")
        )
        weights = METRICS[self.metric].class_weights(_sizes(labels))
        bounds, p = _paired(np.array([value]), added, labels, groups, weights, self.confidence)
        return PairedDifference(
            value, float(bounds.low[0]), float(bounds.high[0]), float(p[0]), int(chosen.sum())
        )

    def to_frame(self) -> pd.DataFrame:
        """Tidy long table: ``train, test, metric, value, low, high, p_value, q_value``."""
        index = pd.MultiIndex.from_product([self.train_names, self.test], names=["train", "test"])
        columns = {
            name: getattr(self, name).ravel()
            for name in ("values", "low", "high", "p_value", "q_value")
        }
        return (
            index.to_frame(index=False)
            .assign(metric=self.metric, **columns)
            .rename(columns={"values": "value"})
        )


def difference(
    a: TransferMatrix, b: TransferMatrix, metric: str = DEFAULT_METRIC
) -> MatrixDifference:
    """``a - b``, cell by cell, on the same images and the same draws.

    The rows may come from different training sets (they are compared in order, under the names of
    ``a``).

    Raises:
        AigiError: the two were not measured on the same images and draws, or have other test
            generators or sizes.
    """
    for what in ("split", "draws", "seed", "images"):
        if a.protocol[what] != b.protocol[what]:
            raise AigiError(
                f"The two matrices are not paired: {what} is {a.protocol[what]} in one and"
                f" {b.protocol[what]} in the other; measure both with the same split, draws and"
                " seed on the same workspace."
            )
    if a.test != b.test or len(a.train) != len(b.train):
        raise AigiError(
            f"The two matrices have different shapes or test generators ({len(a.train)} x"
            f" {len(a.test)} and {len(b.train)} x {len(b.test)}): give both the same rows and"
            " columns."
        )
    if metric not in a.values or metric not in b.values:
        raise AigiError(f"The metric {metric!r} was not measured in both matrices.")
    draws = a.draws[metric] - b.draws[metric]
    values = a.values[metric] - b.values[metric]
    kind, level = METRICS[metric], a.protocol["confidence"]
    columns = a.images_of(metric)
    low, high, p = (np.empty(values.shape) for _ in range(3))
    added: list[np.ndarray] = []
    for t, (mine, theirs) in enumerate(zip(columns, b.images_of(metric), strict=True)):
        first, second = kind.contributions(mine), kind.contributions(theirs)
        if first is None or second is None:
            low[:, t], high[:, t] = percentile_interval(draws[:, :, t], level)
            p[:, t] = bootstrap_p_value(values[:, t], draws[:, :, t], _degrees(mine))
            continue
        added.append(first - second)
        weights = kind.class_weights(mine.n)
        (low[:, t], high[:, t]), p[:, t] = _paired(
            values[:, t], added[-1], mine.labels, mine.groups, weights, level
        )
    return MatrixDifference(
        metric,
        a.train_names,
        a.test,
        values,
        low,
        high,
        p,
        q_values(p),
        draws,
        columns,
        tuple(added) if len(added) == len(columns) else None,
        confidence=level,
    )


def _paired(
    values: Float[np.ndarray, " M"],
    added: Float[np.ndarray, "M n"],
    labels: Integer[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    weights: dict[int, float],
    level: float,
) -> tuple[Interval, Float[np.ndarray, " M"]]:
    known = Groups.of(groups)
    interval = paired_interval(values, added, labels, known, weights, level)
    return interval, sign_flip(added, known, values)


def _sizes(labels: Integer[np.ndarray, " n"]) -> dict[int, int]:
    return {label: int((labels == label).sum()) for label in (REAL, FAKE)}


def _degrees(column: Column) -> float:
    """Groups of the smaller class, less one."""
    return float(min(len(np.unique(column.groups[column.of(c)])) for c in (REAL, FAKE)) - 1)


def standings(
    detectors: Mapping[str, TransferMatrix], reference: str, metric: str = DEFAULT_METRIC
) -> pd.DataFrame:
    """Single detectors beside one of them, paired over the generators that none of the two was
    trained on.

    Args:
        detectors: name -> matrix of one row, all measured with the same split, draws and seed.
        reference: the name of the detector that the others are compared with.

    Returns:
        ``name, in_domain, ood, ood_low, ood_high, n_ood`` and, against the reference, ``change,
        change_low, change_high, p_value, n_common`` (missing for the reference itself).

    Raises:
        AigiError: the matrices are not paired, or have more than one row.
    """
    base, rows = detectors[reference], []
    for name, matrix in detectors.items():
        inside, ood = matrix.mean(metric, matrix.in_domain), matrix.mean(metric, ~matrix.in_domain)
        row = {
            "name": name,
            "in_domain": inside.value,
            "ood": ood.value,
            "ood_low": ood.low,
            "ood_high": ood.high,
            "n_ood": ood.n,
        }
        gap = difference(matrix, base, metric).mean(~matrix.in_domain & ~base.in_domain)
        if name != reference:
            row |= {
                "change": gap.value,
                "change_low": gap.low,
                "change_high": gap.high,
                "p_value": gap.p_value,
                "n_common": gap.n,
            }
        rows.append(row)
    columns = [*rows[0], "change", "change_low", "change_high", "p_value", "n_common"]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))
    return table.astype({"n_common": "Int64"})
