"""Texts for an image encoder that has no text tower: another encoder's text embeddings, mapped into
the space of its image embeddings.

The images' side stays as it is, so detectors, heads and stored results keep their meaning: a text
becomes the image embedding that its caption predicts. It is locked-image tuning (Zhai et al. 2022,
arXiv 2111.07991) in its simplest form, ridge regression (Hoerl and Kennard 1970).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from aigi_core.clip.demo.alignment import ranks
from aigi_core.errors import AigiError
from aigi_core.resampling import percentile_interval
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""Of the ridge; chosen by leaving each caption out (generalised cross-validation)."""
WAYS = 100
LEAST_CAPTIONS = 30
"""Fewer different captions leave too few for the measurement on unseen ones."""


@dataclass(frozen=True, eq=False)
class TextMap:
    """Text embeddings [T, t] to unit rows of the image space [T, d]."""

    text_mean: Float[np.ndarray, " t"]
    weights: Float[np.ndarray, "t d"]
    image_mean: Float[np.ndarray, " d"]

    def __call__(self, texts: Float[np.ndarray, "T t"]) -> Float[np.ndarray, "T d"]:
        return unit_rows(self.image_mean + (unit_rows(texts) - self.text_mean) @ self.weights)


def fit_text_map(
    images: Float[np.ndarray, "n d"],
    texts: Float[np.ndarray, "n t"],
    captions: Sequence[str] | np.ndarray,
) -> TextMap:
    """Fit to captioned images, every different caption weighing alike.

    Args:
        images: their embeddings, of any length.
        texts: the embeddings of their captions.
        captions: what the captions say; images with the same one count as their mean.
    """
    from sklearn.linear_model import RidgeCV

    _, first, number = np.unique(np.asarray(captions), return_index=True, return_inverse=True)
    sums = np.zeros((len(first), images.shape[1]))
    np.add.at(sums, number, unit_rows(images.astype(np.float64)))
    means = sums / np.bincount(number)[:, None]
    known = unit_rows(texts[first].astype(np.float64))
    text_mean, image_mean = known.mean(axis=0), means.mean(axis=0)
    model = RidgeCV(PENALTIES, fit_intercept=False).fit(known - text_mean, means - image_mean)
    return TextMap(text_mean, model.coef_.T, image_mean)


def measure_text_map(
    images: Float[np.ndarray, "n d"],
    texts: Float[np.ndarray, "n t"],
    captions: Sequence[str] | np.ndarray,
    seed: int = 0,
) -> dict[str, Any]:
    """How often an image's own caption is the nearest of 100, by cosine; the captions of each fold
    are unknown to the fit that is measured on them.

    Returns:
        ``ways``, how many captions are chosen from, and ``held_out``: ``n`` images, one a caption,
        ``first`` and ``first_five``, each ``mean, low, high`` (95%, bootstrap over images).

    Raises:
        AigiError: too few different captions.
    """
    names, first = np.unique(np.asarray(captions), return_index=True)
    if len(names) < LEAST_CAPTIONS:
        raise AigiError(
            f"Texts are aligned by captions of real training images, of which"
            f" {counted(len(names), 'different one')} is too few ({LEAST_CAPTIONS} at least): give"
            " the images captions (column caption of a listing), as docs/data.md says."
        )
    folds = np.array_split(
        np.random.default_rng(seed).permutation(len(names)), max(2, len(names) // WAYS)
    )
    ways = min(WAYS, *map(len, folds))
    number = np.searchsorted(names, np.asarray(captions))
    hits = []
    for fold in folds:
        rest = ~np.isin(number, fold)
        fitted = fit_text_map(images[rest], texts[rest], np.asarray(captions)[rest])
        own = first[fold]
        hits.append(chances_of_own(ranks(images[own], fitted(texts[own])), ways))
    shares = np.concatenate(hits)
    rng = np.random.default_rng(seed)
    drawn = shares[rng.integers(len(shares), size=(2000, len(shares)))].mean(axis=1)
    summary: dict[str, Any] = {"n": len(shares)}
    for k, name in enumerate(("first", "first_five")):
        low, high = percentile_interval(drawn[:, k])
        summary[name] = {
            "mean": round(float(shares[:, k].mean()), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }
    return {"ways": ways, "held_out": summary}


def chances_of_own(rank: Float[np.ndarray, " n"], ways: int) -> Float[np.ndarray, "n 2"]:
    """Chance that the own caption comes first, and among the first five, of ``ways`` drawn from all
    n with the own one.
    """
    from scipy import stats  # takes long to load

    n, better = len(rank), np.round(rank - 1)
    return np.stack([stats.hypergeom.cdf(k - 1, n - 1, better, ways - 1) for k in (1, 5)], axis=1)
