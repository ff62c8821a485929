"""Whole words of three kinds of vocabulary; embeddings as unit rows; texts that are empty, long or
without direction.
"""

import unicodedata

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.clip.text import all_tokens, count_cut, embed, whole_words
from aigi_core.errors import AigiError
from tests.tiny_clip import make_tiny_clip

BERT = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "!",
    "the",
    "##ing",
    "cat",
    "1999",
    "of",
    "über",
    "a1",
    "dog",
    "[unused7]",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(make_tiny_clip(tmp_path_factory.mktemp("text-tower")), None, device="cpu")


def wordpiece(*tokens: str) -> Tokenizer:
    return Tokenizer(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))


def test_clips_words_are_single_tokens() -> None:
    tokenizer = open_clip.SimpleTokenizer()
    table = whole_words(tokenizer)
    assert 20_000 < len(table) < 49_408 and table["text"].is_unique
    words = table[table["category"] == "word"]["text"].tolist()
    assert {"gouache", "blurred", "uv", "schwarzenegger"} <= set(words)  # names found by the paper
    assert not {"ing", "<start_of_text>"} & {
        t for t in table["text"] if f"{t}</w>" not in tokenizer.encoder
    }
    single = [len(tokenizer.encode(word)) == 1 for word in words[::97]]
    assert np.mean(single) > 0.95  # the cleaning of odd letters splits a few


def test_all_tokens_hold_the_sub_words_that_the_paper_names() -> None:
    tokenizer = open_clip.SimpleTokenizer()
    assert len(tokenizer.encoder) == 49_408
    table = all_tokens()
    kinds = dict(zip(table["text"], table["category"], strict=True))
    named = ("instaweather", "fluor", "태", "と")
    assert all(text in kinds for text in named), "each is named in the paper's tables"
    assert {kinds["fluor"], kinds["instaweather"]} == {"sub-word"} and kinds["gouache"] == "word"
    assert table["text"].is_unique and not {"<start_of_text>", "<end_of_text>"} & set(kinds)
    assert set(whole_words(tokenizer)["text"]) <= set(kinds)
    # every entry is there whose bytes are a text by themselves
    letters = {token.removesuffix("</w>") for token in tokenizer.encoder}
    whole = 0
    for each in letters:
        try:
            text = bytes(tokenizer.byte_decoder[letter] for letter in each).decode()
        except (KeyError, UnicodeDecodeError):
            continue
        control = any(unicodedata.category(sign) == "Cc" for sign in text)
        whole += bool(text.strip()) and not control
    assert len(table) == whole - 2  # the start and the end of a text


def test_control_characters_leave_the_vocabulary() -> None:
    """CLIP has 60 letters for bytes that are control characters; no text can hold them."""
    tokenizer = open_clip.SimpleTokenizer()
    entries = [token for token in tokenizer.encoder if token.removesuffix("</w>") == "Ā"]
    assert len(entries) == 2 and chr(tokenizer.byte_decoder["Ā"]) == "\x00"
    for table in (whole_words(tokenizer), all_tokens()):
        assert not table["text"].str.contains(r"[\x00-\x1f\x7f-\x9f]", regex=True).any()
    assert whole_words(wordpiece("a", "\x7f", "##\x01b"))["text"].tolist() == ["a"]


def test_words_of_a_wordpiece_vocabulary() -> None:
    table = whole_words(wordpiece(*BERT))
    assert table["text"].tolist() == ["!", "the", "cat", "1999", "of", "über", "a1", "dog"]
    assert table["category"].tolist() == [
        "other",
        "word",
        "word",
        "number",
        "word",
        "word",
        "other",
        "word",
    ]
    assert whole_words(wordpiece(*BERT), limit=3)["text"].tolist() == ["the", "cat", "über"]
    assert len(whole_words(wordpiece(*BERT), limit=99)) == 4


def test_words_of_a_sentencepiece_vocabulary() -> None:
    class Wrapped:
        tokenizer = Tokenizer(
            models.Unigram(
                [("<unk>", 0.0), ("▁cat", -1.0), ("s", -2.0), ("▁", -3.0), ("▁dog", -4.0)], 0
            )
        )

    assert whole_words(Wrapped())["text"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize("tokenizer", [object(), wordpiece("[UNK]", "cat", "dog")])
def test_a_vocabulary_without_words_is_refused(tokenizer: object) -> None:
    with pytest.raises(AigiError, match="give a list of phrases with --phrases"):
        whole_words(tokenizer)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(AigiError, match="at least one word"):
        whole_words(wordpiece(*BERT), limit=0)


def test_rows_have_length_one_and_the_models_direction(encoder: Encoder) -> None:
    texts = ["a cat", "blurred photo", "gouache", "<b>&amp;", "日本"]
    rows = embed(encoder, texts)
    assert rows.dtype == np.float16 and rows.shape == (5, 24)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(float), axis=1), 1, atol=2e-3)
    own = encoder.encode_texts(texts)
    np.testing.assert_allclose(rows, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-3)
    framed = embed(encoder, ["cat"], "a photo of a {}")
    np.testing.assert_array_equal(framed, embed(encoder, ["a photo of a cat"]))


@pytest.mark.parametrize("template", ["photo", "{} and {}", "{0}", "a {} {name}"])
def test_a_template_takes_one_text(encoder: Encoder, template: str) -> None:
    with pytest.raises(AigiError, match="exactly once"):
        embed(encoder, ["cat"], template)


def test_empty_texts_are_refused(encoder: Encoder) -> None:
    with pytest.raises(AigiError, match="Text number 2 is empty"):
        embed(encoder, ["cat", "  "])


def test_a_text_without_direction_is_refused(encoder: Encoder) -> None:
    class Broken:
        @staticmethod
        def encode_texts(texts: list[str]) -> np.ndarray:
            return np.zeros((len(texts), 4), np.float32)

    with pytest.raises(AigiError, match="'cat' no direction"):
        embed(Broken(), ["cat"])  # type: ignore[arg-type]


def test_long_texts_are_counted(encoder: Encoder) -> None:
    texts = ["cat", " ".join(["cat"] * 75), " ".join(["cat"] * 76), "x" * 2000]
    assert (
        count_cut(encoder.tokenizer, texts) == 2
    )  # 75 words, a start and an end fill the 77 tokens
    bert = wordpiece(*BERT)
    bert.enable_truncation(2)
    bert.pre_tokenizer = __import__("tokenizers").pre_tokenizers.Whitespace()
    assert count_cut(bert, ["cat dog", "cat dog cat", "the"]) == 1
    with pytest.raises(AigiError, match="not covered"):
        count_cut(object(), ["cat"])
