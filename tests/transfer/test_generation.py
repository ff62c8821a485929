"""Steps against detectability, and the answers to images of one prompt, on planted data."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aigi_core.errors import NotGivenError
from aigi_core.figures.generation import same_answers, step_curves
from aigi_core.manifest import Domains
from aigi_core.transfer.generation import by_steps, same_answer
from benchmarks._small_workspace import make_images

SETS = [("alpha-gan",), ("beta-diff",), ("gamma-diff",), ("delta-ar",)]


def planted(per_class: int = 200, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Two generators are one model at 10 and 50 steps, delta-ar holds both 10 and 50 steps of
    another; more steps are found less. Pairs of images share a prompt, and for gamma-diff the
    prompt decides the answer.
    """
    images = make_images(per_class).assign(model="", steps="")
    number = images.groupby(["pool", "generator"]).cumcount()
    fake = images["label"] == 1
    images["group"] = images["pool"] + images["generator"] + (number // 2).astype(str)
    images["split"] = np.where(number // 2 % 4 < 2, "test", "train")
    images.loc[images["generator"].isin(["beta-diff", "gamma-diff"]), "model"] = "sd"
    images.loc[images["generator"] == "beta-diff", "steps"] = "10"
    images.loc[images["generator"] == "gamma-diff", "steps"] = "50"
    images.loc[images["generator"] == "delta-ar", "steps"] = np.where(number % 4 < 2, "10", "50")[
        images["generator"] == "delta-ar"
    ]
    rng = np.random.default_rng(seed)
    level = np.where(fake, np.where(images["steps"] == "50", 0.2, 1.5), -1.5)
    scores = level + rng.standard_normal((len(SETS), len(images)))
    of_prompt = (images["generator"] == "gamma-diff").to_numpy()
    prompts = pd.factorize(images["group"])[0]
    scores[:, of_prompt] = 2 * rng.standard_normal(prompts.max() + 1)[prompts[of_prompt]]
    return images, scores


def rows_of(table: pd.DataFrame, *keys: str) -> dict[Any, dict[str, Any]]:
    """Rows as values by one or several columns."""
    return {
        (row[keys[0]] if len(keys) == 1 else tuple(row[key] for key in keys)): row
        for row in ({str(k): v for k, v in r.items()} for r in table.to_dict("records"))
    }


def test_domains_know_which_generators_are_settings_of_one_model() -> None:
    images, _ = planted()
    assert Domains.from_images(images).models_of == {"beta-diff": "sd", "gamma-diff": "sd"}
    images.loc[images["generator"] == "delta-ar", "model"] = "sd"
    images.loc[images.index[images["generator"] == "delta-ar"][0], "model"] = "other"
    assert "delta-ar" not in Domains.from_images(images).models_of  # of two models: of none
    assert not Domains.from_images(images.drop(columns="steps")).models_of


def test_more_steps_are_detected_less_by_detectors_of_other_models() -> None:
    images, scores = planted()
    table = rows_of(by_steps(images, scores, SETS), "model", "steps")
    assert list(table) == [("delta-ar", 10), ("delta-ar", 50), ("sd", 10), ("sd", 50)]
    assert [row["n"] for row in table.values()] == [3, 3, 2, 2]
    assert table["sd", 10]["n_fake"] == 100 and table["delta-ar", 10]["n_fake"] == 50
    assert np.isnan(table["sd", 10]["change"])
    for model in ("delta-ar", "sd"):
        row = table[model, 50]
        assert row["change_low"] <= row["change"] <= row["change_high"] < 0
    # Oracle: the mean over both detectors of the balanced accuracy on these images.
    domain = (images["split"] == "test") & (images["pool"] == "general")
    fakes = scores[[0, 3]][:, domain & (images["generator"] == "gamma-diff")] > 0
    reals = scores[[0, 3]][:, domain & (images["label"] == 0)] <= 0
    expected = (fakes.mean() + reals.mean()) / 2
    assert table["sd", 50]["value"] == pytest.approx(expected)
    assert table["sd", 50]["low"] < expected < table["sd", 50]["high"]


def test_a_prompt_that_decides_the_answer_is_seen_and_independent_answers_are_not() -> None:
    images, scores = planted()
    table = rows_of(same_answer(images, scores, SETS), "name")
    assert table["gamma-diff"]["value"] == 1 and table["gamma-diff"]["n"] == 50
    assert table["gamma-diff"]["images"] == 100 and table["gamma-diff"]["detectors"] == 2
    assert table["gamma-diff"]["change_low"] > 0.3
    for name in ("alpha-gan", "beta-diff"):
        assert table[name]["change_low"] < 0 < table[name]["change_high"]
    # Oracle: all pairs, one by one.
    mine = (images["split"] == "test") & (images["generator"] == "beta-diff")
    groups, flagged = images.loc[mine, "group"].to_numpy(), scores[[0, 3]][:, mine] > 0
    same = (flagged[:, :, None] == flagged[:, None]).mean(axis=0)
    alike = groups[:, None] == groups
    pairs = alike & ~np.eye(len(groups), dtype=bool)
    assert table["beta-diff"]["value"] == pytest.approx(same[pairs].mean())
    assert table["beta-diff"]["different_prompts"] == pytest.approx(same[~alike].mean())


def test_intervals_of_agreement_hold_what_they_promise() -> None:
    holds = []
    for seed in range(30):
        images, scores = planted(80, seed)
        row = rows_of(same_answer(images, scores, SETS, seed=seed), "name")["beta-diff"]
        holds.append(row["change_low"] <= 0 <= row["change_high"])
    assert np.mean(holds) >= 0.85


def test_without_columns_or_other_detectors_it_says_what_is_missing(tmp_path: Path) -> None:
    images, scores = planted()
    with pytest.raises(NotGivenError, match="no column 'steps'"):
        by_steps(images.drop(columns="steps"), scores, SETS)
    with pytest.raises(NotGivenError, match="several numbers of steps"):
        by_steps(images.assign(steps="50"), scores, SETS)
    with pytest.raises(NotGivenError, match="several numbers of steps"):
        by_steps(images.assign(model="one"), scores, SETS)
    with pytest.raises(NotGivenError, match="groups of several test images"):
        same_answer(images.assign(group=""), scores, SETS)
    gaps = images.assign(model=None, steps=images["steps"].replace("", None))
    assert set(by_steps(gaps, scores, SETS)["model"]) == {"delta-ar"}


def test_figures_say_what_they_show() -> None:
    images, scores = planted()
    steps = step_curves(by_steps(images, scores, SETS))
    assert "sd from" in steps.layout.meta["alt"] and "at 50" in steps.layout.meta["alt"]
    prompts = same_answers(same_answer(images, scores, SETS))
    assert "4 generators" in prompts.layout.meta["alt"]
