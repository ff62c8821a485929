"""Metrics of a detector on labelled images, for many detectors and many bootstrap draws at once.

Labels: fake = 1 is the positive class. A higher score means fake; an image is flagged where its
score is above the threshold. ``counts`` says how often each image occurs in each bootstrap draw;
equal scores are one point of the ROC curve, so ties count one half in the AUC and never depend on
the order of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Real

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL


@dataclass(frozen=True)
class Metric:
    """What a metric is called and how to read it; ``sees_test_labels`` marks the one that chooses a
    threshold on them.
    """

    name: str
    title: str
    description: str
    higher_is_better: bool = True
    sees_test_labels: bool = False
    chance: float = 0.5
    """Expected value of a detector that guesses, for equally many reals and fakes."""

    @property
    def in_words(self) -> str:
        """The title inside a sentence."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", "Accuracy", "share of images judged rightly at the detector's own threshold"
        ),
        Metric(
            "balanced_accuracy",
            "Balanced accuracy",
            "mean of the accuracies on real and on fake images",
        ),
        Metric(
            "auc",
            "AUC",
            "chance that a fake scores above a real image (ties count one half); no threshold",
        ),
        Metric(
            "average_precision",
            "Average precision",
            "area under the precision-recall steps; no threshold",
        ),
        Metric(
            "eer",
            "Equal error rate",
            "point of the test's ROC curve where false positives and false negatives are equally"
            " frequent",
            higher_is_better=False,
        ),
        Metric(
            "tpr_at_fpr1",
            "TPR at 1 % FPR",
            "point of the test's ROC curve: fakes found where at most 1 % of its real images are"
            " flagged",
            chance=0.01,
        ),
        Metric(
            "tpr_at_fpr5",
            "TPR at 5 % FPR",
            "point of the test's ROC curve: fakes found where at most 5 % of its real images are"
            " flagged",
            chance=0.05,
        ),
        Metric("accuracy_real", "Accuracy on real", "share of real images not flagged (1 - FPR)"),
        Metric("accuracy_fake", "Accuracy on fake", "share of fakes flagged (TPR)"),
        Metric(
            "best_accuracy",
            "Accuracy at the best threshold",
            "the highest accuracy that any threshold reaches on the test images; it sees their"
            " labels",
            sees_test_labels=True,
        ),
        Metric(
            "accuracy_at_val_fpr5",
            "Accuracy at 5 % FPR on validation reals",
            "accuracy with the threshold that flags 5 % of the validation split's real images of"
            " the test's pools",
        ),
    )
}
"""Every metric by name, in the order in which tables show them."""

DEFAULT_METRIC = "balanced_accuracy"
"""Equal to accuracy where a generator has as many fakes as real images; elsewhere accuracy praises
whoever calls everything real."""
AT_THRESHOLD = ("accuracy", "balanced_accuracy", "accuracy_real", "accuracy_fake")
RANKING = ("auc", "average_precision", "eer", "tpr_at_fpr1", "tpr_at_fpr5", "best_accuracy")
CALIBRATED = ("accuracy_at_val_fpr5",)
CHUNK = 2**18
"""Counts handled at a time by :func:`ranking_metrics`: a few arrays of this size stay in the
processor's cache.
"""


def evaluate(
    scores: Real[np.ndarray, "K n"],
    labels: Integer[np.ndarray, " n"],
    counts: Real[np.ndarray, "B n"] | None = None,
    thresholds: Float[np.ndarray, " K"] | float = 0.0,
    metrics: Sequence[str] = (*AT_THRESHOLD, *RANKING),
) -> dict[str, Float[np.ndarray, "K B"]]:
    """The metrics of K detectors on n images, in each of B draws (one draw, every image once,
    without ``counts``).

    A draw without real or without fake images gives NaN.

    Raises:
        AigiError: unknown metric, scores that are not finite, or images of one class only.
    """
    wanted = check_metrics(metrics, (*AT_THRESHOLD, *RANKING))
    scores, labels = check_scores(scores), np.asarray(labels)
    if scores.shape[1] != len(labels):
        raise AigiError(
            f"Expected one score for each of {len(labels)} images, got {scores.shape[1]}."
        )
    if not (labels == FAKE).any() or not (labels == REAL).any():
        only = "real" if (labels == REAL).all() else "fake"
        raise AigiError(
            f"All {len(labels)} test images are {only}: metrics need real and fake images."
        )
    if counts is None:
        counts = np.ones((1, len(labels)), np.int32)
    found: dict[str, np.ndarray] = {}
    if set(wanted) & set(AT_THRESHOLD):
        found |= threshold_metrics(scores > np.reshape(thresholds, (-1, 1)), labels, counts)
    ranking = tuple(name for name in wanted if name in RANKING)
    if ranking:
        rows = [ranking_metrics(row, labels, counts, ranking) for row in scores]
        found |= {name: np.stack([row[name] for row in rows]) for name in ranking}
    return {name: found[name] for name in wanted}


def threshold_metrics(
    flagged: Bool[np.ndarray, "K n"],
    labels: Integer[np.ndarray, " n"],
    counts: Real[np.ndarray, "B n"],
) -> dict[str, Float[np.ndarray, "K B"]]:
    """Accuracy, balanced accuracy and the accuracies on real and fake, from decisions: one matrix
    product a class.
    """
    weights = counts.astype(np.float64)
    right = {
        label: (flagged == bool(label))[:, labels == label].astype(np.float64)
        for label in (REAL, FAKE)
    }
    hits = {label: right[label] @ weights[:, labels == label].T for label in (REAL, FAKE)}
    total = {label: weights[:, labels == label].sum(axis=1) for label in (REAL, FAKE)}
    with np.errstate(invalid="ignore", divide="ignore"):
        real, fake = hits[REAL] / total[REAL], hits[FAKE] / total[FAKE]
        accuracy = (hits[REAL] + hits[FAKE]) / (total[REAL] + total[FAKE])
    return {
        "accuracy": accuracy,
        "balanced_accuracy": (real + fake) / 2,
        "accuracy_real": real,
        "accuracy_fake": fake,
    }


