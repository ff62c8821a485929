"""Planted copies are found, each with the sides it crosses; clean data show none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aigi_core.audit import leaks
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from tests.factory import make_images


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    return make_images(per_class=60)


@pytest.fixture(scope="module")
def domains(images: pd.DataFrame) -> Domains:
    return Domains.from_images(images)


def features(images: pd.DataFrame, seed: int = 0, d: int = 12) -> np.ndarray:
    """Clusters of different density on a curved sheet in a higher space: like CLIP, not like white
    noise.
    """
    rng = np.random.default_rng(seed)
    which = images["pool"].factorize()[0] + 1
    latent = rng.standard_normal((len(images), d)) / which[:, None] ** 0.5
    return (
        np.tanh(latent @ rng.standard_normal((d, 64)))
        + 0.3 * rng.standard_normal(64) * which[:, None]
    )


def test_clean_data_show_nothing(images: pd.DataFrame, domains: Domains) -> None:
    result = sum(
        len(leaks.find_duplicates(features(images, seed), images, domains).pairs) > 0
        for seed in range(20)
    )
    assert result <= 3  # expected at most one in twenty


def test_planted_copies_are_detected_with_the_sides_they_cross(
    images: pd.DataFrame, domains: Domains
) -> None:
    X = features(images)
    rows = {side: np.flatnonzero(domains.split == side) for side in ("train", "test")}
    real = np.flatnonzero(
        (domains.labels == 0) & (domains.split == "test") & (domains.pool == "general")
    )[0]
    fake = np.flatnonzero((domains.generator == "beta-diff") & (domains.split == "train"))[0]
    rng = np.random.default_rng(1)
    X[rows["test"][0]] = X[rows["train"][0]] + 0.02 * rng.standard_normal(64)
    X[real] = 3 * X[fake]
    table = images.copy()
    table.loc[[5, 9], "content_hash"] = "same"
    result = leaks.find_duplicates(X, table, domains)
    pairs = result.pairs.set_index(["a", "b"])
    assert set(pairs.index) == {
        (rows["train"][0], rows["test"][0]),
        tuple(sorted((real, fake))),
        (5, 9),
    }
    assert pairs.loc[
        tuple(sorted((real, fake))), ["across_split", "across_label", "across_generator"]
    ].all()
    assert pairs.loc[tuple(sorted((real, fake))), "similarity"] == pytest.approx(1, abs=1e-5)
    assert pairs.loc[(5, 9), "exact"] and not pairs["exact"].drop((5, 9)).any()
    summary = result.summary(domains).set_index("crossing")
    assert summary.loc["any", ["pairs", "images"]].tolist() == [3, 6]
    assert summary.loc["across label", "pairs"] == 1
    assert summary.loc["train or val / test", "images"] == 4
    assert (
        summary.loc["across label", "low"] < 2 / len(domains) < summary.loc["across label", "high"]
    )


def test_many_copies_neither_hide_nor_break_the_limit(
    images: pd.DataFrame, domains: Domains
) -> None:
    X = features(images)
    X[1:120:2] = X[0:120:2] + 0.02 * np.random.default_rng(2).standard_normal(
        (60, 64)
    )  # a quarter has a twin
    result = leaks.find_duplicates(X, images, domains)
    twins, pairs = (
        set(zip(range(0, 120, 2), range(1, 120, 2), strict=True)),
        result.pairs[["a", "b"]].to_numpy(),
    )
    assert set(map(tuple, pairs)) <= twins and len(pairs) > 50
    X[200:208] = X[200] + 0.02 * np.random.default_rng(3).standard_normal(
        (8, 64)
    )  # and one has seven
    result = leaks.find_duplicates(X, images, domains)
    assert set(range(200, 208)) <= set(result.pairs[["a", "b"]].to_numpy().ravel())
    assert (result.pairs["a"] < result.pairs["b"]).all()


def test_a_dense_crowd_is_no_duplicate_but_a_copy_within_it_is(
    images: pd.DataFrame, domains: Domains
) -> None:
    """Satellite pictures of one city: all closer to each other than copies of other things are."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((len(images), 24)) @ rng.standard_normal((24, 64))
    X[:80] = X[0] + 0.05 * (X[:80] - X[0])
    assert leaks.find_duplicates(X, images, domains).pairs.empty
    X[7] = X[3] + 0.001 * rng.standard_normal(64)
    result = leaks.find_duplicates(X, images, domains)
    assert result.pairs[["a", "b"]].to_numpy().tolist() == [[3, 7]]
    assert result.pairs.loc[0, "closeness"] < 0.1


