"""Every metric, in every draw, against scikit-learn on the images repeated as often as they were
drawn.
"""

import numpy as np
import pytest
from sklearn import metrics as oracle

from aigi_core.errors import AigiError
from aigi_core.metrics import METRICS, auc_of_images, evaluate


def expected(scores: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    fpr, tpr, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    grid = np.linspace(0, 1, len(fpr) * 500)
    between = (
        np.interp(grid, np.arange(len(fpr)) / (len(fpr) - 1), fpr),
        np.interp(grid, np.arange(len(fpr)) / (len(fpr) - 1), tpr),
    )
    crossing = np.argmin(np.abs(between[0] + between[1] - 1))
    cuts = [-np.inf, *np.unique(scores)]
    flagged = scores > threshold
    return {
        "accuracy": oracle.accuracy_score(labels, flagged),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, flagged),
        "auc": oracle.roc_auc_score(labels, scores),
        "average_precision": oracle.average_precision_score(labels, scores),
        "eer": between[0][crossing],
        "tpr_at_fpr1": tpr[fpr <= 0.01].max(),
        "tpr_at_fpr5": tpr[fpr <= 0.05].max(),
        "accuracy_real": oracle.recall_score(labels, flagged, pos_label=0),
        "accuracy_fake": oracle.recall_score(labels, flagged),
        "best_accuracy": max(oracle.accuracy_score(labels, scores > cut) for cut in cuts),
    }


@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_agrees_with_scikit_learn_with_weights_and_ties(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    labels = np.r_[np.zeros(45, int), np.ones(30, int)]
    scores = np.round(
        rng.standard_normal((3, 75)) + labels * np.array([[0.0], [0.7], [3.0]]), decimals
    )
    counts = np.r_[np.ones((1, 75), int), rng.multinomial(75, np.full(75, 1 / 75), size=6)]
    thresholds = np.array([0.0, 0.3, 1.0])
    result = evaluate(scores, labels, counts, thresholds)
    for detector in range(3):
        for draw, count in enumerate(counts):
            reference = expected(
                np.repeat(scores[detector], count), np.repeat(labels, count), thresholds[detector]
            )
            for name, value in reference.items():
                tolerance = 2e-3 if name == "eer" else 1e-12
                assert result[name][detector, draw] == pytest.approx(value, abs=tolerance), (
                    name,
                    detector,
                    draw,
                )
    assert set(result) | {"accuracy_at_val_fpr5"} == set(METRICS)


def test_perfect_useless_and_inverted_detectors() -> None:
    labels = np.array([0, 0, 1, 1])
    result = evaluate(np.array([[-2, -1, 1, 2], [0, 0, 0, 0], [2, 1, -1, -2]]), labels)
    assert {
        name: result[name][:, 0].tolist() for name in ("auc", "eer", "tpr_at_fpr1", "best_accuracy")
    } == {
        "auc": [1.0, 0.5, 0.0],
        "eer": [0.0, 0.5, 1.0],
        "tpr_at_fpr1": [1.0, 0.0, 0.0],
        "best_accuracy": [1.0, 0.5, 0.5],
    }


def test_many_draws_are_cut_into_chunks_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.standard_normal((1, 60))
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=50)
    whole = evaluate(scores, labels, counts)
    monkeypatch.setattr("aigi_core.metrics.evaluation.CHUNK", 600)
    for name, values in evaluate(scores, labels, counts).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_draw_of_one_class_is_nan() -> None:
    result = evaluate(np.array([[0.1, -0.2]]), np.array([0, 1]), np.array([[1, 1], [2, 0]]))
    for name in ("auc", "eer", "average_precision", "best_accuracy", "balanced_accuracy"):
        assert np.isfinite(result[name][0, 0]) and np.isnan(result[name][0, 1]), name


def test_bad_input_is_named() -> None:
    labels = np.array([0, 1, 1])
    with pytest.raises(AigiError, match="no metric 'f1'"):
        evaluate(np.zeros((1, 3)), labels, metrics=["f1"])
    with pytest.raises(AigiError, match="detector 1 for image 2 is nan"):
        evaluate(np.array([[0, 0, 0], [0, 0, np.nan]]), labels)
    with pytest.raises(AigiError, match="All 3 test images are fake"):
        evaluate(np.zeros((1, 3)), np.ones(3, int))
    with pytest.raises(AigiError, match="each of 3 images, got 4"):
        evaluate(np.zeros((1, 4)), labels)


def test_the_auc_of_images_is_scikit_learns_and_groups_widen_it() -> None:
    rng = np.random.default_rng(3)
    unknown, known = rng.integers(0, 8, 30), rng.integers(2, 10, 70)
    scores, label = np.concatenate([unknown, known]).astype(float), np.repeat([0, 1], [30, 70])
    value, low, high = auc_of_images(scores, label, np.arange(100))
    assert value == pytest.approx(oracle.roc_auc_score(label, scores))
    assert low < value < high
    wide = auc_of_images(scores, label, np.arange(100) // 10)
    assert wide[2] - wide[1] > high - low
