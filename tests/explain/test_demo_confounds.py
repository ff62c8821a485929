"""The known confounds of the embedded demo, held against what the explanations say of them.

What is tested is what the app and docs/words.md show: stored words, and the exposure that puts
words and files together. Fifteen detectors are looked at, so p-values are corrected for fifteen
(Benjamini-Hochberg), as the tables do.
"""

from pathlib import Path

import pytest

from aigi_core.audit.exposure import Exposure, operation_words
from aigi_core.explain.cached import CONTENT, WordAtlas, load_words
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.words import Words
from aigi_core.statements import p_text
from aigi_core.workspace import Workspace
from reports.words import PALETTE, WordTables

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo() -> Workspace:
    return Workspace.open(ROOT / "assets" / "demo")


@pytest.fixture(scope="module")
def atlas(demo: Workspace) -> WordAtlas:
    return load_words(demo)


@pytest.fixture(scope="module")
def explained(demo: Workspace) -> dict[str, Exposure]:
    return {each.generator: each for each in WordTables(demo).exposures}


def q_value(atlas: WordAtlas, kind: str, generator: str) -> float:
    table = atlas.detectors.query("kind == @kind and bank == 'phrases'").set_index("detector")
    return float(table["q_value"][generator])


def top_category(text: Words) -> tuple[str, float]:
    first = text.categories[text.categories["side"] == "nearest"].iloc[0]
    return str(first["category"]), float(first["p_value"])


def test_pizza_is_in_the_detector_s_own_words(
    atlas: WordAtlas, explained: dict[str, Exposure]
) -> None:
    words = atlas.words("logistic", "phrases", "stylegan2-pizza")
    assert words.nearest["text"].head(4).str.contains("pizza").sum() >= 3
    assert q_value(atlas, "logistic", "stylegan2-pizza") <= 0.05
    category, p = top_category(words)
    assert category == "food and drink" and p <= 0.05
    own, shown, *_ = explained["stylegan2-pizza"].sentences
    assert "pizza" in own and "food and drink" in own and "food and drink" in shown


@pytest.mark.parametrize(
    ("generator", "category", "word"),
    [
        ("stylegan2-ffhq", "people and body", "portrait"),
        ("midjourney-shoes", "clothing and shoes", "shoe"),
    ],
)
def test_faces_and_shoes_are_in_the_words_of_the_training_set(
    atlas: WordAtlas, explained: dict[str, Exposure], generator: str, category: str, word: str
) -> None:
    words = atlas.words(CONTENT, "phrases", generator)
    assert words.nearest["text"].head(4).str.contains(word).sum() >= 3
    assert words.p_value <= 0.05 and q_value(atlas, CONTENT, generator) <= 0.05
    result, p = top_category(words)
    assert result == category and p <= 0.05
    # Both classes show the subject, so the weights do not hold it: the null must say so, whatever
    # the list looks like.
    assert atlas.words("logistic", "phrases", generator).p_value > 0.05
    own, shown, *_ = explained[generator].sentences
    assert "no nearer to any text than expected by chance" in own
    assert word in shown and category in shown and p_text(words.p_value) in shown


def test_the_explanation_of_sdxl_exposes_its_palette(explained: dict[str, Exposure]) -> None:
    result = explained["sdxl"]
    mode = result.facts.set_index("fact").loc["mode"]
    assert mode["fake_value"] == "P" and mode["fake_share"] > 0.9 and mode["low"] > 0.8
    files, facts = result.sentences[2:4]
    assert "File facts reveal the label" in files and str(result.blind) in files
    assert "pixel mode P (a palette of at most 256 colours) in 91%" in facts
    assert result.blind.low > 0.85 and result.blind.value >= result.detector.value
    # No other generator's explanation says so: the sentence is about this one.
    assert not any(
        "palette" in " ".join(each.sentences) for name, each in explained.items() if name != "sdxl"
    )


def test_the_explanation_says_that_the_detector_hardly_minds_the_palette(
    explained: dict[str, Exposure],
) -> None:
    [row] = explained["sdxl"].shifts.to_dict("records")
    assert row["op"] == "palette:256" and row["n"] == 210
    assert row["way_high"] < 0.05 and abs(row["flagged_after"] - row["flagged"]) < 0.02
    assert f"{row['way']:.1%}" in explained["sdxl"].sentences[-1]


def test_words_alone_would_not_do_for_the_palette(demo: Workspace, atlas: WordAtlas) -> None:
    # Why files are asked at all: nothing but the palette differs here, and the words still speak of
    # other things.
    words = operation_words(demo, Lexicon.of(demo), "palette:256", 50, draws=199)
    assert words.p_value > 0.05 and not set(words.nearest["text"]) & set(PALETTE)
    assert not set(atlas.words("logistic", "phrases", "sdxl").nearest["text"]) & set(PALETTE)


def test_sdxl_is_named_all_the_same(atlas: WordAtlas) -> None:
    words = atlas.words("logistic", "phrases", "sdxl")
    assert words.p_value <= 0.01 and "painting" in words.nearest["text"].iloc[0]


def test_the_page_of_findings_holds_these_explanations(explained: dict[str, Exposure]) -> None:
    page = (ROOT / "docs" / "words.md").read_text("utf-8")
    for generator in ("stylegan2-pizza", "stylegan2-ffhq", "midjourney-shoes", "sdxl"):
        assert f"| {generator} | {' '.join(explained[generator].sentences)} |" in page
