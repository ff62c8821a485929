"""Matching removes a planted confound, leaves a real sign alone, and says where it cannot help."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.audit import matching as m
from aigi_core.audit.facts import file_facts
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS, Domains
from aigi_core.transfer import TrainSet
from benchmarks._large_workspace import write_large_workspace
from tests.audit.factory import CLEAN, CONFOUNDED, PARTLY, SIZED, planted_images

IMAGES = planted_images(per_class=200)
DOMAINS = Domains.from_images(IMAGES)
FACTS = file_facts(IMAGES)


def by_format(facts: pd.DataFrame) -> m.Strata:
    """Images of one format."""
    codes = facts["format"].factorize()[0]
    return {name: codes[DOMAINS.rows(name, SPLITS)] for name in DOMAINS.generators}


def format_features(sign: float) -> np.ndarray:
    """Features that show the file's format, and generation with the given strength."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((len(IMAGES), 4))
    X[:, 0] += 3 * (IMAGES["format"] == "PNG")
    X[:, 1] += sign * IMAGES["label"]
    return X


def scorer(X: np.ndarray) -> m.Scorer:
    def score(index: np.ndarray, domains: Domains, train: Sequence[TrainSet]) -> np.ndarray:
        rows = [domains.rows(names, ("train", "val")) for names in train]
        model = LogisticRegression(C=1.0, class_weight="balanced")
        return np.stack(
            [
                model.fit(X[index][fit], domains.labels[fit]).decision_function(X[index])
                for fit in rows
            ]
        )

    return score


def test_matching_makes_the_confound_equal_and_keeps_pools_splits_and_groups() -> None:
    strata = by_format(FACTS)
    result = m.match(DOMAINS, strata)
    assert set(result.domains.generators) == {CLEAN, CONFOUNDED, PARTLY, SIZED}
    for generator in result.domains.generators:
        for split in SPLITS:
            rows = result.domains.rows(generator, split)
            formats = IMAGES["format"].to_numpy()[result.index[rows]]
            labels = result.domains.labels[rows]
            assert sorted(formats[labels == 1]) == sorted(formats[labels == 0])
            assert len(np.unique(result.index[rows])) == len(rows)
    np.testing.assert_array_equal(result.domains.split, DOMAINS.split[result.index])
    np.testing.assert_array_equal(result.domains.group, DOMAINS.group[result.index])
    table = result.table.set_index(["generator", "split"])
    reals = (IMAGES["label"] == 0) & (IMAGES["pool"] == "general") & (IMAGES["format"] == "PNG")
    assert table.loc[(CONFOUNDED, "test"), "kept"] == (reals & (IMAGES["split"] == "test")).sum()


def test_the_control_has_the_same_size_but_not_the_balance() -> None:
    strata = by_format(FACTS)
    matched, control = m.match(DOMAINS, strata), m.match(DOMAINS, strata, alike=False, seed=1)
    assert len(matched.index) == len(control.index)
    rows = control.domains.rows(CONFOUNDED, SPLITS)
    png = IMAGES["format"].to_numpy()[control.index[rows]] == "PNG"
    labels = control.domains.labels[rows]
    assert png[labels == 1].mean() == 1 and png[labels == 0].mean() < 0.5


def matched(sign: float, strata: m.Strata) -> m.MatchedMatrices:
    """The confounded generator's detectors before and after matching."""
    score = scorer(format_features(sign))
    sets = [(name,) for name in DOMAINS.generators]
    full = m.own_matrix(score(np.arange(len(DOMAINS.labels)), DOMAINS, sets), DOMAINS, draws=300)
    return m.matched_matrices(score, DOMAINS, {CONFOUNDED: strata[CONFOUNDED]}, full, draws=300)


