"""What one detector says and another does not: the words of the difference of their directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from aigi_core.detectors.residual import closeness
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon, unit_directions
from aigi_core.explain.nulls import word_null
from aigi_core.explain.words import Words, combined, words
from aigi_core.reprs import ShortRepr


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ShortRepr):
    """Two directions side by side.

    Attributes:
        words: of the difference of the two unit directions: nearest speaks for the first, farthest
            for the second.
        cosine: between the two.
        p_value: share of pairs of null directions whose cosine is as far from zero (two-sided).
        null_low, null_high: 95% band of the cosine of such pairs.
    """

    words: Words
    cosine: float
    p_value: float
    null_low: float
    null_high: float


def compare_directions(
    lexicon: Lexicon,
    a: Float[np.ndarray, " d"],
    b: Float[np.ndarray, " d"],
    *,
    null_a: Float[np.ndarray, "B d"],
    null_b: Float[np.ndarray, "B d"],
    k: int = 20,
    name: str = "",
) -> Comparison:
    """Compare two detectors' directions against pairs of detectors trained on shuffled labels.

    Args:
        null_a, null_b: null directions of each, drawn independently of each other (other seeds).

    Raises:
        AigiError: a direction of length zero or of another width, or two that are the same.
    """
    d, cosine = lexicon.vectors.shape[1], closeness(a, b)
    if cosine > 1 - 1e-9:
        raise AigiError(
            "A and B are the same direction, so no text tells them apart: choose another detector"
            " or feature view for B."
        )
    units_a, units_b = (
        unit_directions(null, d)[: min(len(null_a), len(null_b))] for null in (null_a, null_b)
    )
    difference = combined({"a": (1.0, a), "b": (-1.0, b)})
    word_lists = words(
        lexicon,
        difference,
        k,
        null=word_null(lexicon, units_a - units_b, "permutation", k),
        name=name,
    )
    drawn = np.einsum("bd,bd->b", units_a, units_b)
    p = (1 + (np.abs(drawn) >= abs(cosine)).sum()) / (1 + len(drawn))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Comparison(word_lists, cosine, float(p), float(low), float(high))