def test_the_limit_follows_the_law_of_nearest_neighbours() -> None:
    """On evenly spread points of known dimension, the share of closeness below the limit is the one
    asked for.
    """
    rng = np.random.default_rng(0)
    for dimension in (4, 12):
        volume = np.sort(rng.random((200_000, 9)), axis=1)[:, 0]
        limit = leaks.duplicate_limit(volume[:2000] ** (1 / dimension), k=10, expected=0.01)
        assert (volume ** (1 / dimension) < limit).mean() == pytest.approx(0.01, rel=0.5)


def test_a_given_threshold_is_a_cosine(images: pd.DataFrame, domains: Domains) -> None:
    X = features(images)
    X[:30] = X[0]
    result = leaks.find_duplicates(X, images, domains, threshold=0.9999)
    assert set(range(30)) <= set(result.pairs[["a", "b"]].to_numpy().ravel())
    assert result.pairs["similarity"].min() >= 0.9999 and "as given" in result.rule


def test_same_group_pairs_are_known(images: pd.DataFrame) -> None:
    table = images.copy()
    table.loc[:1, "group"] = "scene"
    X = features(images)
    X[1] = X[0]
    domains = Domains.from_images(table)
    result = leaks.find_duplicates(X, table, domains)
    assert result.pairs["same_group"].tolist() == [True]
    assert result.summary(domains).set_index("crossing").loc["any", "known"] == 1


def test_straddling_groups(images: pd.DataFrame) -> None:
    assert leaks.straddling_groups(Domains.from_images(images)).empty
    table = images.copy()
    rows = [
        table.index[(table["split"] == split) & (table["label"] == label)][0]
        for split, label in (("train", 1), ("test", 0))
    ]
    table.loc[rows, "group"] = "scene"
    result = leaks.straddling_groups(Domains.from_images(table))
    assert result["group"].tolist() == ["scene"]
    assert result.loc[0, ["images", "splits"]].tolist() == [2, "test, train"]
    assert "real" in result.loc[0, "generators"]


def test_neighbours_against_numpy() -> None:
    rng = np.random.default_rng(0)
    base, queries = rng.standard_normal((300, 16)), rng.standard_normal((40, 16))
    similarity, index = leaks.nearest_neighbours(queries, base, 5)[:2]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, base)]
    expected = unit[0] @ unit[1].T
    np.testing.assert_array_equal(index, np.argsort(-expected, axis=1)[:, :5])
    np.testing.assert_allclose(similarity, -np.sort(-expected, axis=1)[:, :5], atol=1e-6)


def test_bad_input(images: pd.DataFrame, domains: Domains) -> None:
    X = features(images)
    with pytest.raises(AigiError, match="Got 3 embeddings"):
        leaks.find_duplicates(X[:3], images, domains)
    X[4] = 0
    with pytest.raises(AigiError, match="1 embedding is zero"):
        leaks.find_duplicates(X, images, domains)
    with pytest.raises(AigiError, match="at least 20"):
        leaks.duplicate_limit(np.full(5, 0.3), 10, 0.01)
    with pytest.raises(AigiError, match="identical copy"):
        leaks.duplicate_limit(np.zeros(50), 10, 0.01)


def test_many_images_are_searched_in_cells_and_the_rule_says_so(
    images: pd.DataFrame, domains: Domains, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = features(images)
    X[7] = 3 * X[40]
    exact = leaks.find_duplicates(X, images, domains)
    monkeypatch.setattr("aigi_core.nearest.EXACT_PAIRS", 0)
    result = leaks.find_duplicates(X, images, domains)
    assert "cells (IVF), which found" in result.rule and "IVF" not in exact.rule
    # between copies the last digit of a cosine in float32 is a distance of 4e-4
    pd.testing.assert_frame_equal(result.pairs, exact.pairs, atol=1e-3)
