"""The one check of scores and labels, which every public function that takes them goes through."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Integer, Real

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.statements import counted


def check_scores(scores: Real[np.ndarray, "K n"]) -> Float[np.ndarray, "K n"]:
    """Scores as floats, [K, n]; one detector's may come as [n].

    They are floats afterwards whatever they were: negating unsigned integers wraps around, and
    ranking by that calls a perfect detector the worst. Floats keep their precision.

    Raises:
        AigiError: not numbers, not one or two dimensions, or one is not finite.
    """
    values = np.atleast_2d(np.asarray(scores))
    if values.ndim != 2:
        raise AigiError(f"Expected scores of shape [K, n] or [n], got shape {values.shape}.")
    if values.dtype.kind not in "fiub":
        raise AigiError(f"Expected scores that are real numbers, got {values.dtype}.")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        detector, image = np.argwhere(~np.isfinite(values))[0]
        raise AigiError(
            f"The score of detector {detector} for image {image} is {values[detector, image]}:"
            " scores must be finite; look for NaN or infinity in the features."
        )
    return values


def check_labels(labels: Integer[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Labels as int8, each 0 (real) or 1 (fake); raises AigiError for any other."""
    values = np.asarray(labels)
    if values.ndim != 1:
        raise AigiError(f"Expected one label an image, got an array of shape {values.shape}.")
    known = np.isin(values, [REAL, FAKE]) if values.dtype.kind in "fiub" else np.zeros(1, bool)
    if values.size and not known.all():
        shown = ", ".join(map(str, np.unique(values)[:5]))
        raise AigiError(f"Expected labels of 0 (real) and 1 (fake), got {shown}: map them first.")
    return values.astype(np.int8)


def check_labelled_scores(
    scores: Real[np.ndarray, "K n"], labels: Integer[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "K n"], Int[np.ndarray, " n"]]:
    """Scores [K, n] of finite floats and labels [n] of both classes.

    Raises:
        AigiError: see :func:`check_scores` and :func:`check_labels`; numbers that differ; images
            of one class only.
    """
    values, classes = check_scores(scores), check_labels(labels)
    if values.shape[1] != len(classes):
        raise AigiError(
            f"Expected one score for each of {counted(len(classes), 'image')}, got"
            f" {values.shape[1]}."
        )
    fakes = int(classes.sum())
    if fakes in (0, len(classes)):
        only = "fake" if fakes else "real"
        raise AigiError(
            f"All {counted(len(classes), 'test image', 'are')} {only}: metrics need real and fake"
            " images."
        )
    return values, classes
