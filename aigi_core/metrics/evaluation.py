"""Metrics of many detectors in many bootstrap draws at once.

``counts`` says how often each image occurs in each draw. Equal scores are one point of the ROC
curve, so ties count one half in the AUC and never depend on the order of the images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real

from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics.contract import Column, CurveMetric, RateMetric
from aigi_core.metrics.registry import METRICS, check_metrics
from aigi_core.scores import check_labelled_scores, check_labels, check_scores

CHUNK = 2**18
"""Counts handled at a time by :func:`ranking_metrics`: a few arrays of this size stay in the
processor's cache.
"""


def evaluate(
    scores: Real[np.ndarray, "K n"],
    labels: Integer[np.ndarray, " n"],
    counts: Real[np.ndarray, "B n"] | None = None,
    thresholds: Float[np.ndarray, " K"] | float = 0.0,
    metrics: Sequence[str] | None = None,
) -> dict[str, Float[np.ndarray, "K B"]]:
    """The metrics of K detectors on n images, in each of B draws (one draw, every image once,
    without ``counts``).

    A draw without real or without fake images gives NaN.

    Args:
        metrics: all but those with a threshold set on held-out images by default.

    Raises:
        AigiError: unknown metric, scores that are not finite, or images of one class only.
    """
    measured = [name for name, metric in METRICS.items() if metric.threshold != "held out"]
    wanted = check_metrics(measured if metrics is None else metrics)
    scores, labels = check_labelled_scores(scores, labels)
    if counts is None:
        counts = np.ones((1, len(labels)), np.int32)
    values: dict[str, np.ndarray] = {}
    if any(isinstance(METRICS[name], RateMetric) for name in wanted):
        flagged = scores > np.reshape(thresholds, (-1, 1))
        values |= threshold_metrics(flagged, labels, counts, wanted)
    ranking = tuple(name for name in wanted if isinstance(METRICS[name], CurveMetric))
    if ranking:
        rows = [ranking_metrics(row, labels, counts, ranking) for row in scores]
        values |= {name: np.stack([row[name] for row in rows]) for name in ranking}
    return {name: values[name] for name in wanted}


def auc_of_images(
    scores: Float[np.ndarray, " n"],
    labels: Integer[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
) -> tuple[float, float, float]:
    """The AUC of one list of scores, and the ends of its interval.

    Args:
        labels: 1 for images whose scores should be the higher, 0 for the others.
        groups: number of each image's group.
    """
    column = Column(np.arange(len(labels)), labels, groups, scores[None], np.zeros(1))
    auc = column.placements[:, column.of(FAKE)].mean(axis=1)
    low, high = METRICS["auc"].cell_intervals(column, auc, np.zeros((2, 1)))
    return float(auc[0]), float(low[0]), float(high[0])


def threshold_metrics(
    flagged: Bool[np.ndarray, "K n"],
    labels: Integer[np.ndarray, " n"],
    counts: Real[np.ndarray, "B n"],
    metrics: Sequence[str] = tuple(METRICS),
) -> dict[str, Float[np.ndarray, "K B"]]:
    """Metrics of decisions: one matrix product a class."""
    labels = check_labels(labels)
    weights = counts.astype(np.float64)
    right = {
        label: (flagged == bool(label))[:, labels == label].astype(np.float64)
        for label in (REAL, FAKE)
    }
    hits = {label: right[label] @ weights[:, labels == label].T for label in (REAL, FAKE)}
    totals = {label: weights[:, labels == label].sum(axis=1) for label in (REAL, FAKE)}
    return rate_values(hits, totals, metrics)


def rate_values(
    hits: dict[int, Float[np.ndarray, "K B"]],
    totals: dict[int, Float[np.ndarray, " B"]],
    metrics: Sequence[str],
) -> dict[str, Float[np.ndarray, "K B"]]:
    """The metrics of decisions among these, from the images of each class judged rightly and all of
    them, in each draw.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = {label: hits[label] / totals[label] for label in (REAL, FAKE)}
        return {
            name: metric.of_rates(rates, totals)
            for name, metric in METRICS.items()
            if name in metrics and isinstance(metric, RateMetric)
        }


def ranking_metrics(
    scores: Real[np.ndarray, " n"],
    labels: Integer[np.ndarray, " n"],
    counts: Real[np.ndarray, "B n"],
    metrics: Sequence[str] | None = None,
) -> dict[str, Float[np.ndarray, " B"]]:
    """The metrics that depend on the order of one detector's scores alone, in each draw.

    The images are sorted once; each draw then is two cumulative sums of counts along that order,
    from which every metric is read. Equal scores end in one point of the curve, whatever the draw.
    """
    scores, labels = check_scores(scores)[0], check_labels(labels)
    curves = {name: m for name, m in METRICS.items() if isinstance(m, CurveMetric)}
    wanted = {name: curves[name] for name in (curves if metrics is None else metrics)}
    order = np.argsort(-scores)  # the order among equal scores does not matter
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    is_fake = (labels[order] == FAKE).astype(np.int32)
    step = max(1, CHUNK // len(order))
    parts = [
        curve_values(
            *_curve(counts[start : start + step, order].astype(np.int32), is_fake, ends), wanted
        )
        for start in range(0, len(counts), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in wanted}


def _curve(
    counts: Int[np.ndarray, "B n"], is_fake: Int[np.ndarray, " n"], ends: Int[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, "B m"], Float[np.ndarray, "B m"]]:
    """True and false positives (counts) when everything down to each distinct score is flagged."""
    fakes = counts * is_fake
    tp = np.cumsum(fakes, axis=1, dtype=np.int32)
    fp = np.cumsum(counts - fakes, axis=1, dtype=np.int32)
    if len(ends) < counts.shape[1]:
        tp, fp = tp[:, ends], fp[:, ends]
    return tp.astype(np.float64), fp.astype(np.float64)


def curve_values(
    tp: Float[np.ndarray, "B m"],
    fp: Float[np.ndarray, "B m"],
    metrics: dict[str, CurveMetric],
) -> dict[str, Float[np.ndarray, " B"]]:
    """Each metric in each draw, read from true and false positives at falling thresholds; NaN in a
    draw that lacks a class.
    """
    empty = (tp[:, -1] == 0) | (fp[:, -1] == 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = {name: metric.of_curve(tp, fp) for name, metric in metrics.items()}
    if not empty.any():
        return values
    return {name: np.where(empty, np.nan, value) for name, value in values.items()}
