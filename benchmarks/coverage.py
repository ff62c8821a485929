"""How often intervals hold the truth, thresholds their rate and p-values theirs, by simulation.

Four figures, each with the number of simulations behind it: the worst coverage of a 95% interval
over a grid of small cells, the largest distance between a promised false-alarm rate and a simulated
one, the largest excess of P(p < .05) over .05 without any difference, and how often a matrix
without any difference holds a cell that is called significant.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from aigi_core.calibration import abstention_band, nearest_false_alarm_threshold, nearest_rate
from aigi_core.detectors.protocol import Protocol, run_protocol
from aigi_core.intervals import Groups
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.metrics import METRICS, Column, evaluate
from aigi_core.resampling import group_weights
from aigi_core.significance import sign_flip
from aigi_core.transfer import difference, transfer_matrix
from aigi_core.transfer.few_shot import summaries

SIZES = ((15, 30), (15, 210), (30, 210), (60, 60), (210, 210))
"""Fakes and photographs of a cell."""
RATES = (0.02, 0.5, 0.867, 0.97, 0.99, 0.998)
ALIKE = 0.3
"""Correlation of the scores within a group."""
GROUP = 3
AREAS = (0.6, 0.9, 0.99)
FEW_SHOT = (
    (10, 60, 15, 30, 5, 1),
    (10, 60, 45, 210, 5, 1),
    (10, 60, 30, 210, 2, 1),
    (50, 100, 210, 210, 5, 1),
    (20, 40, 45, 210, 5, GROUP),
)
"""Training images a class in a sample and in all, fakes and photographs tested, samples, images a
group."""


def scores_of(
    rng: np.random.Generator, images: int, replications: int, group: int
) -> Float[np.ndarray, "R n"]:
    """Standard normal scores; those of a group are correlated."""
    own = rng.standard_normal((replications, images))
    if group == 1:
        return own
    shared = rng.standard_normal((replications, images))[:, np.arange(images) // group * group]
    mixed: np.ndarray = np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * own
    return mixed


def column_of(
    scores: dict[int, Float[np.ndarray, "R n"]], group: int, threshold: float = 0.0
) -> Column:
    """Replications as rows of one column, fakes first."""
    sizes = [scores[label].shape[1] for label in (FAKE, REAL)]
    labels = np.repeat([FAKE, REAL], sizes)
    groups = np.concatenate([np.arange(n) // group + 10**6 * (i + 1) for i, n in enumerate(sizes)])
    together = np.concatenate([scores[FAKE], scores[REAL]], axis=1)
    thresholds = np.full(len(together), threshold)
    return Column(np.arange(len(labels)), labels, groups, together, thresholds)


def cover(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    """Share of the intervals that hold the truth."""
    return float(((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean())


def rate_coverage(
    rng: np.random.Generator, replications: int
) -> Iterator[tuple[str, float, float, str]]:
    """Metrics of decisions: name, coverage, mean width and cell."""
    names = ("accuracy", "balanced_accuracy", "accuracy_real", "accuracy_fake")
    none = np.zeros((1, 1))
    for (fakes, reals), group in product(SIZES, (1, GROUP)):
        noise = {
            FAKE: scores_of(rng, fakes, replications, group),
            REAL: scores_of(rng, reals, replications, group),
        }
        for tpr, tnr in product(RATES, RATES):
            shifted = {FAKE: noise[FAKE] + ndtri(tpr), REAL: noise[REAL] - ndtri(tnr)}
            column = column_of(shifted, group)
            share = fakes / (fakes + reals)
            truths = {
                "accuracy": share * tpr + (1 - share) * tnr,
                "balanced_accuracy": (tpr + tnr) / 2,
                "accuracy_real": tnr,
                "accuracy_fake": tpr,
            }
            for name in names:
                if (name == "accuracy_real" and tpr != RATES[0]) or (
                    name == "accuracy_fake" and tnr != RATES[0]
                ):
                    continue
                low, high = METRICS[name].cell_intervals(column, np.zeros(replications), none)
                cell = f"{fakes}+{reals}, groups of {group}, TPR {tpr}, TNR {tnr}"
                yield name, cover(low, high, truths[name]), float((high - low).mean()), cell


def ranking_coverage(
    rng: np.random.Generator, replications: int, draws: int
) -> Iterator[tuple[str, float, float, str]]:
    """Metrics of ranking on normal scores of equal spread, whose true values are known."""
    names = ("auc", "eer", "tpr_at_fpr1", "tpr_at_fpr5")
    for (fakes, reals), group, area in product(SIZES, (1, GROUP), AREAS):
        shift = np.sqrt(2) * ndtri(area)
        truths = {
            "auc": area,
            "eer": ndtr(-shift / 2),
            "tpr_at_fpr1": ndtr(shift - ndtri(0.99)),
            "tpr_at_fpr5": ndtr(shift - ndtri(0.95)),
        }
        column = column_of(
            {
                FAKE: scores_of(rng, fakes, replications, group) + shift,
                REAL: scores_of(rng, reals, replications, group),
            },
            group,
        )
        counts = group_weights(column.groups, draws, strata=column.labels, seed=1)
        once = np.ones((1, len(column.labels)))
        values = evaluate(column.scores, column.labels, once, metrics=names)
        bootstrapped = ("eer", "tpr_at_fpr5")
        drawn = evaluate(column.scores, column.labels, counts, metrics=bootstrapped)
        for name in names:
            used = drawn[name].T if name in drawn else np.zeros((2, replications))
            low, high = METRICS[name].cell_intervals(column, values[name][:, 0], used)
            cell = f"{fakes}+{reals}, groups of {group}, AUC {area}"
            yield name, cover(low, high, truths[name]), float((high - low).mean()), cell


def mean_coverage(
    rng: np.random.Generator, replications: int
) -> Iterator[tuple[str, float, float, str]]:
    """The mean over 14 cells of one detector, which share their photographs."""
    for fakes, reals, group in ((15, 210, 1), (30, 210, 1), (30, 210, GROUP)):
        for rates in (np.full(14, 0.97), np.linspace(0.1, 0.99, 14)):
            tnr = 0.97
            hits = 0
            width = 0.0
            truth = float(rates.mean() + tnr) / 2
            for _ in range(replications):
                photographs = scores_of(rng, reals, 1, group) - ndtri(tnr)
                columns = []
                for at, rate in enumerate(rates):
                    one = column_of(
                        {FAKE: scores_of(rng, fakes, 1, group) + ndtri(rate), REAL: photographs},
                        group,
                    )
                    images = np.arange(fakes + reals) + at * fakes
                    images[fakes:] = 10**6 + np.arange(reals)
                    groups = one.groups.copy()
                    groups[:fakes] += 10**4 * at
                    columns.append(Column(images, one.labels, groups, one.scores, one.thresholds))
                value = np.mean([sum(c.rates.values()) / 2 for c in columns])
                low, high = METRICS["balanced_accuracy"].mean_interval(
                    columns, np.ones((1, 14), bool), float(value), np.zeros(2)
                )
                hits += bool(low <= truth <= high)
                width += float(high - low) / replications
            kind = "equal" if rates.std() == 0 else "spread"
            yield (
                "mean of 14 cells",
                hits / replications,
                width,
                f"{fakes}+{reals}, groups of {group}, {kind} rates",
            )


def few_shot_coverage(
    rng: np.random.Generator, replications: int
) -> Iterator[tuple[str, float, float, str]]:
    """Rows of few-shot curves: detectors of several samples of one set of training images, which
    share their test images. True is the mean over such samples on images without number."""
    names = ("own", "near", "far")
    means = np.zeros((4, 8))  # real images, then each generator's fakes
    means[1, 0] = 1.5
    means[2, :2] = (0.75, 1.2)
    means[3, [0, 2]] = (0.15, 1.5)
    for size, pool, fakes, reals, repeats, group in FEW_SHOT:
        counts = (reals, *([fakes] * len(names)))
        domains = _domains(names, counts, group)
        hits: dict[str, list[tuple[bool, float]]] = {}
        for _ in range(replications):
            noise = np.stack([scores_of(rng, n, means.shape[1], group).T for n in counts[1:]])
            photographs = scores_of(rng, reals, means.shape[1], group).T
            images = np.concatenate([photographs, *(noise + means[1:, None])])
            training = [rng.standard_normal((pool, means.shape[1])) + means[i] for i in (0, 1)]
            at = rng.permuted(np.tile(np.arange(pool), (2, 300, 1)), axis=2)[:, :, :size]
            centres = [rows[chosen].mean(axis=1) for rows, chosen in zip(training, at, strict=True)]
            weights = centres[1] - centres[0]
            intercept = -(weights * (centres[0] + centres[1])).sum(axis=1) / 2
            rates = ndtr(
                (weights @ means.T + intercept[:, None]) / np.linalg.norm(weights, axis=1)[:, None]
            ).mean(axis=0)
            truth = dict(zip(names, (rates[1:] + 1 - rates[0]) / 2, strict=True))
            matrix = transfer_matrix(
                weights[:repeats] @ images.T + intercept[:repeats, None],
                domains,
                [names[:1]] * repeats,
                metrics=("balanced_accuracy",),
                draws=50,
                workers=1,
            )
            true_of = {"in-domain": truth["own"], "ood": (truth["near"] + truth["far"]) / 2}
            for row in summaries(matrix, "balanced_accuracy"):
                true = true_of.get(str(row["cells"]), truth.get(str(row["on"]), np.nan))
                low, high = float(str(row["low"])), float(str(row["high"]))
                held = low <= true <= high
                hits.setdefault(str(row["cells"]), []).append((held, high - low))
        cell = f"{repeats} samples of {size} of {pool}, {fakes}+{reals}, groups of {group}"
        for name, found in hits.items():
            coverage, width = np.mean(found, axis=0)
            yield f"few-shot, {name}", float(coverage), float(width), cell


def false_alarm_errors(
    rng: np.random.Generator, replications: int, trainings: int
) -> dict[str, float]:
    """Simulated less promised rate: of thresholds at the nearest rate that can be had, of both
    sides of the abstention band, and of a threshold set with a detector that has not seen the
    validation images."""
    errors = {}
    for n, rate in product((20, 100, 400), (0.01, 0.05, 0.1)):
        promised = nearest_rate(rate, n)
        reals = rng.standard_normal((replications, n))
        alarms = [ndtr(-nearest_false_alarm_threshold(row, rate).threshold) for row in reals]
        errors[f"{n} reals at {rate:g}"] = float(np.mean(alarms)) - promised
    labels = np.repeat([REAL, FAKE], [200, 200])
    bands = [
        abstention_band(row + 1.5 * labels, labels, 0.05)
        for row in rng.standard_normal((replications // 2, 400))
    ]
    errors["band, false alarms"] = float(np.mean([ndtr(-b.high) for b in bands])) - 0.05
    errors["band, misses"] = float(np.mean([ndtr(b.low - 1.5) for b in bands])) - 0.05
    protocol = Protocol(refit=False)
    y = np.tile([REAL, FAKE], 100)
    direction = rng.standard_normal(100) * 0.15
    alarms = []
    for _ in range(trainings):
        X = [rng.standard_normal((200, 100)) + y[:, None] * direction for _ in range(2)]
        chosen = run_protocol((X[0], y), (X[1], y), protocol)
        validation = X[1][y == REAL] @ chosen.weights + chosen.intercept
        limit = nearest_false_alarm_threshold(validation, 0.05).threshold
        spread = np.linalg.norm(chosen.weights)  # a new real image's score is normal
        alarms.append(ndtr((chosen.intercept - limit) / spread))
    errors["100 validation reals, detector not trained on them"] = float(np.mean(alarms)) - 0.05
    return errors


def null_p_errors(rng: np.random.Generator, replications: int) -> dict[str, float]:
    """P(p < .05) - .05 of the balanced accuracy's paired difference where two detectors are
    exchangeable."""
    errors = {}
    for (fakes, reals), group in product(((15, 150), (30, 150), (200, 200)), (1, GROUP)):
        columns = []
        shared = {n: scores_of(rng, n, replications, group) for n in (fakes, reals)}
        if fakes == reals:
            shared[FAKE] = scores_of(rng, fakes, replications, group)
        for _ in range(2):
            own = {
                FAKE: scores_of(rng, fakes, replications, group),
                REAL: scores_of(rng, reals, replications, group),
            }
            fake = shared.get(FAKE, shared[fakes])
            columns.append(
                column_of(
                    {FAKE: own[FAKE] + fake + 1.0, REAL: own[REAL] + shared[reals] - 1.0}, group
                )
            )
        metric = METRICS["balanced_accuracy"]
        first, second = (metric.contributions(column) for column in columns)
        assert first is not None and second is not None
        p = sign_flip(first - second, Groups.of(columns[0].groups))
        errors[f"{fakes}+{reals}, groups of {group}"] = float((p < 0.05).mean()) - 0.05
    return errors


def _domains(names: Sequence[str], counts: Sequence[int], group: int) -> Domains:
    """Test images of one pool: photographs first, then each generator's fakes."""
    generator = np.repeat(["", *names], counts)
    at = np.concatenate([np.arange(n) // group for n in counts])
    return Domains(
        labels=(generator != "").astype(np.int8),
        generator=generator,
        pool=np.full(len(generator), "pool"),
        split=np.full(len(generator), "test"),
        group=np.array([f"{g} {i}" for g, i in zip(generator, at, strict=True)]),
        family_of=dict.fromkeys(names, "gan"),
    )


def global_null_rate(rng: np.random.Generator, matrices: int) -> float:
    """How often some cell of a matrix is called significant (q < .05) although none differs."""
    generators = 5
    fakes = 30
    reals = 120
    names = [f"g{i}" for i in range(generators)]
    called = 0
    for at in range(matrices):
        size = GROUP if at % 2 else 1
        domains = _domains(names, (reals, *([fakes] * generators)), size)
        shared = scores_of(rng, len(domains), generators, size) + 2.0 * (domains.labels - 0.5)
        pair = [
            transfer_matrix(
                shared + scores_of(rng, len(domains), generators, size),
                domains,
                names,
                metrics=("balanced_accuracy",),
                draws=2,
                workers=1,
            )
            for _ in range(2)
        ]
        called += bool((difference(pair[0], pair[1]).q_value < 0.05).any())
    return called / matrices


def measure(
    rates: int = 4000,
    *,
    rankings: int = 1000,
    means: int = 300,
    few_shot: int = 300,
    draws: int = 200,
    thresholds: int = 4000,
    trainings: int = 200,
    nulls: int = 4000,
    matrices: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """All four figures, with the cells where they are worst."""
    rng = np.random.default_rng(seed)
    results = {
        "rates": list(rate_coverage(rng, rates)),
        "rankings": list(ranking_coverage(rng, rankings, draws)),
        "means": list(mean_coverage(rng, means)),
        "few shot": list(few_shot_coverage(np.random.default_rng(seed + 1), few_shot)),
    }
    every = [row for part in results.values() for row in part]
    names = dict.fromkeys(name for name, *_ in every)
    by_metric: dict[str, dict[str, Any]] = {}
    for name in names:
        mine = [row for row in every if row[0] == name]
        worst = min(mine, key=lambda row: row[1])
        by_metric[name] = {
            "worst": round(worst[1], 4),
            "mean": round(float(np.mean([row[1] for row in mine])), 4),
            "width": round(float(np.mean([row[2] for row in mine])), 4),
            "worst_in": worst[3],
            "cells": len(mine),
        }
    alarms, p = false_alarm_errors(rng, thresholds, trainings), null_p_errors(rng, nulls)
    return {
        "worst_interval_coverage": min(float(one["worst"]) for one in by_metric.values()),
        "false_alarm_error": round(max(abs(error) for error in alarms.values()), 4),
        "null_p_error": round(max(0.0, *p.values()), 4),
        "global_null_rate": round(global_null_rate(rng, matrices), 4),
        "simulations": {
            "coverage_of_rates": rates,
            "coverage_of_rankings": rankings,
            "coverage_of_means": means,
            "coverage_of_few_shot": few_shot,
            "thresholds": thresholds,
            "trainings": trainings,
            "null_p": nulls,
            "null_matrices": matrices,
        },
        "coverage": by_metric,
        "false_alarms": {name: round(error, 4) for name, error in alarms.items()},
        "null_p": {name: round(error, 4) for name, error in p.items()},
    }


def main(argv: list[str]) -> dict[str, Any]:
    """Simulate once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    return measure(seed=parser.parse_args(argv).seed)