def ranking_metrics(
    scores: Real[np.ndarray, " n"],
    labels: Integer[np.ndarray, " n"],
    counts: Real[np.ndarray, "B n"],
    metrics: Sequence[str] = RANKING,
) -> dict[str, Float[np.ndarray, " B"]]:
    """The metrics that depend on the order of one detector's scores alone, in each draw.

    The images are sorted once; each draw then is two cumulative sums of counts along that order,
    from which all of AUC, average precision (as scikit-learn's, without interpolation), EER, TPR at
    a bounded FPR and the best accuracy are read. Equal scores end in one point of the curve,
    whatever the draw.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    is_fake = (labels[order] == FAKE).astype(np.int32)
    step = max(1, CHUNK // len(order))
    parts = [
        _from_curve(
            *_curve(counts[start : start + step, order].astype(np.int32), is_fake, ends), metrics
        )
        for start in range(0, len(counts), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in metrics}


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


def _from_curve(
    tp: Float[np.ndarray, "B m"], fp: Float[np.ndarray, "B m"], metrics: Sequence[str]
) -> dict[str, Float[np.ndarray, " B"]]:
    fakes, reals = tp[:, -1], fp[:, -1]
    found: dict[str, np.ndarray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        if "auc" in metrics:
            below = (
                np.einsum("bm,bm->b", fp[:, 1:] - fp[:, :-1], tp[:, 1:] + tp[:, :-1])
                + fp[:, 0] * tp[:, 0]
            )
            found["auc"] = below / (2 * fakes * reals)
        if "average_precision" in metrics:
            precision = tp / np.maximum(tp + fp, 1)
            gained = np.diff(tp, axis=1, prepend=0)
            found["average_precision"] = np.einsum("bm,bm->b", gained, precision) / fakes
        if "eer" in metrics:
            found["eer"] = _equal_error_rate(tp, fp)
        for name, limit in (("tpr_at_fpr1", 0.01), ("tpr_at_fpr5", 0.05)):
            if name in metrics:
                # Both curves rise: the last point within the limit is the one before the first that
                # breaks it.
                broken = fp > limit * reals[:, None] + 1e-9
                last = np.where(broken.any(axis=1), broken.argmax(axis=1), tp.shape[1]) - 1
                found[name] = np.where(last < 0, 0.0, _pick(tp, last)) / fakes
        if "best_accuracy" in metrics:
            gain = np.maximum((tp - fp).max(axis=1), 0)  # 0: nothing flagged at all
            found["best_accuracy"] = (reals + gain) / (reals + fakes)
        empty = (fakes == 0) | (reals == 0)
    return {
        name: np.where(empty, np.nan, found[name]) if empty.any() else found[name]
        for name in metrics
    }


def _equal_error_rate(
    tp: Float[np.ndarray, "B m"], fp: Float[np.ndarray, "B m"]
) -> Float[np.ndarray, " B"]:
    """FPR = FNR on the ROC curve, linear between its points; excess = FPR - FNR rises from -1 to
    1.
    """
    fakes, reals = tp[:, -1:], fp[:, -1:]
    excess = (
        fp * fakes + tp * reals - fakes * reals
    )  # scaled by the two class sizes: exact in float64
    after = (excess >= 0).argmax(axis=1)
    right, left = _pick(excess, after), _pick(excess, after - 1)
    fpr_right, fpr_left = _pick(fp, after), _pick(fp, after - 1)
    first = after == 0
    left = np.where(first, -(fakes * reals)[:, 0], left)
    fpr_left = np.where(first, 0.0, fpr_left)
    crossing: np.ndarray = (fpr_left - left / (right - left) * (fpr_right - fpr_left)) / reals[:, 0]
    return crossing


def _pick(values: Float[np.ndarray, "B m"], at: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    picked: np.ndarray = values[np.arange(len(values)), at]
    return picked


def threshold_at_fpr(
    scores_of_reals: Real[np.ndarray, "K n"], fpr: float
) -> Float[np.ndarray, " K"]:
    """The lowest threshold that flags at most this share of the given real images (score above it =
    flagged).
    """
    allowed = int(np.floor(fpr * scores_of_reals.shape[1] + 1e-9))
    descending = -np.sort(-scores_of_reals, axis=1)
    threshold: np.ndarray = descending[:, min(allowed, scores_of_reals.shape[1] - 1)].astype(
        np.float64
    )
    return threshold


def check_metrics(metrics: Sequence[str], known: Sequence[str] = tuple(METRICS)) -> tuple[str, ...]:
    """The names as a tuple; raises AigiError for one that is not known."""
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        if name not in known:
            raise AigiError(f"There is no metric {name!r} here; there are {', '.join(known)}.")
    return names


def check_scores(scores: Real[np.ndarray, "K n"]) -> Real[np.ndarray, "K n"]:
    """Scores as an array [K, n]; raises AigiError where one is not finite."""
    values = np.atleast_2d(np.asarray(scores))
    if not np.isfinite(values).all():
        detector, image = np.argwhere(~np.isfinite(values))[0]
        raise AigiError(
            f"The score of detector {detector} for image {image} is {values[detector, image]}:"
            " scores must be finite; look for NaN or infinity in the features."
        )
    return values
