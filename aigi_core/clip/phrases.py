"""Lists of phrases in plain text: one phrase a line, ``# category`` lines between them.

The project's own list is ``assets/phrases.txt``; a user's list needs no categories. Reading is
lenient where the meaning is clear (byte-order marks, line ends of any system, blank lines, doubled
phrases) and refuses the rest.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from pathlib import Path

import pandas as pd

from aigi_core.assets import asset
from aigi_core.errors import AigiError
from aigi_core.statements import counted

OWN_PHRASES = asset("phrases.txt")
MAX_PHRASES = 100_000
MAX_CHARACTERS = 300
"""Longest phrase, in characters: about four times what fits in CLIP's 77 tokens; encoding checks
the tokens.
"""
MAX_BYTES = 16 * 2**20


def read_phrases(path: str | os.PathLike[str] = OWN_PHRASES) -> pd.DataFrame:
    """Phrases of a text file; see :func:`parse_phrases`.

    Raises:
        AigiError: missing, unreadable, too large or not text; and all that parse_phrases raises.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise AigiError(
                f"A list of phrases is a text file, {file} is not a file: name a .txt file."
            )
        if size > MAX_BYTES:
            raise AigiError(
                f"{file} has {counted(size, 'byte')}, a list of phrases may have {MAX_BYTES:,}:"
                " split it"
                " into several banks."
            )
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise AigiError(f"There is no list of phrases at {file}: check the path.") from error
    except OSError as error:
        raise AigiError(
            f"The list of phrases {file} cannot be read ({error.strerror}): check its rights."
        ) from error
    return parse_phrases(_decode(content, str(file)), source=str(file))


def parse_phrases(text: str | bytes, source: str = "the list of phrases") -> pd.DataFrame:
    """Phrases typed or uploaded by a user.

    A line ``# name`` starts a category (``#`` alone ends it; ``#tag`` without the space is a
    phrase). White space is folded; of phrases equal but for case and white space the first is kept.

    Returns:
        Columns ``text`` and ``category`` (empty where none was given), in the order of the list.

    Raises:
        AigiError: no phrase, more than :data:`MAX_PHRASES`, one longer than :data:`MAX_CHARACTERS`,
            or not text.
    """
    if isinstance(text, bytes):
        text = _decode(text, source)
    category = ""
    rows = []
    seen = set[str]()
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = " ".join(raw.split())
        if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in line):
            raise AigiError(
                f"Line {number} of {source} holds control characters: expected plain text, one"
                " phrase a line."
            )
        if line == "#" or line.startswith("# "):
            category = line[2:]
            continue
        key = fold(line)
        if not key or key in seen:
            continue
        if len(line) > MAX_CHARACTERS:
            raise AigiError(
                f"Line {number} of {source} has {counted(len(line), 'character')}, a phrase may"
                " have"
                f" {MAX_CHARACTERS}: put one phrase on each line."
            )
        seen.add(key)
        rows.append((line, category))
        if len(rows) > MAX_PHRASES:
            raise AigiError(
                f"{source} has more than {MAX_PHRASES:,} phrases: split it into several banks."
            )
    if not rows:
        raise AigiError(f"{source} holds no phrase: write one phrase a line.")
    return pd.DataFrame(rows, columns=["text", "category"])


def fold(text: str) -> str:
    """A text without what does not change its meaning as a phrase: case, white space, width of
    characters.
    """
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()


def _decode(content: bytes, source: str) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise AigiError(
            f"{source} is not UTF-8 text (byte {error.start:,}): save it as UTF-8."
        ) from error
