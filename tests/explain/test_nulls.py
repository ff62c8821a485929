"""Nulls are calibrated: uniform where there is nothing, certain where a text was planted."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import (
    permutation_directions,
    permuted_labels,
    random_directions,
    word_null,
)
from aigi_core.explain.words import words
from aigi_core.manifest import Domains
from aigi_core.workspace import Workspace
from tests.factory import make_images


def mean_difference(X: np.ndarray):
    def fit(Y: np.ndarray) -> np.ndarray:
        return (Y / Y.sum(axis=1, keepdims=True) - (1 - Y) / (1 - Y).sum(axis=1, keepdims=True)) @ X

    return fit


def grouped(groups: list[str], labels: list[int], pools: list[str] | None = None) -> Domains:
    n = len(labels)
    text = {
        "generator": np.where(labels, "g", ""),
        "pool": np.array(pools or ["p"] * n),
        "split": np.full(n, "train"),
        "group": np.array(groups),
    }
    return Domains(np.array(labels, np.int8), family_of={"g": "gan"}, **text)


def test_shuffling_respects_pools_groups_and_class_sizes() -> None:
    groups = ["a", "a", "b", "b", "c", "d", "e", "e", "f", "", ""]
    labels = [1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 0]
    pools = ["p"] * 8 + ["q"] * 3
    domains = grouped(groups, labels, pools)
    Y = permuted_labels(domains, np.arange(11), 400, seed=1)
    assert (Y[:, 0] == Y[:, 1]).all() and (Y[:, 2] == Y[:, 3]).all(), "a group of one label moves as a whole"
    assert (Y[:, 6] + Y[:, 7] == 1).all(), "a mixed group shuffles within"
    assert (Y[:, :8].sum(axis=1) == 4).all() and (Y[:, 8:].sum(axis=1) == 2).all(), "labels stay in their pool"
    assert Y.mean(axis=0) == pytest.approx([0.5] * 8 + [2 / 3] * 3, abs=0.1)


def test_labels_that_cannot_move_are_refused() -> None:
    with pytest.raises(AigiError, match="cannot be shuffled"):
        permuted_labels(grouped(["a", "a", "b"], [1, 1, 0]), np.arange(3))
    with pytest.raises(AigiError, match="at least one draw"):
        permuted_labels(grouped(["", ""], [1, 0]), np.arange(2), draws=0)


def test_p_values_are_uniform_on_shuffled_labels(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic)
    domains = Domains.from_images(make_images())
    rows = domains.rows("beta-diff", "train")
    rng = np.random.default_rng(0)
    p = []
    for run in range(150):
        X = rng.standard_normal((len(rows), 24)) * np.geomspace(3, 0.3, 24)
        observed = permuted_labels(domains, rows, 1, seed=10_000 + run)
        fit = mean_difference(X)
        null = word_null(lexicon, permutation_directions(fit, domains, rows, 59, seed=run), "permutation", 3)
        p.append(words(lexicon, fit(observed)[0], 3, null=null).p_value)
    p = np.array(p) - rng.random(len(p)) / 60  # p-values are multiples of 1/60: spread them evenly
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.005 < (np.array(p) <= 0.05).mean() < 0.12


@pytest.mark.parametrize("centred", [True, False])
def test_a_planted_text_is_found_and_significant(synthetic: Workspace, centred: bool) -> None:
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"], centred=centred)
    domains = synthetic.domains
    rows = domains.rows("beta-diff", "train")
    X = np.random.default_rng(2).standard_normal((len(rows), 24))
    X[domains.labels[rows] == 1] += 4 * lexicon.vectors[17]
    fit = mean_difference(X)
    null = word_null(lexicon, permutation_directions(fit, domains, rows, 199), "permutation")
    found = words(lexicon, fit(domains.labels[rows][None].astype(np.int8))[0], null=null)
    assert found.nearest["text"].iloc[0] == "phrases 17"
    assert found.p_value == pytest.approx(1 / 200) and found.nameable
    assert found.nearest["cosine"].iloc[0] > found.nearest["null_high"].iloc[0]
    assert found.nearest["p_value"].is_monotonic_increasing
    # The other way round the planted text is the farthest.
    opposite = words(lexicon, -fit(domains.labels[rows][None].astype(np.int8))[0], null=null)
    assert opposite.farthest["text"].iloc[0] == "phrases 17"
    assert opposite.farthest["p_value"].iloc[0] <= 0.01
    assert opposite.farthest["cosine"].iloc[0] < opposite.farthest["null_low"].iloc[0]


def test_planted_category_is_significant(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, "vocabulary")
    rng = np.random.default_rng(0)
    chosen = lexicon.table["category"].eq("kind 4").to_numpy()
    lexicon.vectors[chosen] += 0.8 * lexicon.vectors[0]
    null = word_null(lexicon, rng.standard_normal((99, 24)), "random")
    table = words(lexicon, lexicon.vectors[0], null=null).categories
    nearest = table[table["side"] == "nearest"].set_index("category")
    assert nearest.index[0] == "kind 4" and nearest.loc["kind 4", "p_value"] <= 0.02
    assert nearest["expected"].sum() == pytest.approx(50)


def test_random_directions_have_the_data_s_covariance() -> None:
    X = np.random.default_rng(0).standard_normal((50, 6)) * [4, 2, 1, 1, 0.5, 0] + 7
    drawn = random_directions(X, 40_000)
    assert np.cov(drawn, rowvar=False) == pytest.approx(np.cov(X, rowvar=False), abs=0.5)
    assert drawn[:, 5] == pytest.approx(0, abs=1e-9)
    with pytest.raises(AigiError, match="images that differ"):
        random_directions(np.ones((5, 3)))


def test_p_value_counts_ties_and_itself() -> None:
    null = word_null(_two_texts(), np.array([[1.0, 0], [0.6, 0.8], [0, 1]]), "random", 2)
    assert null.nearest[:, 0] == pytest.approx([1, 0.8, 1])
    assert null.p_value(np.array([0.5, 0.8, 0.9, 1.0])) == pytest.approx([1, 1, 3 / 4, 3 / 4])
    assert null.p_value(np.array([1.0]), "farthest") == pytest.approx([1])


def _two_texts() -> Lexicon:
    table = pd.DataFrame({"text": ["x", "y"], "category": "", "bank": "mine"})
    return Lexicon(table, np.eye(2, dtype=np.float32), np.arange(2), np.zeros(2, np.float32))
