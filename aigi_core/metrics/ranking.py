"""Metrics of ranking: AUC, average precision, equal error rate, rates at a bounded one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import bdtrik

from aigi_core.intervals import (
    LEVEL,
    Groups,
    Interval,
    auc_interval,
    auc_variance,
    design_effect,
    rate_interval,
)
from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics.contract import (
    Cells,
    Column,
    Curve,
    CurveMetric,
    Draws,
    Values,
    count_distinct,
    spread_over_cells,
    used_cells,
)
from aigi_core.resampling import percentile_interval
from aigi_core.statements import counted

Points = Int[np.ndarray, " B"]
"""A point of the curve of each of B draws."""


@dataclass(frozen=True)
class Auc(CurveMetric):
    """Area under the ROC curve, with DeLong's variance by group in Newcombe's fifth interval."""

    @property
    def interval_rule(self) -> str:
        return "Newcombe's fifth method with DeLong's variance"

    @property
    def by_image(self) -> bool:
        return True

    def of_curve(self, tp: Curve, fp: Curve) -> Draws:
        below = (
            np.einsum("bm,bm->b", fp[:, 1:] - fp[:, :-1], tp[:, 1:] + tp[:, :-1])
            + fp[:, 0] * tp[:, 0]
        )
        area: np.ndarray = below / (2 * tp[:, -1] * fp[:, -1])
        return area

    def contributions(self, column: Column) -> Float[np.ndarray, "K n"]:
        """Placement of each image among those of the other class over the number of its own (DeLong
        et al. 1988): those of either class sum to the AUC."""
        size = np.where(column.of(FAKE), column.n[FAKE], column.n[REAL])
        added: np.ndarray = column.placements / size
        return added

    def cell_intervals(
        self, column: Column, values: Values, draws: Float[np.ndarray, "B K"], level: float = LEVEL
    ) -> Interval:
        centred, n = self._centred(column, values), column.n
        groups = Groups.of(column.groups)
        variance = (centred**2).sum(axis=1) * design_effect(centred, groups, level)
        by_class = np.zeros(len(values))  # each class with what its own few groups cost
        for label in (REAL, FAKE):
            part, own = centred[:, column.of(label)], Groups.of(column.groups[column.of(label)])
            by_class += (part**2).sum(axis=1) * design_effect(part, own, level)
        variance = np.maximum(variance, by_class)
        return auc_interval(values, n[FAKE], n[REAL], self._ratio(values, variance, column), level)

    def mean_interval(
        self,
        columns: Sequence[Column],
        cells: Cells,
        value: float,
        draws: Draws,
        level: float = LEVEL,
    ) -> Interval:
        used, share = used_cells(columns, cells)
        added = [self.contributions(column) for column in used]
        areas = [part[:, c.of(FAKE)].sum(axis=1) for part, c in zip(added, used, strict=True)]
        centred = [
            self._centred(c, area, part) for c, area, part in zip(used, areas, added, strict=True)
        ]
        groups, mean, averaging = spread_over_cells(used, share, centred)
        n = [count_distinct(used, label) for label in (FAKE, REAL)]
        known = Groups.of(groups)
        variance = (mean**2).sum(axis=1) * design_effect(mean, known, level)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = variance / auc_variance(np.array([value]), n[0], n[1])
        ratio = np.maximum(np.nan_to_num(ratio, nan=0.0, posinf=0.0), averaging)
        bounds = auc_interval(np.array([value]), n[0], n[1], ratio, level)
        return Interval(bounds.low[0], bounds.high[0])

    def _centred(
        self, column: Column, values: Values, added: Float[np.ndarray, "K n"] | None = None
    ) -> Float[np.ndarray, "K n"]:
        """Contributions less the mean of their class, with the factor of a sample variance."""
        added = self.contributions(column) if added is None else added
        centred = np.empty_like(added)
        for label, n in column.n.items():
            of = column.of(label)
            centred[:, of] = (added[:, of] - values[:, None] / n) * np.sqrt(n / max(n - 1, 1))
        return centred

    def _ratio(self, values: Values, variance: Values, column: Column) -> Values:
        """Measured variance over that of the AUC's size alone, at least 1 (or, for groups, the
        design effect of groups that are wholly alike where nothing varies)."""
        expected = auc_variance(values, column.n[FAKE], column.n[REAL])
        groups = Groups.of(column.groups)
        alike = design_effect(np.zeros((1, len(column.images))), groups)[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(expected > 0, variance / expected, alike)
        result: np.ndarray = np.maximum(ratio, 1.0)
        return result


@dataclass(frozen=True)
class AveragePrecision(CurveMetric):
    """Area under the precision-recall steps, as scikit-learn's, without interpolation."""

    def of_curve(self, tp: Curve, fp: Curve) -> Draws:
        precision = tp / np.maximum(tp + fp, 1)
        gained = np.diff(tp, axis=1, prepend=0)
        area: np.ndarray = np.einsum("bm,bm->b", gained, precision) / tp[:, -1]
        return area

    def most_images(self, n: dict[int, int]) -> int:
        return n[FAKE]