def test_removing_the_confound_removes_the_accuracy_it_gave() -> None:
    strata = by_format(FACTS)
    result = matched(0.0, strata)
    cell = result.change.iloc[0]
    assert cell["full"] > 0.75 and cell["control"] > 0.7
    assert cell["change"] < -0.2 and cell["high"] < 0
    low, high = result.matched.interval("balanced_accuracy")
    assert low[0, 0] <= 0.5 <= high[0, 0]
    [mean] = result.means().to_dict("records")  # one generator: nothing is out of domain
    assert mean["cells"] == "in-domain" and mean["n"] == 1
    assert [mean[f"change{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [cell[e] for e in ("change", "low", "high")]
    )
    assert [mean["matched_low"], mean["matched_high"]] == pytest.approx([low[0, 0], high[0, 0]])


def test_matched_images_are_never_in_memory_all_together(tmp_path: Path) -> None:
    large = write_large_workspace(tmp_path / "w", 80_000, 8, 32)
    names = large.domains.generators
    chosen = m.match(
        large.domains,
        {name: np.zeros(len(large.domains.rows(name, SPLITS)), int) for name in names},
    )
    score = m.detector_scorer(large, Protocol(C=(1.0,)))
    tracemalloc.start()
    try:
        score(chosen.index, chosen.domains, [(name,) for name in names])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(chosen.index) * 32 * 8  # one copy in float64


def test_a_real_sign_survives_matching() -> None:
    strata = by_format(FACTS)
    result = matched(4.0, strata)
    assert result.matched.values["balanced_accuracy"][0, 0] > 0.85


def test_within_strata_unmasks_a_detector_of_the_format() -> None:
    strata = by_format(FACTS)
    png = np.where(IMAGES["format"] == "PNG", 1.0, -1.0) + 0.01 * np.random.default_rng(
        0
    ).standard_normal(len(IMAGES))
    truth = (2.0 * IMAGES["label"] - 1).to_numpy() * np.where(np.arange(len(IMAGES)) % 9, 1, -1)
    table = m.within_strata(np.stack([png, truth]), DOMAINS, [PARTLY, CLEAN], strata, draws=200)
    table = table.set_index(["train", "test"])
    masked = table.loc[(PARTLY, PARTLY)]
    assert masked["accuracy"] > 0.7
    assert masked["within"] == pytest.approx(
        0.5, abs=1e-9
    )  # called by format: within a format all or none
    honest = table.loc[(CLEAN, PARTLY)]
    assert honest["within"] == pytest.approx(8 / 9, abs=0.05)
    assert honest["within_low"] < 8 / 9 < honest["within_high"]
    assert honest["covered"] == 1 and honest["strata"] == 2


def test_within_strata_equals_the_plain_accuracy_where_there_is_one_stratum() -> None:
    scores = np.random.default_rng(0).standard_normal((1, len(IMAGES)))
    strata = {name: np.zeros(len(DOMAINS.rows(name, SPLITS)), int) for name in DOMAINS.generators}
    table = m.within_strata(scores, DOMAINS, [CLEAN], strata, draws=100)
    np.testing.assert_allclose(table["accuracy"], table["within"])
    np.testing.assert_allclose(table["accuracy_low"], table["within_low"], atol=0.05)


def test_no_overlap_is_reported_not_hidden() -> None:
    facts = FACTS.assign(format=np.where(IMAGES["label"] == 1, "PNG", "JPEG"))
    strata = by_format(facts)
    with pytest.raises(AigiError, match="no stratum"):
        m.match(DOMAINS, strata)
    table = m.within_strata(np.zeros((1, len(IMAGES))), DOMAINS, [CLEAN], strata, draws=50)
    assert (
        table["within"].isna().all()
        and (table["covered"] == 0).all()
        and (table["n_fake"] == 0).all()
    )
    mixed = m.match(DOMAINS, {**by_format(FACTS), CLEAN: strata[CLEAN]})
    assert CLEAN not in mixed.domains.generators
    assert "0 in test" in mixed.left_out[CLEAN]


def test_propensity_strata_balance_several_facts_at_once() -> None:
    strata = m.propensity_strata(FACTS, DOMAINS)
    rows = DOMAINS.rows(PARTLY, SPLITS)
    png = (IMAGES["format"].to_numpy() == "PNG")[rows]
    labels = DOMAINS.labels[rows]
    before = png[labels == 1].mean() - png[labels == 0].mean()
    result = m.match(DOMAINS, strata)
    rows = result.domains.rows(PARTLY, SPLITS)
    png = (IMAGES["format"].to_numpy() == "PNG")[result.index[rows]]
    labels = result.domains.labels[rows]
    after = png[labels == 1].mean() - png[labels == 0].mean()
    assert before > 0.4
    assert abs(after) < 0.25 * before
    assert SIZED in result.left_out  # nothing real is 512 px wide


def test_many_groups_are_dealt_into_folds_whole_and_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(1200), rng.integers(1, 5, 1200)).astype(str)
    labels = (rng.random(len(groups)) < 0.2).astype(int)
    smallest = min(len(np.unique(groups[labels == label])) for label in (0, 1))
    given = list(m._folds(labels, groups, smallest, 0))
    monkeypatch.setattr(m, "DEALT", 1000)
    dealt = list(m._folds(labels, groups, smallest, 0))
    for folds in (given, dealt):
        assert len(folds) == 5 and (np.sum(folds, axis=0) == 1).all()
        for name in ("0", "700"):
            assert sum(bool(fold[groups == name].any()) for fold in folds) == 1
        counts = np.array([np.bincount(labels[fold], minlength=2) for fold in folds])
        assert (np.abs(counts / counts.mean(axis=0) - 1) < 0.04).all()
    assert not np.array_equal(given, dealt)
    assert np.array_equal(dealt, list(m._folds(labels, groups, smallest, 0)))


def test_bad_input() -> None:
    with pytest.raises(AigiError, match="scores of 1 detector "):
        m.within_strata(np.zeros((2, 5)), DOMAINS, [CLEAN], {})
