"""The calibration error of several detectors together, against the one of a single detector and a
plain loop."""

import numpy as np
import pytest
from scipy.special import expit

from aigi_core.calibration import calibration_error, pooled_calibration_error
from aigi_core.errors import AigiError
from aigi_core.resampling import group_weights


def simulate(n: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, n)
    labels = (rng.random(n) < expit(scores)).astype(int)
    return expit(slope * scores), labels


def test_of_one_detector_it_is_the_error_of_one_detector() -> None:
    p, y = simulate(600)
    groups = np.arange(600) // 2
    counts = group_weights(groups, 1000, strata=y)
    alone = calibration_error(p, y, groups=groups, bins=10)
    pooled = pooled_calibration_error(p[None], y, np.ones((1, 600), bool), counts)
    assert pooled.ece == pytest.approx(alone.ece, abs=1e-12)
    assert (pooled.low, pooled.high) == pytest.approx((alone.low, alone.high), abs=1e-6)
    assert pooled.null_mean == pytest.approx(alone.null_mean, rel=0.1)
    blocked = pooled_calibration_error(
        p[None], y, np.ones((1, 600), bool), group_weights(np.arange(300), 50), groups
    )
    assert blocked.ece == pytest.approx(pooled.ece) and blocked.low <= blocked.ece <= blocked.high


def test_only_the_pairs_count_and_a_plain_loop_agrees() -> None:
    p, y = simulate(400)
    both = np.stack([p, expit(3 * np.log(p / (1 - p)))])
    pairs = np.zeros((2, 400), bool)
    pairs[0, :250] = pairs[1, 150:] = True
    counts = group_weights(np.arange(400), 20)
    pooled = pooled_calibration_error(both, y, pairs, counts, bins=5)
    listed = sorted((both[k, i], y[i]) for k in range(2) for i in range(400) if pairs[k, i])
    fakes = sum(label for _, label in listed)
    error = 0.0
    for part in np.array_split(np.array(listed), 5):
        weight = np.where(part[:, 1] == 1, 0.5 / fakes, 0.5 / (len(listed) - fakes))
        error += abs(float((weight * (part[:, 1] - part[:, 0])).sum()))
    assert pooled.n == 500 and pooled.bins == 5 and pooled.ece == pytest.approx(error, abs=1e-12)


def test_calibrated_scores_pass_and_sharpened_ones_do_not() -> None:
    p, y = simulate(2000)
    fair, pairs = int(y.sum()) / 2000, np.ones((1, 2000), bool)
    counts = group_weights(np.arange(2000), 200, strata=y)
    right = pooled_calibration_error(p[None], y, pairs, counts, prior=fair)
    wrong = pooled_calibration_error(simulate(2000, 4.0)[0][None], y, pairs, counts, prior=fair)
    assert right.p_value > 0.05 and right.ece < right.null_high
    assert wrong.p_value < 0.01 and wrong.low > right.null_high


def test_probabilities_that_are_all_too_low_do_not_hide_behind_the_null() -> None:
    """Few fakes and stated odds divided by seven: drawn labels hold next to no fakes, whose weights
    must not grow for that."""
    p, y = simulate(1500)
    y = y * (np.random.default_rng(1).random(1500) < 0.25)  # the other fakes were not collected
    low = expit(np.log(p / (1 - p)) - 2)
    counts = group_weights(np.arange(1500), 100, strata=y)
    pooled = pooled_calibration_error(low[None], y, np.ones((1, 1500), bool), counts)
    alone = calibration_error(low, y, bins=10)
    for error in (pooled, alone):
        assert error.ece > 2 * error.null_high and error.p_value < 0.01
    assert pooled.null_mean == pytest.approx(alone.null_mean, rel=0.1)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(AigiError, match="real and fake"):
        pooled_calibration_error(
            np.full((1, 4), 0.5), np.ones(4, int), np.ones((1, 4), bool), np.ones((3, 4))
        )
