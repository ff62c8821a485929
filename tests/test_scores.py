"""One check of scores and labels for all public functions that take them."""

from collections.abc import Callable

import numpy as np
import pytest

from aigi_core.calibration import (
    best_threshold,
    calibration_error,
    false_alarm_threshold,
    fit_calibration,
    operating_point,
    reliability,
)
from aigi_core.errors import AigiError
from aigi_core.metrics.evaluation import (
    evaluate,
    ranking_metrics,
    threshold_metrics,
)
from aigi_core.scores import check_labelled_scores

LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([1, 2, 3, 4, 5, 200])
ONE_DRAW = np.ones((1, 6), np.int32)
TAKE_BOTH: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
    "evaluate": lambda s, y: evaluate(s, y),
    "ranking": lambda s, y: ranking_metrics(s, y, ONE_DRAW),
    "calibration": lambda s, y: fit_calibration(s, y),
    "error": lambda s, y: calibration_error(s / 500, y),
    "reliability": lambda s, y: reliability(s / 500, y),
    "threshold": lambda s, y: best_threshold(s, y),
    "operating point": lambda s, y: operating_point(s, y, 3.5),
}


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int64", "float16", "float32"])
def test_the_type_of_scores_changes_no_number(kind: str) -> None:
    scores = np.array([1, 2, 3, 4, 5, 100]).astype(kind)
    result = evaluate(scores, LABELS)
    assert result["auc"] == 1.0 and result["eer"] == 0.0
    exact = evaluate(scores.astype(float), LABELS)
    assert {name: value.tolist() for name, value in result.items()} == {
        name: value.tolist() for name, value in exact.items()
    }
    assert ranking_metrics(scores, LABELS, ONE_DRAW)["auc"] == 1.0
    assert best_threshold(scores, LABELS) == best_threshold(scores.astype(float), LABELS)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint8", "float32"])
def test_the_type_of_labels_changes_no_number(kind: str) -> None:
    assert evaluate(SCORES, LABELS.astype(kind))["auc"] == 1.0


@pytest.mark.parametrize("name", TAKE_BOTH)
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.array([0, 1, 2, 3, 1, 0]), "labels of 0 .real. and 1 .fake., got 0, 1, 2, 3"),
        (np.where(LABELS, 1, -1), "got -1, 1"),
        (np.where(LABELS, 1.0, np.nan), "got 1.0, nan"),
        (np.array(["real"] * 3 + ["fake"] * 3), "got fake, real"),
    ],
)
def test_labels_that_are_not_0_or_1_are_refused(name: str, labels: np.ndarray, text: str) -> None:
    with pytest.raises(AigiError, match=text):
        TAKE_BOTH[name](SCORES, labels)


@pytest.mark.parametrize("name", TAKE_BOTH)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(name: str, value: float) -> None:
    with pytest.raises(AigiError, match="finite"):
        TAKE_BOTH[name](np.where(SCORES == 200, value, SCORES), LABELS)


def test_what_takes_one_of_the_two_checks_it() -> None:
    with pytest.raises(AigiError, match="finite"):
        false_alarm_threshold(np.array([np.nan] * 30), 0.1)
    with pytest.raises(AigiError, match="labels"):
        threshold_metrics(np.ones((1, 6), bool), LABELS + 1, ONE_DRAW)
    for scores, labels, text in (
        (np.zeros((2, 2, 2)), LABELS, "shape"),
        (np.array([1j] * 6), LABELS, "real numbers"),
        (SCORES[:5], LABELS, "one score for each of 6"),
        (SCORES, LABELS[:, None], "one label an image"),
        (SCORES, np.ones(6, int), "are fake"),
        (SCORES, np.zeros(6, int), "are real"),
    ):
        with pytest.raises(AigiError, match=text):
            check_labelled_scores(scores, labels)
