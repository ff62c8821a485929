"""Calibration on simulated scores: planted slopes come back, calibrated scores pass, miscalibrated
ones do not.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from aigi_core.calibration import probabilities as cal
from aigi_core.errors import AigiError
from aigi_core.resampling import group_weights


def simulate(
    n: int, slope: float = 1.0, intercept: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores s with P(fake | s) = sigmoid(slope * s + intercept)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, n)
    return scores, (rng.random(n) < expit(slope * scores + intercept)).astype(int)


def test_platt_recovers_planted_slope_and_intercept() -> None:
    fit = cal.fit_calibration(*simulate(200_000, 0.4, -0.7), prior=None)
    assert fit.slope == pytest.approx(0.4, abs=0.01)
    assert fit.intercept == pytest.approx(-0.7, abs=0.03)


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_against_scikit_learn(method: cal.Method) -> None:
    scores, labels = simulate(400, 0.5, 0.3)
    model = LogisticRegression(C=1e9, tol=1e-10).fit(scores[:, None] * 0.7 + 0.1, labels)
    margins = model.decision_function(scores[:, None])
    oracle_method = {"platt": "sigmoid", "temperature": "temperature"}[method]
    oracle = CalibratedClassifierCV(FrozenEstimator(model), method=oracle_method).fit(
        scores[:, None], labels
    )
    fit = cal.fit_calibration(margins, labels, method, prior=None, smooth=method == "platt")
    expected = oracle.predict_proba(scores[:, None])[:, 1]
    np.testing.assert_allclose(fit.probability(margins), expected, atol=2e-4)


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_separable_scores_stay_finite_and_scale_free(method: cal.Method) -> None:
    scores = np.concatenate([np.linspace(-3, -1, 20), np.linspace(1, 3, 30)])
    labels = (scores > 0).astype(int)
    fit = cal.fit_calibration(scores, labels, method)
    p = fit.probability(scores)
    assert 0.8 < p[labels == 1].min() < p.max() < 1
    np.testing.assert_allclose(
        cal.fit_calibration(1e4 * scores, labels, method).probability(1e4 * scores), p, atol=1e-6
    )


def test_scores_that_point_the_wrong_way_are_not_turned_around() -> None:
    scores, labels = simulate(500, -2.0)
    fit = cal.fit_calibration(scores, labels)
    assert fit.slope == 0
    np.testing.assert_allclose(fit.probability(scores), 0.5, atol=1e-3)


def test_prior_is_half_by_default_and_can_be_restated() -> None:
    scores, labels = simulate(100_000, 1.0, -2.0)
    balanced = cal.fit_calibration(scores, labels)
    as_found = cal.fit_calibration(scores, labels, prior=None)
    assert as_found.prior == pytest.approx(labels.mean())
    np.testing.assert_allclose(
        balanced.probability(scores, prior=as_found.prior), as_found.probability(scores), atol=0.01
    )


def test_calibrated_scores_are_rarely_rejected_and_stretched_ones_always() -> None:
    rejected = 0
    for seed in range(60):
        scores, labels = simulate(300, seed=seed)
        error = cal.calibration_error(expit(scores), labels, prior=None, draws=200, seed=seed)
        rejected += error.p_value <= 0.05
        assert error.low <= error.ece <= error.high
        stretched = cal.calibration_error(
            expit(4 * scores), labels, prior=None, draws=200, seed=seed
        )
        assert stretched.p_value < 0.02
        assert stretched.ece > stretched.null_high
    assert rejected <= 8  # 3 expected; more than 8 in 60 has a probability of 0.3%


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_probabilities_that_are_all_too_low_do_not_raise_the_chance_level(share: float) -> None:
    """Labels drawn from them hold few fakes, which must not be weighed up to the prior."""
    rng = np.random.default_rng(5)
    labels = (rng.random(600) < share).astype(int)
    scores = rng.normal(labels - 0.5, 1.0)  # log-likelihood ratio of N(.5, 1) to N(-.5, 1)
    fair, low = (
        cal.calibration_error(expit(scores - shift), labels, draws=400) for shift in (0, 2)
    )
    assert fair.p_value > 0.05 and low.ece > 0.3
    assert low.p_value < 0.01 and low.null_high < fair.null_high + 0.03


def test_calibration_error_estimates_the_true_error() -> None:
    scores, labels = simulate(20_000)
    stated = expit(2 * scores)
    truth = float(np.abs(expit(scores) - stated).mean())
    error = cal.calibration_error(stated, labels, prior=None, bins=30, draws=100)
    assert error.ece == pytest.approx(truth, abs=0.01)
    assert error.low < truth < error.high + 0.005


def test_prior_weighting_makes_an_unbalanced_test_set_fair() -> None:
    """Probabilities stated for half fakes, judged on a set with 1 fake in 8: calibrated all the
    same.
    """
    rng = np.random.default_rng(3)
    labels = (rng.random(8000) < 0.125).astype(int)
    scores = rng.normal(2 * labels - 1, 1.0)  # log-likelihood ratio of N(1,1) to N(-1,1) is 2 s
    fair = cal.calibration_error(expit(2 * scores), labels, prior=0.5, bins=10, draws=200)
    unfair = cal.calibration_error(expit(2 * scores), labels, prior=None, bins=10, draws=200)
    assert fair.ece < 0.02
    assert unfair.ece > 0.05
    assert unfair.p_value < 0.01
    diagram = cal.reliability(expit(2 * scores), labels)
    assert (
        (diagram["band_low"] <= diagram["share"]) & (diagram["share"] <= diagram["band_high"])
    ).sum() >= 8


def test_interval_widens_when_images_come_in_groups() -> None:
    scores, labels = simulate(200, seed=5)
    p, y = np.repeat(expit(scores), 6), np.repeat(labels, 6)
    alone = cal.calibration_error(p, y, bins=8, draws=300)
    grouped = cal.calibration_error(p, y, groups=np.repeat(np.arange(200), 6), bins=8, draws=300)
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_reliability_counts_every_image_once() -> None:
    scores, labels = simulate(503)
    diagram = cal.reliability(expit(scores), labels, bins=10, prior=None)
    assert diagram["n"].sum() == 503
    assert diagram["n_fake"].sum() == labels.sum()
    assert diagram["n"].max() - diagram["n"].min() <= 1
    assert (diagram["share_low"] <= diagram["share"]).all() and (
        diagram["share"] <= diagram["share_high"]
    ).all()
    tied = cal.reliability(np.where(scores > 0, 0.8, 0.2), labels, bins=10)
    assert len(tied) == 2


def test_false_alarm_rate_holds_on_fresh_reals() -> None:
    rng = np.random.default_rng(0)
    rates, covered = [], 0
    for _ in range(400):
        fit = cal.false_alarm_threshold(rng.gumbel(size=59), 0.05)
        true = float(-np.expm1(-np.exp(-fit.threshold)))  # Gumbel survival
        rates.append(true)
        covered += fit.low <= true <= fit.high
    assert np.mean(rates) == pytest.approx(0.05, abs=0.004)
    assert 365 <= covered <= 395


def test_too_few_reals_give_the_nearest_rate_and_say_so() -> None:
    limit = cal.nearest_false_alarm_threshold(np.arange(12.0), 0.05)
    assert limit.threshold == 11 and limit.rate == pytest.approx(1 / 13)
    assert limit.note == "5.0% needs 19 real images, there are 12: 7.7% instead"
    assert cal.nearest_false_alarm_threshold(np.arange(19.0), 0.05).note == ""


def test_a_band_takes_the_nearest_rate_of_its_rarer_class() -> None:
    scores, labels = np.arange(60.0), np.repeat([0, 1], [48, 12])
    band = cal.nearest_abstention_band(scores, labels, 0.05)
    assert band.rate == cal.nearest_rate(0.05, 12) and band.asked == 0.05
    assert band.note == cal.rate_note(0.05, 12, "fakes")
    assert cal.nearest_abstention_band(scores, labels, 0.1).note == ""


def test_false_alarm_rate_needs_enough_reals() -> None:
    assert cal.false_alarm_threshold(np.arange(19.0), 0.05).threshold == 18
    with pytest.raises(AigiError, match="at least 99 real"):
        cal.false_alarm_threshold(np.arange(98.0), 0.01)
    with pytest.raises(AigiError, match="between 0 and 1"):
        cal.false_alarm_threshold(np.arange(98.0), 0)


def test_abstention_band_keeps_both_errors_at_the_rate() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 2000)
    scores = rng.normal(labels * 1.5, 1)
    band = cal.abstention_band(scores, labels, 0.05)
    fresh = rng.normal(labels * 1.5, 1)
    verdict = band.verdict(fresh)
    assert (verdict[labels == 0] == "fake").mean() == pytest.approx(0.05, abs=0.015)
    assert (verdict[labels == 1] == "real").mean() == pytest.approx(0.05, abs=0.015)
    assert 0.2 < (verdict == "uncertain").mean() < 0.8
    assert band.no_band == ""
    apart = cal.abstention_band(scores + 20 * labels, labels, 0.05)
    assert "2,000 real images, 2,000 fakes" in apart.no_band
    assert apart.low == apart.high
    assert (apart.verdict(fresh + 20 * labels) == np.where(labels, "fake", "real")).mean() > 0.999


def test_best_threshold_is_the_best_of_all() -> None:
    for seed in range(20):
        scores, labels = simulate(37, 0.8, seed=seed)
        scores = np.round(scores, 1)  # ties
        ours = balanced_accuracy_score(labels, scores > cal.best_threshold(scores, labels))
        every = [balanced_accuracy_score(labels, scores > t) for t in np.r_[-9, np.unique(scores)]]
        assert ours == pytest.approx(max(every), abs=1e-12)


def test_operating_point_and_its_interval() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [400, 100])
    scores = rng.normal(labels * 2.0, 1)
    point = cal.operating_point(scores, labels, 1.0)
    assert point["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, scores > 1.0)
    )
    spread = np.sqrt(0.84 * 0.16 / 100)
    width = point["detection_rate_high"] - point["detection_rate_low"]
    assert width == pytest.approx(2 * 1.96 * spread, rel=0.25)


def test_ensemble_beats_its_noisy_members_and_ignores_a_useless_one() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 4000)
    signal = rng.normal(2 * labels - 1, 1.5, (4, 4000))
    signal[1] *= 100  # another scale
    signal[3] = rng.normal(size=4000) - 0.5 * labels  # points the wrong way
    fit, test = slice(0, 2000), slice(2000, None)
    ensemble = cal.fit_ensemble(signal[:, fit], labels[fit])
    assert ensemble.members[3].slope == 0
    p = ensemble.probability(signal[:, test])
    accuracy = ((p > 0.5) == labels[test]).mean()
    for row, member in zip(signal[:3, test], ensemble.members, strict=False):
        assert accuracy > ((member.probability(row) > 0.5) == labels[test]).mean() + 0.03
    assert cal.calibration_error(p, labels[test], bins=10, draws=100).ece < 0.04
    with pytest.raises(AigiError, match="has 4 detectors"):
        ensemble.probability(signal[:2])


def test_group_weights_draw_groups_whole_and_keep_the_strata_sizes() -> None:
    groups = np.array(["a", "a", "b", "c", "c", "d"])
    strata = np.array([0, 0, 0, 1, 1, 1])
    weights = group_weights(groups, 200, strata=strata)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 2]].sum(1) == 2).all() and (weights[:, [3, 5]].sum(1) == 2).all()
    assert weights.mean() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: cal.fit_calibration(np.zeros(4), np.zeros(4)), "need real and fake"),
        (lambda: cal.fit_calibration(np.array([0, np.nan]), np.array([0, 1])), "must be finite"),
        (lambda: cal.fit_calibration(np.zeros(3), np.array([0, 1])), "one score for each"),
        (lambda: cal.fit_calibration(np.zeros(2), np.array([0, 1]), prior=1.0), "prior"),
        (lambda: cal.fit_calibration(np.zeros(2), np.array([0, 1]), "isotonic"), "isotonic"),  # type: ignore[arg-type]
        (
            lambda: cal.calibration_error(np.array([0, 3.0]), np.array([0, 1])),
            "calibrate the scores",
        ),
        (
            lambda: cal.reliability(logit(np.array([0.2, 0.9])), np.array([0, 1])),
            "Probabilities lie",
        ),
        (lambda: cal.fit_ensemble(np.zeros((0, 2)), np.array([0, 1])), "at least one detector"),
        (lambda: group_weights(np.array([]), 5), "no images"),
    ],
)
def test_bad_input_is_one_clear_sentence(call: object, says: str) -> None:
    with pytest.raises(AigiError, match=says):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("prior", [0.5, None])
@pytest.mark.parametrize("slope", [1.0, 1.3])
def test_the_error_of_very_many_images_is_that_of_images_drawn_singly(
    monkeypatch: pytest.MonkeyPatch, slope: float, prior: float | None
) -> None:
    scores, labels = simulate(9_000, 1.0, -0.5, seed=4)
    labels = np.repeat(labels[::3], 3)  # groups of one class, so that a group is one case
    scores = np.repeat(scores[::3], 3) + np.random.default_rng(1).normal(0, 0.1, 9_000)
    given = expit(slope * scores), labels
    options = {"groups": np.arange(9_000) // 3, "prior": prior, "draws": 2_000}
    singly = cal.calibration_error(*given, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(cal, "BINNED", 100)
    blocks = cal.calibration_error(*given, **options)  # type: ignore[arg-type]
    assert blocks.ece == pytest.approx(singly.ece, abs=1e-9) and blocks.bins == singly.bins
    width = singly.high - singly.low
    assert abs(blocks.low - singly.low) < 0.15 * width > abs(blocks.high - singly.high)
    assert blocks.null_mean == pytest.approx(singly.null_mean, rel=0.03)
    assert blocks.null_high == pytest.approx(singly.null_high, rel=0.05)
    assert (blocks.p_value < 0.05) == (singly.p_value < 0.05)
