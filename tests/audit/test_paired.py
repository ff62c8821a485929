"""Paired differences: content that pairs share cancels, generation stays; against plain oracles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aigi_core.audit.paired import (
    Pairs,
    find_pairs,
    generators_with_pairs,
    paired_heads,
    paired_scores,
    paired_table,
    paired_words,
)
from aigi_core.detectors import train
from aigi_core.detectors.detector import score_detectors
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from tests.factory import with_images


@pytest.fixture(scope="module")
def workspace(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Each fake of alpha-gan has a real image of its number as a partner."""

    def pair(images: pd.DataFrame) -> None:
        faces = images["pool"] == "faces"
        number = images["path"].str.extract(r"(\d+)\.png")[0]
        images.loc[faces, "group"] = "pair " + number[faces]

    target = tmp_path_factory.mktemp("paired") / "w"
    return Workspace.open(with_images(synthetic_path, target, pair))


def test_pairs_are_groups_with_both_classes(workspace: Workspace) -> None:
    pairs = find_pairs(workspace.domains, "alpha-gan")
    assert len(pairs) == 12
    assert len(pairs.rows) == 24
    assert pairs.fake.sum() == 12
    assert generators_with_pairs(workspace.domains) == ("alpha-gan",)
    with pytest.raises(AigiError, match="beta-diff has 0 pairs .* at least 6 are needed"):
        find_pairs(workspace.domains, "beta-diff")


def test_content_shared_within_pairs_cancels() -> None:
    """The unpaired difference is all content, the paired one is what was planted."""
    rng = np.random.default_rng(0)
    n = 40
    content = rng.normal(0, 50, n)
    fake = np.arange(2 * n) >= n
    values = np.concatenate([content, content + 1 + rng.normal(0, 0.1, n)])[None]
    pairs = Pairs("x", ("test",), tuple(map(str, range(n))), np.arange(2 * n), np.r_[:n, :n], fake)
    row = paired_table(pairs, ["score"], values).iloc[0]
    assert row["low"] < 1 < row["high"]
    assert row["high"] - row["low"] < 0.1
    test = stats.ttest_rel(values[0, n:], values[0, :n])
    low, high = test.confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["share"] == 1
    assert row["p"] < 1e-3


def test_unequal_groups_count_once() -> None:
    values = np.array([[0.0, 0.0, 1.0, 5.0, 5.0, 5.0]])
    fake = np.array([False, False, True, False, True, True])
    pairs = Pairs("x", ("test",), ("a", "b"), np.arange(6), np.array([0, 0, 0, 1, 1, 1]), fake)
    assert pairs.differences(values).tolist() == [[1.0, 0.0]]
    assert paired_table(pairs, ["v"], values)["difference"].item() == 0.5


def test_the_interval_covers_what_it_promises() -> None:
    rng = np.random.default_rng(1)
    n, draws = 12, 2000
    fake = np.arange(2 * n) >= n
    pairs = Pairs("x", ("test",), tuple(map(str, range(n))), np.arange(2 * n), np.r_[:n, :n], fake)
    content = rng.normal(0, 3, (draws, n))
    values = np.concatenate([content, content + 0.4 + rng.normal(0, 1, (draws, n))], axis=1)
    table = paired_table(pairs, [str(i) for i in range(draws)], values)
    covered = ((table["low"] <= 0.4) & (table["high"] >= 0.4)).mean()
    assert 0.935 < covered < 0.965


def test_scores_heads_and_words(workspace: Workspace) -> None:
    pairs = find_pairs(workspace.domains, "alpha-gan", ("train", "val", "test"))
    detectors = train(workspace, ["alpha-gan"])
    scores = paired_scores(workspace, pairs, detectors)
    expected = score_detectors(detectors, workspace, pairs.rows)
    assert scores["difference"].item() == pytest.approx(pairs.differences(expected).mean())
    heads = paired_heads(workspace, pairs, detectors[0])
    assert len(heads) == 6
    assert heads.loc[heads["q"].idxmin(), ["layer", "head"]].tolist() == [0, 0]  # planted there
    bank = workspace.text_bank("phrases")
    words = paired_words(workspace, pairs, bank)
    assert len(words) == 60
    assert words["q"].between(0, 1).all()
