"""The panel: calibrated on images its scores never saw, and the ensemble as one linear detector."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.calibration import uncertainty
from aigi_core.calibration.probabilities import fit_calibration, fit_ensemble
from aigi_core.calibration.uncertainty import calibration_draws
from aigi_core.detectors import Detector, HeadsView, score_detectors, train, train_residual
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError
from aigi_core.explain.reading import scores
from aigi_core.inspection.known import reliability_on_test
from aigi_core.inspection.panel import Panel, build_panel
from aigi_core.inspection.rules import RULES
from aigi_core.manifest import TOGETHER
from aigi_core.workspace import Workspace
from tests.factory import with_images


@pytest.fixture(scope="module")
def panel(synthetic: Workspace) -> Panel:
    return build_panel(synthetic)


def test_calibrations_are_those_of_scores_that_never_saw_the_images(
    synthetic: Workspace, panel: Panel
) -> None:
    rows = np.flatnonzero(synthetic.domains.split == "val")
    labels = synthetic.domains.labels[rows].astype(int)
    detectors = train(synthetic, synthetic.domains.generators)
    unseen = np.stack(
        [
            train(synthetic, [d.training_set], protocol=Protocol((d.C,), refit=False))[
                0
            ].decision_function(synthetic, rows)
            for d in detectors
        ]
    )
    expected = fit_ensemble(unseen, labels)
    assert panel.names == (TOGETHER, *synthetic.domains.generators)
    for result, member in zip(panel.calibrations, [expected.whole, *expected.members], strict=True):
        assert (result.slope, result.intercept) == pytest.approx(
            (member.slope, member.intercept), abs=1e-6
        )
    # Fitted on scores of the final detectors, which have seen these images, the slopes would be
    # others.
    seen = [
        fit_calibration(row, labels).slope for row in score_detectors(detectors, synthetic, rows)
    ]
    assert not np.allclose(seen, [member.slope for member in expected.members], rtol=0.02)


def test_readings_are_the_logits(synthetic: Workspace, panel: Panel) -> None:
    rows = np.arange(0, len(synthetic.images), 17)
    np.testing.assert_allclose(
        scores(synthetic, panel.readings, rows), panel.logits(synthetic, rows), atol=1e-9
    )
    raw = score_detectors(panel.detectors, synthetic, rows)
    np.testing.assert_allclose(panel.logits(synthetic, rows)[1:], raw)
    np.testing.assert_allclose(
        [panel.probability(0, logit)[0] for logit in panel.logits(synthetic, rows)[0]],
        panel.ensemble.probability(raw),
    )


def test_mixed_views_and_detectors_of_heads(synthetic: Workspace) -> None:
    detectors = [
        train(synthetic, ["beta-diff"], HeadsView(((0, 0), (1, 2))))[0],
        train(synthetic, ["alpha-gan"])[0],
        train_residual(synthetic, ["delta-ar"])[0],
    ]
    panel, rows = build_panel(synthetic, detectors), np.array([3, 40, 99])
    np.testing.assert_allclose(
        scores(synthetic, panel.readings, rows), panel.logits(synthetic, rows), atol=1e-9
    )


def test_a_detector_from_elsewhere_is_calibrated_as_it_is(synthetic: Workspace) -> None:
    own = train(synthetic, ["beta-diff"])[0]
    foreign = dataclasses.replace(own, provenance=own.provenance | {"workspace_digest": "another"})
    rows = np.flatnonzero(synthetic.domains.split == "val")
    panel = build_panel(synthetic, [foreign])
    assert panel.names == ("beta-diff",)
    np.testing.assert_allclose(panel.held_out[0], own.decision_function(synthetic, rows))
    assert not np.allclose(build_panel(synthetic, [own]).held_out[0], panel.held_out[0])


def test_a_saved_detector_says_the_same(synthetic: Workspace, tmp_path: Path) -> None:
    detector = train(synthetic, ["beta-diff"])[0]
    detector.save(tmp_path / "d")
    a, b = (
        build_panel(synthetic, [detector]),
        build_panel(synthetic, [Detector.load(tmp_path / "d")]),
    )
    assert a.calibrations == b.calibrations


def test_verdicts_follow_band_and_rate(synthetic: Workspace, panel: Panel) -> None:
    for rate in (0.1, 0.2):
        band = panel.band(0, rate)
        assert (band.rate, band.note) == (rate, "")
        for logit, verdict in ((band.high + 1e-6, "fake"), (band.low, "real")):
            table = panel.verdicts(np.full(len(panel.names), logit), rate)
            assert table["verdict"][0] == verdict
        reals = panel.held_out[0][panel.labels == 0]
        assert (reals > band.high).mean() <= rate
    fewest = int(np.bincount(panel.labels).min())
    few = panel.band(0, 0.01)
    assert few.rate == pytest.approx(1 / (fewest + 1)) and few.asked == 0.01
    assert f"1.0% needs 99 real images, there are {fewest}" in few.note
    assert (panel.verdicts(np.zeros(len(panel.names)), 0.01)["rate"] == few.rate).all()


def test_judges_are_the_detectors_on_which_the_band_was_set(
    synthetic: Workspace, panel: Panel
) -> None:
    """Detectors fitted again on the validation images would score these images otherwise."""
    rows = np.flatnonzero(synthetic.domains.split == "val")
    np.testing.assert_allclose(panel.logits(synthetic, rows), panel.held_out, atol=1e-9)
    refitted = score_detectors(train(synthetic, synthetic.domains.generators), synthetic, rows)
    assert not np.allclose(panel.logits(synthetic, rows)[1:], refitted)
    for rule in RULES:
        again = panel.joined_by(rule)
        np.testing.assert_allclose(again.logits(synthetic, rows), again.held_out, atol=1e-6)


def test_draws_of_many_images_agree_with_draws_of_single_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 6000)
    values, groups = labels + rng.standard_normal(6000), np.arange(6000) // 3
    singly = calibration_draws(values, labels, groups, 400)
    [whole] = uncertainty.platt_fits(values, labels, np.ones((1, 6000)))
    monkeypatch.setattr(uncertainty, "BINNED", 1000)
    [binned] = uncertainty.platt_fits(values, labels, np.ones((1, 6000)))
    np.testing.assert_allclose(binned, whole, rtol=1e-4)
    blocks = calibration_draws(values, labels, groups, 400)
    fits = uncertainty.platt_fits
    with monkeypatch.context() as plain:
        # begun at zero instead of at the fit of all images
        plain.setattr(uncertainty, "platt_fits", lambda *a, start=None, **k: fits(*a, **k))
        from_zero = calibration_draws(values, labels, groups, 400)
    np.testing.assert_allclose(blocks, from_zero, rtol=1e-7, atol=1e-7)
    assert (blocks != from_zero).any(), "the start is used"
    np.testing.assert_allclose(blocks.mean(axis=0), singly.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(blocks.std(axis=0), singly.std(axis=0), rtol=0.15)


def test_a_detector_without_information_gives_no_verdict(synthetic: Workspace) -> None:
    detector = train(synthetic, ["beta-diff"])[0]
    blind = dataclasses.replace(
        detector, weights=-detector.weights, bias=-detector.bias, provenance={}
    )
    panel = build_panel(synthetic, [blind])
    table = panel.verdicts(np.array([5.0]), 0.2)
    assert table["verdict"][0] == "no verdict" and not table["informative"][0]
    assert table["probability"][0] == pytest.approx(0.5, abs=0.05)


def test_the_prior_shifts_probability_and_interval(panel: Panel) -> None:
    even, rare = panel.probability(1, 0.4, 0.5), panel.probability(1, 0.4, 0.01)
    odds = [p / (1 - p) for p in even]
    np.testing.assert_allclose([p / (1 - p) for p in rare], np.array(odds) / 99, rtol=1e-3)
    assert even[1] < even[0] < even[2]


def test_draws_agree_with_the_fit_on_every_draw() -> None:
    """Each draw against fit_calibration on the images repeated as often as they were drawn."""
    from aigi_core.resampling import group_weights

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    values = 1.5 * labels + rng.standard_normal(120)
    groups = np.arange(120) // 2
    draws = calibration_draws(values, labels, groups, 12, seed=5)
    counts = group_weights(groups, 12, strata=labels, seed=5).astype(int)
    for draw, count in zip(draws, counts, strict=True):
        plain = fit_calibration(np.repeat(values, count), np.repeat(labels, count))
        assert draw == pytest.approx([plain.slope, plain.intercept], abs=2e-4)
    misleading = calibration_draws(-values, labels, groups, 12)
    assert (misleading[:, 0] == 0).all()


def test_intervals_of_probabilities_cover() -> None:
    """Simulated scores whose true calibration is known: 95% intervals hold it in about 95% of 200
    samples.
    """
    rng, covered, n = np.random.default_rng(1), 0, 200
    for trial in range(n):
        labels = np.repeat([0, 1], 60)
        values = rng.standard_normal(120) + 1.0 * labels  # log-odds of the truth: values - 0.5
        draws = calibration_draws(values, labels, np.arange(120), 200, seed=trial)
        low, high = np.quantile(draws[:, 0] * 1.5 + draws[:, 1], [0.025, 0.975])
        covered += bool(low <= 1.0 <= high)
    assert 0.88 <= covered / n <= 0.99


def test_reliability_is_of_test_images(synthetic: Workspace, panel: Panel) -> None:
    bins, error = reliability_on_test(synthetic, panel, 0)
    rows = np.flatnonzero(synthetic.domains.split == "test")
    assert bins["n"].sum() == error.n == len(rows)
    assert bins["n_fake"].sum() == synthetic.domains.labels[rows].sum()


def test_a_missing_class_is_one_sentence(synthetic: Workspace, tmp_path: Path) -> None:
    def no_real_validation(table: pd.DataFrame) -> None:
        table.loc[(table["split"] == "val") & (table["label"] == 0), "split"] = "test"

    broken = Workspace.open(with_images(synthetic.path, tmp_path / "w", no_real_validation))
    with pytest.raises(AigiError, match="validation split"):
        build_panel(broken, [train(synthetic, ["beta-diff"])[0]])
    with pytest.raises(AigiError, match="no detector"):
        build_panel(synthetic, [])
    with pytest.raises(AigiError, match="there are all detectors"):
        build_panel(synthetic).index("nobody")
