"""Thresholds and calibration cell by cell, on scores whose shift between generators is planted."""

from __future__ import annotations

import numpy as np
import pytest

from aigi_core.calibration import thresholds as t
from aigi_core.detectors import detector, training
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.workspace import Workspace
from tests.factory import make_images

IMAGES = make_images(per_class=400)
DOMAINS = Domains.from_images(IMAGES)
ALPHA, BETA = "alpha-gan", "beta-diff"


def shifted_scores() -> np.ndarray:
    """Log-odds exact for alpha-gan (pool faces); all images of the pool 'general' score 3 too
    high.
    """
    labels = IMAGES["label"].to_numpy()
    scores = np.random.default_rng(0).normal(2 * labels - 1, 1) * 2
    return (scores + 3 * (IMAGES["pool"] == "general").to_numpy())[None]


def test_a_shift_ruins_the_source_threshold_and_reals_alone_mend_it() -> None:
    table = t.threshold_table(shifted_scores(), DOMAINS, [ALPHA], [ALPHA, BETA], rate=0.1)
    table = table.set_index(["test", "rule"])
    assert table.loc[(ALPHA, "source"), "balanced_accuracy"] == pytest.approx(0.84, abs=0.05)
    assert table.loc[(BETA, "source"), "balanced_accuracy"] < 0.75
    assert table.loc[(BETA, "false alarms"), "balanced_accuracy"] > 0.78
    assert table.loc[(BETA, "source"), "false_alarm_rate_low"] > 0.5
    alarms = table.loc[(BETA, "false alarms")]
    assert alarms["false_alarm_rate_low"] <= 0.1 + 0.05 and alarms["false_alarm_rate"] < 0.2
    assert (
        alarms["n_threshold"]
        == (
            (IMAGES["pool"] == "general") & (IMAGES["label"] == 0) & (IMAGES["split"] == "val")
        ).sum()
    )
    assert (
        table["balanced_accuracy"].xs("best", level="rule")
        >= table["balanced_accuracy"].xs("source", level="rule")
    ).all()
    assert (
        (table["balanced_accuracy_low"] <= table["balanced_accuracy"])
        & (table["balanced_accuracy"] <= table["balanced_accuracy_high"])
    ).all()


def test_a_rate_that_too_few_reals_can_set_is_reported() -> None:
    table = t.threshold_table(shifted_scores(), DOMAINS, [ALPHA], [ALPHA], rate=0.001).set_index(
        "rule"
    )
    reals = (IMAGES["pool"] == "faces") & (IMAGES["label"] == 0) & (IMAGES["split"] == "val")
    assert np.isfinite(table.loc["false alarms", "balanced_accuracy"])
    assert (
        table.loc["false alarms", "note"] == f"0.1% needs 999 real images, there are {reals.sum()}:"
        f" {1 / (reals.sum() + 1):.1%} instead"
    )
    assert np.isfinite(table.loc["source", "balanced_accuracy"])


def test_calibration_holds_at_home_and_fails_under_the_shift() -> None:
    scores = 4 * shifted_scores()  # four times too sure
    table = t.calibration_table(scores, DOMAINS, [ALPHA], [ALPHA, BETA], draws=100).set_index(
        ["test", "method"]
    )
    home = table.xs(ALPHA, level="test")
    assert home.loc["none", "p_value"] < 0.02
    assert home.loc[["temperature", "platt"], "ece"].max() < home.loc["none", "ece"]
    assert home.loc["platt", "ece"] < home.loc["platt", "null_high"] + 0.03
    assert (table.xs(BETA, level="test")["p_value"] < 0.02).all()
    assert home.loc["platt", "n_calibration"] == len(DOMAINS.rows(ALPHA, "val"))


def test_held_out_scores_never_fit_validation_images(synthetic: Workspace) -> None:
    """Changing the labels' place among validation images would change a refit, but not these
    scores.
    """
    sets = [("alpha-gan",)]
    held = t.held_out_scores(synthetic, sets, protocol=Protocol(C=(1.0,)))
    assert held.shape == (1, len(synthetic.domains))
    refitted = training.train(synthetic, sets, None, Protocol(C=(1.0,), refit=True))
    plain = training.train(synthetic, sets, None, Protocol(C=(1.0,), refit=False))
    np.testing.assert_allclose(held, detector.score_detectors(plain, synthetic))
    assert not np.allclose(held, detector.score_detectors(refitted, synthetic))


def test_bad_input() -> None:
    with pytest.raises(AigiError, match="scores of 1 detector "):
        t.threshold_table(np.zeros((2, 4)), DOMAINS, [ALPHA])
    with pytest.raises(AigiError, match="no calibration 'isotonic'"):
        t.calibration_table(shifted_scores(), DOMAINS, [ALPHA], methods=["isotonic"])


def test_one_cells_reliability_is_the_tables(synthetic: Workspace) -> None:
    domains = synthetic.domains
    scores = t.held_out_scores(synthetic, ["beta-diff"])
    for method in ("none", "temperature", "platt"):
        bins, error = t.cell_reliability(
            scores[0], domains, "beta-diff", "gamma-diff", method, draws=50
        )
        row = t.calibration_table(
            scores, domains, ["beta-diff"], ["gamma-diff"], methods=[method], draws=50
        ).iloc[0]
        assert vars(error) == {name: row[name] for name in vars(error)}
        assert bins["n"].sum() == error.n == len(domains.rows("gamma-diff", "test"))
    with pytest.raises(
        AigiError, match="no calibration 'isotonic': choose none, temperature, platt"
    ):
        t.cell_reliability(scores[0], domains, "beta-diff", "gamma-diff", "isotonic")
