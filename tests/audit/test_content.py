"""Fakes that show one thing only are found out, with the words for it; fakes that show what reals
show are not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aigi_core.audit import content as c
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.manifest import Domains
from tests.factory import make_images

IMAGES = make_images(per_class=120)
DOMAINS = Domains.from_images(IMAGES)
TOPICS, TEXTS = 6, 30
FOOD = "beta-diff"


def planted(seed: int = 0) -> tuple[np.ndarray, Lexicon]:
    """Every image shows one of six topics, all generators and reals alike, but beta-diff shows
    topic 3 only.

    Embeddings also carry a sign of generation, orthogonal to all texts.
    """
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((32, 32)))[0]
    topic = rng.integers(0, TOPICS, len(IMAGES))
    topic[IMAGES["generator"] == FOOD] = 3
    shades = rng.standard_normal((len(IMAGES), TOPICS))
    X = (
        3 * axes[topic]
        + shades @ axes[TOPICS : 2 * TOPICS]
        + 2 * IMAGES["label"].to_numpy()[:, None] * axes[-1]
    )
    texts = np.repeat(np.arange(TOPICS), TEXTS // TOPICS)
    vectors = axes[texts] + 0.3 * rng.standard_normal((TEXTS, 2 * TOPICS)) @ axes[: 2 * TOPICS]
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = pd.DataFrame(
        {
            "text": [f"topic {t} word {i}" for i, t in enumerate(texts)],
            "category": [f"topic {t}" for t in texts],
            "bank": "phrases",
        }
    )
    return X, Lexicon(table, vectors.astype(np.float32), np.arange(TEXTS), np.zeros(32, np.float32))


X, LEXICON = planted()
SHOWN = c.concepts(X, LEXICON)


def test_fakes_of_one_topic_are_separable_by_content_and_the_others_are_not() -> None:
    table = c.content_imbalance(SHOWN, DOMAINS, components=6, draws=300).set_index("generator")
    assert table.loc[FOOD, "separable"] > 0.85
    others = table.drop(FOOD)
    assert (others["separable_low"] < 0.5).all() and (others["separable_high"] > 0.5).all()
    assert others["matched"].between(0.85, 1).all()
    assert (others["matched_low"] <= 0.97).all() and (others["matched_high"] >= 0.93).all()
    assert table.loc[FOOD, ["n_fake", "n_real"]].tolist() == [120, 120]
    assert table.loc[FOOD, "mirrored_high"] < 0.9  # five real images in six show another topic
    assert others["mirrored"].between(0.8, 1).all() and (others["mirrored_high"] >= 0.93).all()


def test_fakes_of_what_no_real_image_shows_find_no_match() -> None:
    shifted = X.copy()
    alien = np.linalg.qr(np.random.default_rng(9).standard_normal((32, 32)))[0][0]
    shifted[(IMAGES["generator"] == FOOD).to_numpy()] += 12 * (
        alien @ LEXICON.vectors.T @ LEXICON.vectors
    )
    table = c.content_imbalance(
        c.concepts(shifted, LEXICON), DOMAINS, components=8, draws=200
    ).set_index("generator")
    assert table.loc[FOOD, "matched_high"] < 0.3
    assert table.drop(FOOD)["matched"].min() > 0.85


def test_words_name_the_topic_and_only_there() -> None:
    words = c.content_differences(SHOWN, DOMAINS, FOOD, k=5, draws=200)
    assert words["category"].head(5).tolist() == ["topic 3"] * 5
    assert (words["p_value"].head(5) < 0.01).all()
    assert ((words["low"] < words["difference"]) & (words["difference"] < words["high"])).all()
    categories = c.content_differences(SHOWN.by_category(), DOMAINS, FOOD, k=1, draws=200)
    assert categories.loc[0, "text"] == "topic 3"
    clean = c.content_differences(SHOWN, DOMAINS, "gamma-diff", k=5, draws=200)
    assert clean["p_value"].min() > 0.05


def test_family_wise_p_values_hold_on_clean_data() -> None:
    small = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        noise = c.Concepts(
            rng.standard_normal((len(IMAGES), 40)).astype(np.float32),
            pd.DataFrame({"text": [f"t{i}" for i in range(40)], "category": ""}),
        )
        small += (
            c.content_differences(noise, DOMAINS, "alpha-gan", k=1, draws=99, seed=seed)[
                "p_value"
            ].min()
            <= 0.1
        )
    assert small <= 8  # 3 expected; more than 8 of 30 has a probability of 0.2%


def test_differences_against_numpy() -> None:
    words = c.content_differences(SHOWN, DOMAINS, FOOD, k=3, draws=50).set_index("text")
    rows = DOMAINS.rows(FOOD, c.EVERY_SPLIT)
    S, y = SHOWN.scores[rows].astype(float), DOMAINS.labels[rows]
    pooled = np.sqrt((S[y == 1].var(axis=0) + S[y == 0].var(axis=0)) / 2)  # as many fakes as reals
    expected = pd.Series(
        (S[y == 1].mean(axis=0) - S[y == 0].mean(axis=0)) / pooled, SHOWN.table["text"]
    )
    np.testing.assert_allclose(words["difference"], expected[words.index], rtol=1e-5)


def test_concepts_do_not_depend_on_length_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c, "BLOCK", 50)
    scaled = X * np.random.default_rng(1).uniform(0.5, 3, (len(X), 1))
    np.testing.assert_allclose(c.concepts(scaled, LEXICON).scores, SHOWN.scores, atol=1e-5)


def test_bad_input() -> None:
    flat = c.Concepts(
        np.ones((len(IMAGES), 3), np.float32), pd.DataFrame({"text": list("abc"), "category": ""})
    )
    with pytest.raises(AigiError, match="equal scores"):
        c.content_imbalance(flat, DOMAINS)
    with pytest.raises(AigiError, match="no categories"):
        flat.by_category()
    with pytest.raises(AigiError, match="no generator 'nobody'"):
        c.content_differences(SHOWN, DOMAINS, "nobody")