@dataclass(frozen=True)
class EqualErrorRate(CurveMetric):
    """FPR = FNR on the ROC curve, linear between its points."""

    def of_curve(self, tp: Curve, fp: Curve) -> Draws:
        fakes, reals = tp[:, -1], fp[:, -1]

        def excess(at: Points) -> Draws:
            """FPR - FNR, which rises from -1 to 1; scaled by the two class sizes it is exact in
            float64."""
            difference: np.ndarray = _pick(fp, at) * fakes + _pick(tp, at) * reals - fakes * reals
            return difference

        after = _first(lambda at: excess(at) >= 0, tp)
        right, left = excess(after), excess(after - 1)
        fpr_right, fpr_left = _pick(fp, after), _pick(fp, after - 1)
        first = after == 0
        left = np.where(first, -fakes * reals, left)
        fpr_left = np.where(first, 0.0, fpr_left)
        step = left / (right - left) * (fpr_right - fpr_left)
        crossing: np.ndarray = (fpr_left - step) / reals
        return crossing

    def most_images(self, n: dict[int, int]) -> int:
        return 2 * min(n.values())


@dataclass(frozen=True)
class RateAtFalseAlarms(CurveMetric):
    """Fakes found where at most a share of the real images is flagged.

    The threshold is itself an estimate. For few real images the interval spans the thresholds that
    may be the true one (its order statistics), joined to that of the rate by square-and-add; with
    so few that the true threshold may lie above all real images, the lower bound is 0.
    """

    limit: float = 0.05
    few_real_images: int = 0
    """Below so many the interval spans order statistics; from there on the bootstrap holds."""

    @property
    def false_alarms(self) -> tuple[float, ...]:
        return (self.limit,)

    @property
    def interval_rule(self) -> str:
        rule = super().interval_rule
        if not self.few_real_images:
            return rule
        return (
            "the rate's own interval joined by square-and-add to the thresholds that may be the"
            f" true one, below {counted(self.few_real_images, 'real image')}; from there on {rule}"
        )

    def of_curve(self, tp: Curve, fp: Curve) -> Draws:
        fakes, reals = tp[:, -1], fp[:, -1]
        most = self.limit * reals + 1e-9
        last = _first(lambda at: _pick(fp, at) > most, fp) - 1
        rate: np.ndarray = np.where(last < 0, 0.0, _pick(tp, last)) / fakes
        return rate

    def cell_intervals(
        self, column: Column, values: Values, draws: Float[np.ndarray, "B K"], level: float = LEVEL
    ) -> Interval:
        n, tail = column.n, (1 - level) / 2
        if n[REAL] >= self.few_real_images:
            return super().cell_intervals(column, values, draws, level)
        fake = column.of(FAKE)
        effect = design_effect(np.zeros((1, n[REAL])), Groups.of(column.groups[~fake]))[0]
        m = max(int(n[REAL] / effect), 1)
        # How many of the real images lie above the true threshold: quantiles of a binomial.
        fewest, most = (int(np.ceil(bdtrik(q, m, self.limit))) for q in (tail, 1 - tail))
        fewest, most = round(fewest * n[REAL] / m), round(most * n[REAL] / m)
        above = -np.sort(-column.scores[:, ~fake], axis=1)
        strict = np.full(len(values), np.inf) if fewest <= 0 else above[:, fewest - 1]
        loose = above[:, min(most, n[REAL] - 1)]
        worst, best = (
            (column.scores[:, fake] > threshold[:, None]).mean(axis=1)
            for threshold in (strict, loose)
        )
        rows = Groups.of(column.groups[fake])
        hits = column.scores[:, fake] > np.sort(above)[:, ::-1][:, [int(self.limit * n[REAL])]]
        centred = (hits - hits.mean(axis=1, keepdims=True)) / n[FAKE]
        own = rate_interval(values, n[FAKE] / design_effect(centred, rows, level), level)
        low = values - np.hypot(values - own.low, np.maximum(values - worst, 0))
        high = values + np.hypot(own.high - values, np.maximum(best - values, 0))
        return Interval(np.clip(low, 0, 1), np.clip(high, 0, 1))

    def most_images(self, n: dict[int, int]) -> int:
        return n[FAKE]


