"""Metrics in many bootstrap draws of very many images: what is drawn are blocks of groups, and of
each detector's scores only counts in fine steps are kept.

One count of every image in every draw would take 1.2 GB for 300,000 images. Here a draw says how
often each block occurs, and a curve is the product of these numbers with a table of counts, blocks
by steps of the score. The value itself is exact; draws are moved by the difference that the steps
make to it. Blocks make the standard deviation of a draw uncertain by one over the root of twice
their number (3% with 512; Efron and Tibshirani 1993, section 6.4, on few draws).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int, Integer, Real

from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics.contract import CurveMetric
from aigi_core.metrics.evaluation import curve_values, evaluate, rate_values
from aigi_core.metrics.registry import METRICS, check_metrics
from aigi_core.scores import check_labelled_scores

STEPS = 200
"""Steps of the score between quantiles of each class."""
TAIL_STEPS = 60
"""Steps within the last of these, by the logarithm of the share, where classes hardly overlap."""
LOCAL_STEPS, REACH = 240, 6.0
"""Where a metric is read at a share of false alarms, as many steps again within so many standard
deviations of that share: rounding to a step then adds .02% to the variance of a draw."""
DRAWS_AT_A_TIME = 64


def evaluate_blocks(
    scores: Real[np.ndarray, "K n"],
    labels: Integer[np.ndarray, " n"],
    block: Int[np.ndarray, " n"],
    counts: Float32[np.ndarray, "B G"],
    thresholds: Float[np.ndarray, " K"] | float = 0.0,
    metrics: Sequence[str] | None = None,
) -> dict[str, Float[np.ndarray, "K draws"]]:
    """As :func:`aigi_core.metrics.evaluate` with one row of counts for the images as they are and
    then ``counts[:, block]``.

    Args:
        block: [n] block of each image.
        counts: how often each block occurs in each draw.

    Returns:
        [K, 1 + B] a metric: first the exact value, then the draws.

    Raises:
        AigiError: as :func:`aigi_core.metrics.evaluate`.
    """
    wanted = check_metrics(tuple(METRICS) if metrics is None else metrics)
    scores, labels = check_labelled_scores(scores, labels)
    exact = evaluate(scores, labels, thresholds=thresholds, metrics=wanted)
    size = counts.shape[1]
    flagged = scores > np.reshape(thresholds, (-1, 1))
    weights = counts.T.astype(np.float64)
    hits, totals = {}, {}
    for label in (REAL, FAKE):
        of = labels == label
        right = np.stack(
            [np.bincount(block[of & (row == bool(label))], minlength=size) for row in flagged]
        )
        hits[label] = right @ weights
        totals[label] = np.bincount(block[of], minlength=size) @ weights
    rates = rate_values(hits, totals, wanted)
    curves = {name: m for name in wanted if isinstance(m := METRICS[name], CurveMetric)}
    ranked = [_curve_draws(row, labels, block, counts, curves) if curves else {} for row in scores]
    values = {}
    for name in wanted:
        if name in rates:
            draws = rates[name]
        else:
            draws = np.stack([row[name] for row in ranked])
            draws = np.clip(draws[:, 1:] + (exact[name] - draws[:, :1]), 0, 1)
        values[name] = np.concatenate([exact[name], draws], axis=1)
    return values


def _curve_draws(
    scores: Float[np.ndarray, " n"],
    labels: Integer[np.ndarray, " n"],
    block: Int[np.ndarray, " n"],
    counts: Float32[np.ndarray, "B G"],
    metrics: dict[str, CurveMetric],
) -> dict[str, Float[np.ndarray, " draws"]]:
    """Each metric from counts in steps of the score: of the images as they are, then of the
    draws."""
    alarms = {level for metric in metrics.values() for level in metric.false_alarms}
    order = np.argsort(scores)  # once: quantiles and steps are places in it
    ranked, label_of = scores[order], labels[order]
    by_class = {label: ranked[label_of == label] for label in (REAL, FAKE)}
    edges = _edges(by_class[REAL], by_class[FAKE], sorted(alarms))
    # Steps are numbered from the highest scores down, as curves run.
    starts = np.searchsorted(ranked, edges)
    width = len(edges) + 1
    step = np.repeat(np.arange(width)[::-1], np.diff(starts, prepend=0, append=len(ranked)))
    size = counts.shape[1]
    every = np.concatenate([np.ones((1, size), np.float32), counts])
    place = block[order] * width + step
    tables = []
    for label in (FAKE, REAL):
        table = np.bincount(place[label_of == label], minlength=size * width)
        tables.append(np.cumsum(table.reshape(size, width), axis=1).astype(np.float32))
    parts = []
    for start in range(0, len(every), DRAWS_AT_A_TIME):
        some = slice(start, start + DRAWS_AT_A_TIME)
        # Sums of whole numbers below 2^24 are exact in float32.
        tp, fp = ((every[some] @ table).astype(np.float64) for table in tables)
        parts.append(curve_values(tp, fp, metrics))
    return {name: np.concatenate([part[name] for part in parts]) for name in metrics}


def _edges(
    real: Float[np.ndarray, " n"], fake: Float[np.ndarray, " m"], alarms: Sequence[float]
) -> Float[np.ndarray, " edges"]:
    """Where steps of sorted scores begin, rising: quantiles of either class, from the lowest score
    of each on (so
    that classes wholly apart share no step), and finer ones where classes meet that hardly overlap
    and around shares of false alarms."""
    inside = np.linspace(0, 1, STEPS + 1)[:-1]
    tails = [np.geomspace(0.5 / len(own), 1 / STEPS, TAIL_STEPS) for own in (real, fake)]
    around = np.linspace(-REACH, REACH, LOCAL_STEPS)
    fine = [a + around * np.sqrt(a * (1 - a) / len(real)) for a in alarms]
    levels = np.clip(np.concatenate([inside, *(1 - share for share in (tails[0], *fine))]), 0, 1)
    return np.unique(
        np.concatenate(
            [
                _quantiles(real, levels),
                _quantiles(fake, np.append(inside, np.minimum(tails[1], 1))),
            ]
        )
    )


def _quantiles(
    ranked: Float[np.ndarray, " n"], levels: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    """Linear quantiles of sorted numbers; numpy's would sort them once for each level or so."""
    between: np.ndarray = np.interp(levels * (len(ranked) - 1), np.arange(len(ranked)), ranked)
    return between
