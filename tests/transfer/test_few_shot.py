"""Curves over samples of the training images of a small workspace."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.transfer import few_shot
from aigi_core.transfer.few_shot import few_shot_curves
from aigi_core.workspace import Workspace


def test_curves_rise_and_say_what_is_missing(synthetic: Workspace) -> None:
    result = few_shot_curves(
        synthetic, ["beta-diff", "alpha-gan"], (5, 20, 50, None), repeats=6, draws=20
    )
    table = result.table.set_index(["train", "size", "cells"])
    assert result.left_out == (("beta-diff", 50, 28), ("alpha-gan", 50, 28))
    assert set(table.index.get_level_values("size")) == {5, 20, 0}
    means = result.table[result.table["cells"] == "in-domain"].groupby("size")["value"].mean()
    assert means[5] < means[20] < means[0] + 0.05
    row = table.loc[("beta-diff", 20, "ood")]
    assert row["low"] < row["value"] < row["high"] and row["spread"] > 0 and row["repeats"] == 6
    assert (row["n_real"], row["n_fake"]) == (20, 20)
    everything = table.loc[("beta-diff", 0, "in-domain")]
    assert (
        everything["repeats"] == 1 and np.isnan(everything["spread"]) and everything["n_fake"] == 28
    )
    worst, mean = (
        table.loc[("beta-diff", 20, "worst ood"), "value"],
        table.loc[("beta-diff", 20, "ood"), "value"],
    )
    assert worst < mean


def test_a_sample_is_all_that_its_detector_sees(synthetic: Workspace) -> None:
    rng = np.random.default_rng(0)
    fit, held_out = few_shot._sample(
        {0: np.arange(30), 1: np.arange(100, 140)}, np.arange(140), 10, rng
    )
    both = np.concatenate([fit, held_out])
    assert len(both) == len(set(both)) == 20 and len(held_out) == 4
    assert ((both < 30).sum(), (held_out < 30).sum()) == (10, 2)


def test_the_penalty_is_not_chosen_on_the_groups_that_were_fitted() -> None:
    rng, pairs = np.random.default_rng(0), {0: np.arange(40), 1: np.arange(40, 80)}
    scenes = np.arange(80) % 40 // 2  # four images of each scene, two of each class
    for _ in range(20):
        fit, held_out = few_shot._sample(pairs, scenes, 10, rng)
        assert not set(scenes[fit]) & set(scenes[held_out])
        assert len(fit) + len(held_out) == 20
        for rows in pairs.values():
            assert 2 <= np.isin(held_out, rows).sum() <= 4
    for one in (np.zeros(80, int), np.arange(80) // 40):  # nothing can be spared whole
        fit, held_out = few_shot._sample(pairs, one, 10, rng)
        assert [np.isin(held_out, rows).sum() for rows in pairs.values()] == [2, 2] and len(
            fit
        ) == 16


def test_bad_input_is_named(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="five images per class"):
        few_shot_curves(synthetic, ["alpha-gan"], (3,))
    for sizes in ((), (10.5,)):
        with pytest.raises(AigiError, match="whole number"):
            few_shot_curves(synthetic, ["alpha-gan"], sizes)
    with pytest.raises(AigiError, match="None of the training sets has 500"):
        few_shot_curves(synthetic, ["alpha-gan"], (500,))
    with pytest.raises(AigiError, match="no generator 'omega'"):
        few_shot_curves(synthetic, ["omega"])
