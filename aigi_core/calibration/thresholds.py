"""What a detector's threshold and its probabilities are worth on another generator, cell by cell.

Everything fitted on validation images needs detectors that have not been trained on them:
:func:`held_out_scores`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.calibration import probabilities as calibration
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.manifest import REAL, Domains
from aigi_core.statements import DEFAULT_RATE, counted
from aigi_core.transfer import TrainSet
from aigi_core.transfer.matrix import as_train_sets
from aigi_core.workspace import Workspace

RULES = ("source", "best", "false alarms")
"""The detector's own threshold; the best one (it sees the test labels); one set on real validation
images alone.
"""


def held_out_scores(
    workspace: Workspace,
    train_sets: Sequence[str | TrainSet],
    protocol: Protocol | None = None,
) -> Float[np.ndarray, "K N"]:
    """Scores of detectors trained on the training split only, so that validation images are new to
    them.

    C may still be chosen on validation, one choice among eight; the images themselves are never
    fitted.
    """
    without_refit = replace(protocol or Protocol(), refit=False)
    return score_detectors(train(workspace, list(train_sets), protocol=without_refit), workspace)


def threshold_table(
    scores: Float[np.ndarray, "K N"],
    domains: Domains,
    train_sets: Sequence[str | TrainSet],
    test: Sequence[str] | None = None,
    *,
    rate: float = DEFAULT_RATE,
) -> pd.DataFrame:
    """Each cell at three thresholds (:data:`RULES`).

    The threshold of ``false alarms`` is set on the real validation images of the *test* generator's
    pools: what an operator has who knows his own photographs and no fakes. ``best`` shows what
    ranking alone would allow.

    Args:
        scores: of :func:`held_out_scores`.
        rate: false alarms allowed, in expectation.

    Returns:
        One row a cell and rule: ``train, test, rule, threshold``, ``balanced_accuracy``,
            ``detection_rate`` and ``false_alarm_rate`` each with ``_low, _high`` (of test
            images, threshold fixed), ``n_real, n_fake, n_threshold`` (images that set the
            threshold), ``may_reach`` (the false-alarm rate below which the threshold lies with 97.5
            % confidence, since so few images set it) and ``note``, which says where another rate
            had to be taken.
    """
    sets, scores = _checked(scores, domains, train_sets)
    rows_out = []
    for name in domains.generators if test is None else test:
        rows, reals = domains.rows(name, "test"), domains.real_rows(name, "val")
        labels, groups = domains.labels[rows], domains.group_numbers(rows)
        for names, row in zip(sets, scores, strict=True):
            limit = calibration.nearest_false_alarm_threshold(row[reals], rate)
            best = calibration.best_threshold(row[rows], labels)
            rules: dict[str, tuple[float, int, float, str]] = {
                "source": (0.0, 0, np.nan, ""),
                "best": (best, len(rows), np.nan, "sees the test labels"),
                "false alarms": (limit.threshold, limit.n, limit.high, limit.note),
            }
            for rule, (threshold, n, may_reach, note) in rules.items():
                rows_out.append(
                    {
                        "train": " + ".join(names),
                        "test": name,
                        "rule": rule,
                        **calibration.operating_point(row[rows], labels, threshold, groups),
                        "n_real": int((labels == REAL).sum()),
                        "n_fake": int((labels != REAL).sum()),
                        "n_threshold": n,
                        "may_reach": may_reach,
                        "note": note,
                    }
                )
    return pd.DataFrame(rows_out)


def rate_notes(domains: Domains, test: Sequence[str], rate: float = DEFAULT_RATE) -> dict[str, str]:
    """What to say of generators whose pools hold too few real validation images for a false-alarm
    rate: generator -> the number needed and the rate taken instead.
    """
    notes = {
        name: calibration.rate_note(rate, len(domains.real_rows(name, "val"))) for name in test
    }
    return {name: note for name, note in notes.items() if note}


def calibration_table(
    scores: Float[np.ndarray, "K N"],
    domains: Domains,
    train_sets: Sequence[str | TrainSet],
    test: Sequence[str] | None = None,
    *,
    methods: Sequence[str] = ("none", "temperature", "platt"),
    prior: float = 0.5,
    draws: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """Expected calibration error of each cell, calibrated on the training generators' own
    validation images.

    Args:
        scores: of :func:`held_out_scores`.
        methods: ``none`` takes the model's own log-odds as they are.

    Returns:
        One row a cell and method: ``train, test, method, ece, low, high, null_mean, null_high,
            p_value, bins, n, n_calibration`` (see
            :class:`~aigi_core.calibration.probabilities.CalibrationError`).
    """
    sets, scores = _checked(scores, domains, train_sets)
    columns = tuple(domains.generators if test is None else test)
    rows_out = []
    for names, row in zip(sets, scores, strict=True):
        fit = domains.rows(names, "val")
        for method in methods:
            fitted = _fitted(row[fit], domains.labels[fit], method, prior)
            for name in columns:
                rows = domains.rows(name, "test")
                error = _error(fitted.probability(row[rows]), domains, rows, prior, draws, seed)
                rows_out.append(
                    {
                        "train": " + ".join(names),
                        "test": name,
                        "method": method,
                        **vars(error),
                        "n_calibration": 0 if method == "none" else len(fit),
                    }
                )
    return pd.DataFrame(rows_out)


def cell_reliability(
    scores: Float[np.ndarray, " N"],
    domains: Domains,
    train_set: str | TrainSet,
    test: str,
    method: str = "platt",
    *,
    prior: float = 0.5,
    draws: int = 300,
    seed: int = 0,
) -> tuple[pd.DataFrame, calibration.CalibrationError]:
    """One cell's reliability diagram, calibrated as in :func:`calibration_table`.

    Args:
        scores: [N] of one detector, from :func:`held_out_scores`.

    Returns:
        The bins of :func:`aigi_core.calibration.reliability` and the calibration error.
    """
    [names], [row] = _checked(scores, domains, [train_set])
    fit, rows = domains.rows(names, "val"), domains.rows(test, "test")
    probabilities = _fitted(row[fit], domains.labels[fit], method, prior).probability(row[rows])
    bins = calibration.reliability(probabilities, domains.labels[rows].astype(int), prior=prior)
    return bins, _error(probabilities, domains, rows, prior, draws, seed)


def _fitted(
    scores: np.ndarray, labels: np.ndarray, method: str, prior: float
) -> calibration.Calibration:
    if method == "none":
        return calibration.Calibration("none", 1.0, 0.0, prior, 0, 0)
    if method not in get_args(calibration.Method):
        raise AigiError(
            f"There is no calibration {method!r}: choose none,"
            f" {', '.join(get_args(calibration.Method))}."
        )
    return calibration.fit_calibration(
        scores, labels, cast(calibration.Method, method), prior=prior
    )


def _error(
    probabilities: np.ndarray,
    domains: Domains,
    rows: np.ndarray,
    prior: float,
    draws: int,
    seed: int,
) -> calibration.CalibrationError:
    groups = np.where(domains.group[rows] == "", rows.astype(str), domains.group[rows])
    return calibration.calibration_error(
        probabilities, domains.labels[rows], groups=groups, prior=prior, draws=draws, seed=seed
    )


def _checked(
    scores: np.ndarray, domains: Domains, train_sets: Sequence[str | TrainSet]
) -> tuple[tuple[TrainSet, ...], np.ndarray]:
    sets, scores = as_train_sets(train_sets, domains), np.atleast_2d(scores)
    if scores.shape != (len(sets), len(domains)):
        raise AigiError(
            f"Expected scores of {counted(len(sets), 'detector')} for"
            f" {counted(len(domains), 'image')}, got"
            f" {scores.shape}."
        )
    return sets, scores
