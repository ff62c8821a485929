"""Rows of a matrix as directions: one rule for rows without length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from aigi_core.errors import AigiError

NO_DIRECTION = (
    "An embedding of length zero has no direction: leave that image out and encode again."
)


def unit_rows(
    rows: Float[np.ndarray, "*n d"],
    error: str | Callable[[int], str] = NO_DIRECTION,
    *,
    keep_zeros: bool = False,
) -> Float[np.ndarray, "*n d"]:
    """Rows divided by their Euclidean length, in the precision that they come in.

    Args:
        error: what to say where rows have no length; a function gets their number.
        keep_zeros: rows of zeros stay rows of zeros.

    Raises:
        AigiError: a row of length zero, or one that is not finite, unless zeros are kept.

    >>> unit_rows(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    >>> unit_rows(np.zeros((1, 2)), keep_zeros=True)
    array([[0., 0.]])
    """
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    positive = np.isfinite(lengths) & (lengths > 0)
    if keep_zeros:
        lengths = np.where(positive, lengths, 1).astype(lengths.dtype)
    elif not positive.all():
        raise AigiError(error if isinstance(error, str) else error(int((~positive).sum())))
    unit: np.ndarray = rows / lengths
    return unit
