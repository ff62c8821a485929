"""Nulls are calibrated: uniform where there is nothing, certain where a text was planted."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from aigi_core.errors import AigiError, NotGivenError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import (
    Fit,
    mean_difference,
    permutation_directions,
    permuted_labels,
    random_directions,
    random_members,
    word_null,
)
from aigi_core.explain.words import words
from aigi_core.manifest import Domains
from aigi_core.workspace import Workspace
from tests.factory import make_images


def difference_of(X: np.ndarray) -> Fit:
    return lambda labels: mean_difference(X, labels)


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
    assert (Y[:, 0] == Y[:, 1]).all() and (Y[:, 2] == Y[:, 3]).all(), (
        "a group of one label moves as a whole"
    )
    assert (Y[:, 6] + Y[:, 7] == 1).all(), "a mixed group shuffles within"
    assert np.isin(Y[:, :8].sum(axis=1), (3, 4)).all() and (Y[:, 8:].sum(axis=1) == 2).all(), (
        "labels stay in their pool"
    )
    assert ((Y.mean(axis=0) > 0.2) & (Y.mean(axis=0) < 0.8)).all(), (
        "every image can have either label"
    )


def test_sets_of_one_prompt_move_though_reals_stand_alone() -> None:
    domains = grouped(["a"] * 5 + ["b"] * 5 + [""] * 20, [1] * 10 + [0] * 20)
    Y = permuted_labels(domains, np.arange(30), 500)
    assert (Y.sum(axis=1) == 10).mean() > 0.95 and (Y.sum(axis=1) >= 5).all()
    assert (Y[:, :5].std(axis=1) == 0).all() and (Y[:, 5:10].std(axis=1) == 0).all()
    assert 0.1 < Y[:, 0].mean() < 0.6 and 0.1 < Y[:, 29].mean() < 0.6


def test_p_values_hold_where_fakes_come_in_sets_and_reals_alone(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic)
    groups = [f"prompt {i // 6}" for i in range(48)] + [""] * 60
    domains, rows, rng = (
        grouped(groups, [1] * 48 + [0] * 60),
        np.arange(108),
        np.random.default_rng(1),
    )
    beyond = []
    for run in range(150):
        X = rng.standard_normal((108, 24))
        X[:48] = (
            np.repeat(rng.standard_normal((8, 24)), 6, axis=0) + 0.3 * X[:48]
        )  # a set shows one thing
        fit = difference_of(X)
        null = word_null(
            lexicon, permutation_directions(fit, domains, rows, 39, seed=run), "permutation", 3
        )
        beyond.append(
            words(lexicon, fit(domains.labels[None].astype(np.int8))[0], 3, null=null).p_value
            <= 0.1
        )
    assert 0.02 < np.mean(beyond) < 0.2


def test_random_sets_keep_groups_and_size() -> None:
    domains = grouped(["a"] * 4 + [""] * 16, [1] * 10 + [0] * 10)
    drawn = random_members(domains, np.arange(20), 7, 200)
    assert (drawn.sum(axis=1) == 7).all() and (drawn[:, :4].std(axis=1) == 0).all()
    assert drawn.mean(axis=0).min() > 0.1 and drawn.mean(axis=0).max() < 0.5
    with pytest.raises(AigiError, match="20 of 20"):
        random_members(domains, np.arange(20), 20)
    one_group = grouped(["g"] * 20, [1] * 10 + [0] * 10)
    with pytest.raises(NotGivenError, match="in one group"):
        random_members(one_group, np.arange(20), 7, 5)


def test_labels_that_cannot_move_are_refused() -> None:
    with pytest.raises(AigiError, match="cannot be shuffled"):
        permuted_labels(grouped(["a", "a", "b"], [1, 1, 0], ["p", "p", "q"]), np.arange(3))
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
        fit = difference_of(X)
        null = word_null(
            lexicon, permutation_directions(fit, domains, rows, 59, seed=run), "permutation", 3
        )
        p.append(words(lexicon, fit(observed)[0], 3, null=null).p_value)
    p = np.array(p) - rng.random(len(p)) / 60  # p-values are multiples of 1/60: spread them evenly
    assert kstest(p, "uniform").pvalue > 0.01
    assert 0.005 < (np.array(p) <= 0.05).mean() < 0.12


@pytest.mark.parametrize("centred", [True, False])
def test_a_planted_text_is_nearest_and_significant(synthetic: Workspace, centred: bool) -> None:
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"], centred=centred)
    domains = synthetic.domains
    rows = domains.rows("beta-diff", "train")
    X = np.random.default_rng(2).standard_normal((len(rows), 24))
    X[domains.labels[rows] == 1] += 4 * lexicon.vectors[17]
    fit = difference_of(X)
    null = word_null(lexicon, permutation_directions(fit, domains, rows, 199), "permutation")
    result = words(lexicon, fit(domains.labels[rows][None].astype(np.int8))[0], null=null)
    assert result.nearest["text"].iloc[0] == "phrases 17"
    assert result.p_value == pytest.approx(1 / 200) and result.nameable
    assert result.nearest["cosine"].iloc[0] > result.nearest["null_high"].iloc[0]
    assert result.nearest["p_value"].is_monotonic_increasing
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