@dataclass(frozen=True)
class BestAccuracy(CurveMetric):
    """The highest accuracy that any threshold reaches; its maximum over thresholds is optimistic,
    and the lower bound is moved down by what draws gain on their own maximum."""

    def of_curve(self, tp: Curve, fp: Curve) -> Draws:
        fakes, reals = tp[:, -1], fp[:, -1]
        gain = np.maximum((tp - fp).max(axis=1), 0)  # 0: nothing flagged at all
        accuracy: np.ndarray = (reals + gain) / (reals + fakes)
        return accuracy

    @property
    def interval_rule(self) -> str:
        return f"{super().interval_rule}, its lower bound moved by what the best threshold gains"

    def most_images(self, n: dict[int, int]) -> int:
        return sum(n.values())

    def cell_intervals(
        self, column: Column, values: Values, draws: Float[np.ndarray, "B K"], level: float = LEVEL
    ) -> Interval:
        bounds = super().cell_intervals(column, values, draws, level)
        gained = np.maximum(np.nanmean(draws, axis=0, dtype=np.float64) - values, 0)
        below = percentile_interval(draws, level)[0] - gained
        return Interval(np.clip(np.minimum(bounds.low - gained, below), 0, 1), bounds.high)


def _first(reached: Callable[[Points], Bool[np.ndarray, " B"]], curve: Curve) -> Points:
    """In each draw, the first point of a curve at which something holds that holds at all further
    points, too; the number of points where it holds at none. By halves: curves rise, and looking at
    every point would take the time of several other metrics."""
    draws, points = curve.shape
    low, high = np.zeros(draws, int), np.full(draws, points)
    while (inside := low < high).any():
        middle = (low + high) // 2
        holds = reached(np.minimum(middle, points - 1))
        high = np.where(inside & holds, middle, high)
        low = np.where(inside & ~holds, middle + 1, low)
    return low


def _pick(values: Float[np.ndarray, "B m"], at: Points) -> Float[np.ndarray, " B"]:
    picked: np.ndarray = values[np.arange(len(values)), at]
    return picked


AUC = Auc(
    "auc",
    "AUC",
    "probability that a fake scores above a real image (ties count one half); no threshold",
)
AVERAGE_PRECISION = AveragePrecision(
    "average_precision",
    "Average precision",
    "area under the precision-recall steps; no threshold",
    interval_holds="covered 88% or more in simulation, 93% on average",
)
EER = EqualErrorRate(
    "eer",
    "Equal error rate",
    "point of the test's ROC curve where false positives and false negatives are equally frequent",
    higher_is_better=False,
)
TPR_AT_FPR1 = RateAtFalseAlarms(
    "tpr_at_fpr1",
    "TPR at 1% FPR",
    "share of fakes called fake where at most 1% of the test's real images are called"
    " fake (a point of its ROC curve)",
    chance=0.01,
    limit=0.01,
    few_real_images=700,
)
TPR_AT_FPR5 = RateAtFalseAlarms(
    "tpr_at_fpr5",
    "TPR at 5% FPR",
    "share of fakes called fake where at most 5% of the test's real images are called"
    " fake (a point of its ROC curve)",
    chance=0.05,
    limit=0.05,
)
BEST_ACCURACY = BestAccuracy(
    "best_accuracy",
    "Accuracy at the best threshold",
    "the highest accuracy that any threshold reaches on the test images, chosen with their labels",
    interval_holds="the maximum over thresholds is optimistic; the interval is for this maximum",
)
