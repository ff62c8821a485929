"""Texts for a bank: the whole words of a tokenizer's vocabulary, and embeddings as unit rows.

The paper names detectors with all 49,408 entries of CLIP's vocabulary (section 4); entries that
only continue a word ("ing", "##ly") name nothing, so a bank holds those that can stand alone. CLIP
marks only where a word ends, so a few ends of longer words ("iority") are among them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float16

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.encoder import Encoder
from aigi_core.errors import AigiError

WORD, NUMBER, OTHER, SUB_WORD = "word", "number", "other", "sub-word"


def whole_words(tokenizer: Any, limit: int | None = None) -> pd.DataFrame:
    """Entries of a tokenizer's vocabulary that stand alone, in the vocabulary's order (near enough
    by frequency).

    Args:
        tokenizer: open_clip's ``SimpleTokenizer`` (entries ending ``</w>``) or ``HFTokenizer``, or
            one of the library tokenizers (WordPiece: entries without ``##``; SentencePiece: entries
            beginning with ``▁``).
        limit: keep only words (letters, at least three), and of these the first ``limit``.

    Returns:
        Columns ``text`` and ``category`` (``word``: letters only, ``number``: digits only, or
        ``other``).

    Raises:
        AigiError: a tokenizer of another kind, or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise AigiError(f"A bank needs at least one word, {limit} were asked for.")
    texts = dict.fromkeys(text for text in _standing_alone(tokenizer) if _is_text(text))
    table = pd.DataFrame({"text": list(texts)}, dtype=str)
    table["category"] = [
        WORD if t.isalpha() else NUMBER if t.isdigit() else OTHER for t in table["text"]
    ]
    if limit is not None:
        table = (
            table[(table["category"] == WORD) & (table["text"].str.len() >= 3)]
            .head(limit)
            .reset_index(drop=True)
        )
    return table


def all_tokens() -> pd.DataFrame:
    """Every entry of CLIP's vocabulary of 49,408 that is text, sub-words included, as the paper
    searches them (section 4); the same list for every encoder, whose own tokenizer reads each
    entry as a text.

    Left out are special entries, bytes that are no text by themselves, and control characters:
    CLIP's tokenizer drops them, so that what is embedded would be no text at all.

    Returns:
        Columns ``text`` (each once, in the vocabulary's order) and ``category`` (``word`` where it
        can stand alone, else ``sub-word``).
    """
    tokenizer = open_clip.SimpleTokenizer()
    alone, special = set(_standing_alone(tokenizer)), set(tokenizer.all_special_ids)
    entries = [token for token, i in _by_id(tokenizer.encoder) if i not in special]
    texts = [_decoded(tokenizer, token.removesuffix("</w>")) for token in entries]
    kept = list(dict.fromkeys(text for text in texts if _is_text(text)))
    kinds = [WORD if text in alone else SUB_WORD for text in kept]
    return pd.DataFrame({"text": kept, "category": kinds}, dtype=str)


def _is_text(text: str) -> bool:
    """Whether anything can be read: some sign, and none that is a control character."""
    return bool(text.strip()) and not any(
        unicodedata.category(sign) in ("Cc", "Cs") for sign in text
    )


def _decoded(tokenizer: Any, letters: str) -> str:
    """What open_clip's letters stand for; empty for the bytes of half a character."""
    try:
        return bytes(tokenizer.byte_decoder[letter] for letter in letters).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        return ""


def _standing_alone(tokenizer: Any) -> list[str]:
    if hasattr(tokenizer, "byte_decoder"):  # open_clip's SimpleTokenizer: letters stand for bytes
        special = set(getattr(tokenizer, "all_special_ids", ()))
        entries = (
            token
            for token, i in _by_id(tokenizer.encoder)
            if token.endswith("</w>") and i not in special
        )
        texts = [_decoded(tokenizer, token.removesuffix("</w>")) for token in entries]
        return [text for text in texts if text]
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # open_clip's HFTokenizer wraps one
    if not hasattr(inner, "get_vocab"):
        raise AigiError(
            f"The vocabulary of a {type(tokenizer).__name__} cannot be read: give a list of phrases"
            " with --phrases."
        )
    vocabulary = [token for token, _ in _by_id(inner.get_vocab())]
    if any(token.startswith("##") for token in vocabulary):
        return [
            t
            for t in vocabulary
            if not t.startswith("##") and not (t.startswith("[") and t.endswith("]"))
        ]
    starts = [token.removeprefix("▁") for token in vocabulary if token.startswith("▁")]
    if not starts:
        raise AigiError(
            f"The vocabulary of a {type(inner).__name__} marks no word's beginning or end: give a"
            " list of phrases with --phrases."
        )
    return starts


def _by_id(vocabulary: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(vocabulary.items(), key=lambda entry: entry[1])


def count_cut(tokenizer: Any, texts: Sequence[str]) -> int:
    """How many texts are longer than the text tower's context, so that it sees only their
    beginning.

    Raises:
        AigiError: the tokenizer is of a kind whose context is not known.
    """
    if hasattr(tokenizer, "byte_decoder"):
        room = tokenizer.context_length - 2  # start and end of text
        return sum(len(tokenizer.encode(text)) > room for text in texts)
    if hasattr(tokenizer, "encode_batch"):
        return sum(bool(encoding.overflowing) for encoding in tokenizer.encode_batch(list(texts)))
    if hasattr(tokenizer, "tokenizer") and hasattr(tokenizer, "context_length"):
        ids = tokenizer.tokenizer(list(texts))["input_ids"]
        return sum(len(row) > tokenizer.context_length for row in ids)
    raise AigiError(
        f"How long a text a {type(tokenizer).__name__} takes is not known: this encoder is not"
        " covered."
    )


def check_template(template: str) -> str:
    """A template holds ``{}`` exactly once, where the text goes; raises AigiError otherwise."""
    if (
        template.count("{}") != 1
        or template.replace("{}", "").count("{")
        or template.replace("{}", "").count("}")
    ):
        raise AigiError(
            f"The template {template!r} must hold {{}} exactly once, such as 'a photo of a {{}}'."
        )
    return template


def embed(
    encoder: Encoder, texts: Sequence[str], template: str = "{}"
) -> Float16[np.ndarray, "T d"]:
    """Texts in the joint space, scaled to length 1.

    Raises:
        AigiError: an empty text, a bad template, or an embedding without direction.
    """
    check_template(template)
    empty = next((i for i, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise AigiError(
            f"Text number {empty + 1} is empty: every text of a bank needs at least one letter."
        )
    rows = encoder.encode_texts([template.replace("{}", text) for text in texts]).astype(np.float32)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    broken = np.flatnonzero(~(np.isfinite(length[:, 0]) & (length[:, 0] > 0)))
    if len(broken):
        raise AigiError(
            f"The text tower gives {texts[broken[0]]!r} no direction: its weights are damaged."
        )
    rows /= length
    return rows.astype(np.float16)
