"""A user's own phrases as a text bank: those that the workspace's banks hold need no text tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from aigi_core.clip.phrases import fold, parse_phrases
from aigi_core.errors import AigiError
from aigi_core.workspace import TextBank, Workspace, digest_of

Encode = Callable[[Sequence[str]], Float32[np.ndarray, "T d"]]
"""Texts to rows of the joint space, as ``Encoder.encode_texts`` of the workspace's own encoder
does.
"""


def split_phrases(line: str) -> tuple[str, ...]:
    """Phrases typed on one line, separated by semicolons; raises AigiError where there is none."""
    return tuple(
        parse_phrases("\n".join(part.lstrip(" #") for part in line.split(";")), "the field")["text"]
    )


def own_bank(
    workspace: Workspace, phrases: Sequence[str], encode: Encode | None = None, name: str = "own"
) -> TextBank:
    """A bank of these phrases.

    A phrase that a bank of the workspace holds (case and white space do not matter) keeps its
    embedding there; the others go through ``encode``.

    Raises:
        AigiError: no phrase, one that is too long, or a phrase that is in no bank without
            ``encode``.
    """
    table = parse_phrases("\n".join(phrases), "the list of phrases")
    keys = [fold(text) for text in table["text"]]
    rows = np.zeros((len(keys), workspace.embeddings.shape[1]), np.float32)
    missing = set(keys)
    for bank in map(workspace.text_bank, workspace.text_banks):
        place = {key: at for at, key in enumerate(map(fold, bank.table["text"])) if key in missing}
        for at, key in enumerate(keys):
            if key in place:
                rows[at] = bank.embeddings[place[key]]
        missing -= place.keys()
    wanted = [at for at, key in enumerate(keys) if key in missing]
    if wanted and encode is None:
        raise AigiError(
            f"{table['text'][wanted[0]]!r} is in none of the workspace's text banks: choose one of"
            " their texts, or let the text tower embed it."
        )
    if wanted and encode is not None:
        rows[wanted] = encode([str(table["text"][at]) for at in wanted])
    return TextBank(name, table, rows, digest_of([name, keys]))
