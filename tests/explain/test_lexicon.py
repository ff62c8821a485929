"""Texts made ready for search: clusters, centring, filters, and banks that do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.explain import lexicon as module
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.words import combined, words
from aigi_core.workspace import TextBank, Workspace


def bank(texts: list[str], vectors: np.ndarray, categories: list[str] | None = None) -> TextBank:
    table = pd.DataFrame({"text": texts} | ({"category": categories} if categories else {}))
    return TextBank("mine", table, vectors, "0" * 12)


def test_search_equals_brute_force(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"], centred=False)
    directions = np.random.default_rng(0).standard_normal((5, 24))
    cosines, rows = lexicon.search(directions, 7)
    raw = np.concatenate(
        [synthetic.text_bank(b).embeddings for b in ("phrases", "vocabulary")]
    ).astype(float)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    expected = directions @ raw.T / np.linalg.norm(directions, axis=1, keepdims=True)
    order = np.argsort(-expected, axis=1)
    clusters_seen = [list(dict.fromkeys(lexicon.cluster[row]))[:7] for row in order]
    assert [lexicon.cluster[row].tolist() for row in rows] == clusters_seen
    assert cosines == pytest.approx(np.take_along_axis(expected, rows, 1), abs=1e-5)


def test_near_duplicates_share_a_row_that_can_be_opened(synthetic: Workspace) -> None:
    rng = np.random.default_rng(1)
    base = rng.standard_normal((4, 24))
    vectors = np.vstack([base[0], base[0] + 0.01 * rng.standard_normal(24), base[1], base[1:]])
    mine = bank(["a pizza", "pie with cheese", "A horse", "the Horses", "cat", "dog"], vectors)
    lexicon = Lexicon.of(synthetic, mine, centred=False)
    assert len(set(lexicon.cluster)) == 4
    result = words(lexicon, base[0], k=10)
    assert len(result.nearest) == 4
    first = result.nearest.iloc[0]
    assert {first["text"], first["similar"][0][0]} == {"a pizza", "pie with cheese"}
    assert first["cosine"] >= first["similar"][0][1] > 0.9
    horse = result.farthest[result.farthest["text"].str.contains("orse")].iloc[0]
    assert horse["cosine"] <= horse["similar"][0][1] + 1e-6


def test_letters_tie_texts_where_a_lexicon_is_too_large_to_compare(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.tile(np.random.default_rng(0).standard_normal(24), (3, 1))
    mine = bank(["Horses", "horse", "cat"], vectors)
    assert len(set(Lexicon.of(synthetic, mine).cluster)) == 1
    monkeypatch.setattr(module, "COMPARE_UP_TO", 1)
    assert Lexicon.of(synthetic, mine).cluster.tolist() == [0, 0, 2]


def test_centring_removes_what_all_texts_share(synthetic: Workspace, tmp_path: Path) -> None:
    phrases = synthetic.text_bank("phrases")
    shifted = replace(phrases, embeddings=np.asarray(phrases.embeddings) + 5 * np.ones(24))
    raw = Lexicon.of(synthetic, shifted, centred=False)
    assert raw.search(np.ones((1, 24)), 3)[0].min() > 0.9
    centred = Lexicon.of(synthetic, "phrases")
    mean = np.asarray(phrases.embeddings, float).mean(axis=0)
    assert centred.centre == pytest.approx(mean, abs=1e-3)
    assert np.linalg.norm(centred.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    # A user's bank of two texts is centred like the workspace's own, not by itself.
    assert Lexicon.of(synthetic, bank(["x", "y"], np.ones((2, 24)))).centre == pytest.approx(
        mean, abs=1e-3
    )


def test_categories_filter_and_count(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, "phrases", centred=False)
    kept = lexicon.only(["kind 1", "kind 3"])
    assert set(kept.table["category"]) == {"kind 1", "kind 3"} and len(kept) == len(
        kept.vectors
    ) == len(kept.cluster)
    result = words(
        lexicon, lexicon.vectors[lexicon.table["category"].eq("kind 2")].sum(axis=0), k=5
    )
    nearest = result.categories[result.categories["side"] == "nearest"].set_index("category")
    assert nearest["count"].sum() == 50
    assert nearest["expected"].tolist() == pytest.approx([10.0] * 5)
    with pytest.raises(AigiError, match="no category 'none'.*kind 0"):
        lexicon.only(["none"])


def test_row_of_a_text(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic)
    assert lexicon.row("PHRASES  7") == 7
    with pytest.raises(AigiError, match="'unknown' is not in"):
        lexicon.row("unknown")


def test_sums_and_differences(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, centred=False)
    a, b = lexicon.vectors[3].astype(float), lexicon.vectors[9].astype(float)
    difference = words(lexicon, combined({"a": (1, 4 * a), "b": (-1, b)}), k=3)
    assert (
        difference.nearest["text"].iloc[0] == "phrases 3"
        and difference.farthest["text"].iloc[0] == "phrases 9"
    )


@pytest.mark.parametrize("direction", [np.zeros(24), np.full(24, np.nan), np.full(24, np.inf)])
def test_zero_and_infinite_directions_are_refused(
    synthetic: Workspace, direction: np.ndarray
) -> None:
    with pytest.raises(AigiError, match="length zero"):
        words(Lexicon.of(synthetic), direction)


def test_what_is_refused(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="24 dimensions, got 7"):
        words(Lexicon.of(synthetic), np.ones(7))
    with pytest.raises(AigiError, match="empty"):
        Lexicon.of(synthetic, bank([], np.zeros((0, 24))))
    with pytest.raises(WorkspaceError, match="another encoder"):
        Lexicon.of(synthetic, bank(["x"], np.zeros((1, 512))))
    with pytest.raises(WorkspaceError, match="NaN"):
        Lexicon.of(synthetic, bank(["x"], np.full((1, 24), np.nan)))
    with pytest.raises(AigiError, match="No text bank"):
        Lexicon.of(synthetic, [])
    with pytest.raises(WorkspaceError, match="no text bank 'mine'"):
        Lexicon.of(synthetic, "mine")
