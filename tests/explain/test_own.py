"""A user's own phrases, and two detectors beside each other."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.explain.compare import compare_directions
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import random_directions
from aigi_core.explain.own import own_bank, split_phrases
from aigi_core.workspace import Workspace


def test_phrases_of_a_bank_keep_their_embedding_and_others_are_encoded(
    synthetic: Workspace,
) -> None:
    asked: list[list[str]] = []

    def encode(texts):  # type: ignore[no-untyped-def]
        asked.append(list(texts))
        return np.full((len(texts), 24), 2.0, np.float32)

    bank = own_bank(
        synthetic, split_phrases(" PHRASES  3;; vocabulary 7; # new ; phrases 3"), encode
    )
    assert list(bank.table["text"]) == ["PHRASES 3", "vocabulary 7", "new"] and asked == [["new"]]
    np.testing.assert_array_equal(bank.embeddings[0], synthetic.text_bank("phrases").embeddings[3])
    np.testing.assert_array_equal(
        bank.embeddings[1], synthetic.text_bank("vocabulary").embeddings[7]
    )
    assert (bank.embeddings[2] == 2).all() and Lexicon.of(synthetic, bank).row("New") == 2


def test_without_a_text_tower_the_phrase_is_named(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="'new' is in none"):
        own_bank(synthetic, ["phrases 1", "new"])
    with pytest.raises(AigiError, match="no phrase"):
        split_phrases(" ; ")


def test_a_planted_difference_is_detected_and_chance_is_not(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, centred=False)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 24))
    nulls = {f"null_{side}": random_directions(X, 200, seed) for side, seed in (("a", 1), ("b", 2))}
    common = rng.standard_normal(24)
    a, b = lexicon.vectors[5], 3 * lexicon.vectors[9]
    result = compare_directions(lexicon, a, b, **nulls, k=5)
    assert {result.words.nearest["text"][0], result.words.farthest["text"][0]} == {
        "phrases 5",
        "phrases 9",
    }
    units = [v / np.linalg.norm(v) for v in (a, b)]
    assert result.cosine == pytest.approx(units[0] @ units[1])
    assert result.null_low < 0 < result.null_high
    same = compare_directions(lexicon, common, common + 0.1 * lexicon.vectors[5], **nulls)
    assert same.p_value == pytest.approx(
        1 / 201
    )  # nearly parallel: further from zero than any null pair
    with pytest.raises(AigiError, match="same direction"):
        compare_directions(lexicon, a, 2 * a, **nulls)
