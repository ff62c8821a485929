"""One cell, against scikit-learn and against the matrix it is a cell of."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_curve

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.transfer import open_cell, transfer_matrix
from tests.factory import make_images

DOMAINS = Domains.from_images(make_images())
SCORES = np.round(
    np.random.default_rng(0).standard_normal(len(DOMAINS)) + DOMAINS.labels, 1
)  # rounded: ties


def test_roc_and_rates_are_scikit_learns() -> None:
    cell = open_cell(SCORES, DOMAINS, "beta-diff", threshold=0.3)
    expected = roc_curve(cell.labels, cell.scores, drop_intermediate=False)
    for ours, theirs in zip(cell.roc(), expected, strict=False):
        np.testing.assert_allclose(ours, theirs)
    points = set(zip(*(np.round(axis, 12) for axis in cell.roc()), strict=True))
    for threshold in cell.thresholds.values():
        assert tuple(np.round(cell.rates(threshold), 12)) in points


def test_verdicts_are_the_matrix_cell() -> None:
    cell = open_cell(SCORES, DOMAINS, "beta-diff", threshold=0.3)
    matrix = transfer_matrix(SCORES[None], DOMAINS, ["alpha-gan"], thresholds=0.3)
    at = matrix.test.index("beta-diff")
    table = cell.verdicts().set_index("threshold")
    own = table.loc["own"]
    assert [
        own["real_as_real"],
        own["real_as_fake"],
        own["fake_as_real"],
        own["fake_as_fake"],
    ] == matrix.confusion[0, at].ravel().tolist()
    assert own["accuracy"] == pytest.approx(matrix.values["accuracy"][0, at])
    assert own["balanced_accuracy"] == pytest.approx(matrix.values["balanced_accuracy"][0, at])
    low, high = (bound[0, at] for bound in matrix.interval("balanced_accuracy"))
    assert (own["low"], own["high"]) == pytest.approx((low, high), abs=1e-6) and low < own[
        "balanced_accuracy"
    ] < high
    sums = table[["real_as_real", "real_as_fake", "fake_as_fake", "fake_as_real"]].sum(axis=1)
    assert (sums == matrix.n_real[at] + matrix.n_fake[at]).all()


def test_best_threshold_is_not_beaten() -> None:
    cell = open_cell(SCORES, DOMAINS, "beta-diff")
    best = balanced_accuracy_score(
        cell.labels, cell.scores > cell.thresholds["best on these images"]
    )
    assert cell.verdicts()["balanced_accuracy"].iloc[1] == pytest.approx(best)
    assert (
        best
        >= max(balanced_accuracy_score(cell.labels, cell.scores > t) for t in cell.scores) - 1e-12
    )


@pytest.mark.parametrize("label", [REAL, FAKE])
def test_mistakes_are_the_wrong_ones_by_certainty(label: int) -> None:
    cell = open_cell(SCORES, DOMAINS, "gamma-diff", threshold=0.4)
    result = cell.mistakes(label)
    table = confusion_matrix(cell.labels, cell.scores > 0.4)
    assert len(result) == table[label, 1 - label] > 1
    assert (
        result["margin"].is_monotonic_decreasing and (DOMAINS.labels[result["row"]] == label).all()
    )
    assert ((SCORES[result["row"]] > 0.4) != (label == FAKE)).all()


def test_wrong_input_is_refused() -> None:
    with pytest.raises(AigiError, match="no generator 'omega'"):
        open_cell(SCORES, DOMAINS, "omega")
    with pytest.raises(AigiError, match="a score for each"):
        open_cell(SCORES[:5], DOMAINS, "beta-diff")
    with pytest.raises(AigiError, match="no threshold 'best'"):
        open_cell(SCORES, DOMAINS, "beta-diff").mistakes(FAKE, "best")


def test_frames_hold_every_image_and_every_corner() -> None:
    cell = open_cell(SCORES, DOMAINS, "beta-diff", threshold=0.3)
    frame = cell.to_frame()
    assert np.array_equal(frame["label"], DOMAINS.labels[frame["row"]])
    assert np.array_equal(frame["score"], SCORES[frame["row"]])
    assert set(frame["row"]) == set(DOMAINS.rows(["beta-diff"], "test"))
    np.testing.assert_array_equal(cell.roc_frame().to_numpy().T, cell.roc())
