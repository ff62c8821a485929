"""How evenly a cloud of embeddings fills its space, before and after components are removed.

IsoScore (Rudman et al. 2022, arXiv 2108.07344) in closed form, IsoScore* (Rudman and Eickhoff 2024,
arXiv 2305.19358), participation ratio and mean cosine. With N images and n components an isotropic
cloud reaches a participation ratio of about n N / (n + N) only, so fewer components score higher
whatever they are: every before/after stands beside removals of as many random components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, Real

from aigi_core.errors import AigiError
from aigi_core.intervals import LEVEL, interval_of_draws
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted

MEASURES = ("isoscore", "isoscore_star", "participation_ratio", "mean_cosine")
ZETA = 0.2
"""Shrinkage of IsoScore* where none is given, as in the experiments of its authors."""
GRAM_LIMIT = 5000
"""Images up to which products of all pairs are held in memory (three arrays of 200 MB at most)."""


@dataclass(frozen=True, repr=False)
class GeometryComparison(ShortRepr):
    """Geometry of the same images before and after removing components.

    Attributes:
        table: one row a measure; columns ``measure, before, before_low, before_high, after,
            after_low, after_high, change, change_low, change_high`` (intervals over images),
            ``random, random_low, random_high`` (mean and band over random removals of as many
            components), ``p_value`` (two-sided, of the change being what a random removal brings)
            and ``isotropic_before, isotropic_after`` (what a perfectly isotropic Gaussian cloud of
            as many images would score; NaN for the measures that shrink or ignore the covariance).
            images, components, kept: n, d, and how many components are kept. controls, draws: how
            many random removals and bootstrap draws.
    """

    table: pd.DataFrame
    images: int
    components: int
    kept: int
    controls: int
    draws: int


def participation_ratio(X: Real[np.ndarray, "n d"]) -> float:
    """(tr C)^2 / tr(C^2) of the covariance C: the number of directions that the variance is spread
    over, 1 to d.
    """
    return float(
        _measures(*_moments(_checked(X), None, None), X.shape[1], ZETA)["participation_ratio"][0]
    )


def isoscore(X: Real[np.ndarray, "n d"]) -> float:
    """IsoScore in [0, 1]: (participation ratio - 1) / (d - 1), which equals the published algorithm
    exactly.
    """
    return float(_measures(*_moments(_checked(X), None, None), X.shape[1], ZETA)["isoscore"][0])


def isoscore_star(
    X: Real[np.ndarray, "n d"],
    zeta: float = ZETA,
    reference: Float[np.ndarray, "d d"] | None = None,
) -> float:
    """IsoScore*: the IsoScore of the shrunk covariance (1 - zeta) C + zeta S.

    Args:
        zeta: 0 leaves the covariance as it is (then IsoScore* is IsoScore), 1 replaces it by S.
        reference: S, a covariance known from more images of the same features. Without one S is the
            identity scaled to the cloud's mean variance (the authors fall back on the bare
            identity, which presumes features of unit variance; unit-length embeddings have
            variances near 1/d).
    """
    if not 0 <= zeta <= 1:
        raise AigiError(f"The shrinkage zeta of IsoScore* lies between 0 and 1, got {zeta}.")
    return float(
        _measures(*_moments(_checked(X), None, reference), X.shape[1], zeta)["isoscore_star"][0]
    )


def mean_cosine(X: Real[np.ndarray, "n d"]) -> float:
    """Mean cosine over all pairs of different images, in linear time: (|sum of unit rows|^2 - n) /
    (n (n - 1)).
    """
    return float(_mean_cosine(_checked(X), np.ones((1, X.shape[1]), bool), None)[0])


def compare_geometry(
    X: Real[np.ndarray, "n d"],
    kept: Bool[np.ndarray, " d"],
    *,
    counts: Integer[np.ndarray, "B n"] | None = None,
    controls: int = 200,
    seed: int = 0,
) -> GeometryComparison:
    """All measures before and after keeping only some components, with intervals and random-removal
    controls.

    The intervals rest on the standard deviation of bootstrap draws
    (:func:`~aigi_core.intervals.interval_of_draws`), around the value itself: a resample repeats
    images, which lowers a participation ratio mechanically. They speak of as many other images.

    Args:
        X: features of any subset of the images, as the detector sees them; rows are not normalised
            again.
        kept: which components remain.
        counts: bootstrap draws of these rows (``transfer.draw_counts``); 200 draws of single images
            by default.
        controls: random removals of as many components.

    Raises:
        AigiError: fewer than two images or two kept components, features that are not finite, an
            image that is zero on what is kept, or images that are all alike.
    """
    X, kept = _checked(X), np.asarray(kept, bool)
    n, d = X.shape
    if kept.shape != (d,) or kept.sum() < 2:
        raise AigiError(
            f"Geometry needs at least two kept components out of {d}; got a mask of shape"
            f" {kept.shape} that keeps {int(kept.sum())}."
        )
    if controls < 1 or (counts is not None and counts.shape[1:] != (n,)):
        raise AigiError(
            f"Geometry needs at least one random removal and draws of all {counted(n, 'image')};"
            " got"
            f" {controls} and draws of shape {None if counts is None else counts.shape}."
        )
    rng = np.random.default_rng(seed)
    if counts is None:
        counts = rng.multinomial(n, np.full(n, 1 / n), size=200)
    everything = np.concatenate([np.ones((1, n)), counts])
    values = [
        _measures(*_moments(X[:, mask], everything, None), int(mask.sum()), ZETA)
        | {"mean_cosine": _mean_cosine(X, mask[None], everything)}
        for mask in (np.ones(d, bool), kept)
    ]
    before, after = values
    subsets = np.zeros((controls, d), bool)
    np.put_along_axis(
        subsets, np.argsort(rng.random((controls, d)), axis=1)[:, : int(kept.sum())], True, axis=1
    )
    chance = _of_subsets(X, subsets)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    rows = []
    for name in MEASURES:
        row: dict[str, object] = {"measure": name}
        for what, draws in (
            ("before", before[name]),
            ("after", after[name]),
            ("change", after[name] - before[name]),
        ):
            positive = what != "change" and bool((draws > 0).all())
            low, high = interval_of_draws(draws[0], draws[1:], n - 1, positive=positive)
            row |= {what: draws[0], f"{what}_low": float(low), f"{what}_high": float(high)}
        centre = chance[name].mean()
        # Removals that change nothing, or nothing but rounding, are as far from the centre as
        # chance is.
        beyond = np.abs(chance[name] - centre) >= abs(after[name][0] - centre) - 1e-9 * max(
            1.0, abs(centre)
        )
        low, high = np.quantile(chance[name], tails)
        row |= {
            "random": centre,
            "random_low": low,
            "random_high": high,
            "p_value": (1 + beyond.sum()) / (1 + controls),
        }
        for what, size in (("before", d), ("after", int(kept.sum()))):
            row[f"isotropic_{what}"] = _isotropic(name, size, n)
        rows.append(row)
    return GeometryComparison(pd.DataFrame(rows), n, d, int(kept.sum()), controls, len(counts))


def _isotropic(measure: str, d: int, n: int) -> float:
    ratio = d * n / (d + n)
    return {"participation_ratio": ratio, "isoscore": (ratio - 1) / (d - 1)}.get(measure, np.nan)


def _moments(
    X: Float[np.ndarray, "n d"],
    counts: Real[np.ndarray, "B n"] | None,
    reference: Float[np.ndarray, "d d"] | None,
) -> tuple[
    Float[np.ndarray, " B"], Float[np.ndarray, " B"], tuple[np.ndarray, float, float] | None
]:
    """tr C and tr C^2 of each draw's covariance C; with a reference S also (tr C S [B], tr S, tr
    S^2).

    With G = X X' every draw is a few quadratic forms in its counts, so that 1,000 draws cost little
    more than one; where there are many more images than components each draw's covariance is
    cheaper.
    """
    n, d = X.shape
    c = np.ones((1, n)) if counts is None else np.asarray(counts, np.float64)
    alike = 1e-20 * float((X * X).sum())
    X = X - X.mean(axis=0)
    if (X * X).sum() <= alike:
        raise AigiError(
            f"All {counted(n, 'image', 'have')} the same features: geometry needs images that"
            " differ."
        )
    size = c.sum(axis=1)
    if n <= GRAM_LIMIT and n * (d + 2 * len(c)) <= len(c) * d * d:
        G = X @ X.T
        cG = c @ G  # size * x_i . mean of the draw
        offset = np.einsum("bi,bi->b", cG, c) / size  # size |mean|^2
        raw = np.einsum("bi,bi->b", c @ (G * G), c)
        through_mean = np.einsum("bi,bi->b", cG * cG, c) / size
        trace = (c @ np.diag(G) - offset) / (size - 1)
        square = (raw - 2 * through_mean + offset**2) / (size - 1) ** 2
    else:
        trace, square = np.empty(len(c)), np.empty(len(c))
        for at, weights in enumerate(c):
            used = weights > 0
            centred = (X[used] - weights @ X / size[at]) * np.sqrt(weights[used])[:, None]
            C = centred.T @ centred / (size[at] - 1)
            trace[at], square[at] = np.trace(C), np.einsum("ij,ij->", C, C)
    trace[trace <= alike] = np.nan  # a draw of one image, again and again
    if reference is None:
        return trace, square, None
    S = np.asarray(reference, np.float64)
    if S.shape != (d, d):
        raise AigiError(
            f"The reference covariance of IsoScore* must be {d} x {d}, got"
            f" {' x '.join(map(str, S.shape))}."
        )
    XS = X @ S
    means = c @ X / size[:, None]
    cross = (
        c @ np.einsum("ij,ij->i", XS, X) - size * np.einsum("bi,ij,bj->b", means, S, means)
    ) / (size - 1)
    return trace, square, (cross, float(np.trace(S)), float((S * S).sum()))


def _measures(
    trace: Float[np.ndarray, " B"],
    square: Float[np.ndarray, " B"],
    reference: tuple[np.ndarray, float, float] | None,
    d: int,
    zeta: float,
) -> dict[str, Float[np.ndarray, " B"]]:
    """Participation ratio, IsoScore and IsoScore* from tr C and tr C^2."""
    if d < 2:
        raise AigiError(f"IsoScore needs at least two components, got {d}.")
    cross, reference_trace, reference_square = reference or (trace**2 / d, trace, trace**2 / d)
    shrunk_trace = (1 - zeta) * trace + zeta * reference_trace
    shrunk_square = (
        (1 - zeta) ** 2 * square + 2 * zeta * (1 - zeta) * cross + zeta**2 * reference_square
    )
    ratio = trace**2 / square
    return {
        "participation_ratio": ratio,
        "isoscore": (ratio - 1) / (d - 1),
        "isoscore_star": (shrunk_trace**2 / shrunk_square - 1) / (d - 1),
    }


def _of_subsets(
    X: Float[np.ndarray, "n d"],
    subsets: Bool[np.ndarray, "R d"],
) -> dict[str, Float[np.ndarray, " R"]]:
    """All measures on many subsets of components of the same size: quadratic forms in the subsets'
    indicators.
    """
    C = np.cov(X, rowvar=False)
    k = subsets.astype(np.float64)
    trace, square = k @ np.diag(C), np.einsum("ri,ri->r", k @ (C * C), k)
    result = _measures(trace, square, None, int(subsets[0].sum()), ZETA)
    return result | {"mean_cosine": _mean_cosine(X, subsets, None)}


def _mean_cosine(
    X: Float[np.ndarray, "n d"],
    subsets: Bool[np.ndarray, "R d"],
    counts: Real[np.ndarray, "B n"] | None,
) -> Float[np.ndarray, " *"]:
    """Mean cosine for each subset of components, or for one subset in each draw."""
    norms = np.sqrt((X * X) @ subsets.T)
    if (norms == 0).any():
        image = int(np.argwhere(norms == 0)[0, 0])
        raise AigiError(
            f"Image {image} of these is zero on the kept components, so its cosines are"
            " not defined: leave it out, or keep more components."
        )
    n = len(X)
    if counts is None:
        sums = np.where(subsets, (X.T @ (1 / norms)).T, 0)
        cosine: np.ndarray = ((sums**2).sum(axis=1) - n) / (n * (n - 1))
        return cosine
    unit = np.where(subsets[0], X / norms, 0)
    size = counts.sum(axis=1)
    # Pairs of an image with its own copies are no pairs of different images.
    same = (counts.astype(np.float64) ** 2).sum(axis=1)
    with np.errstate(
        invalid="ignore", divide="ignore"
    ):  # NaN: a draw of one image, again and again
        drawn: np.ndarray = (((counts @ unit) ** 2).sum(axis=1) - same) / (
            size.astype(np.float64) ** 2 - same
        )
    return np.where(np.isfinite(drawn), drawn, np.nan)


def _checked(X: Real[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    X = np.asarray(X, np.float64)
    if X.ndim != 2 or len(X) < 2:
        raise AigiError(
            "Geometry needs at least two images as rows of a matrix, got an array of shape"
            f" {X.shape}."
        )
    if not np.isfinite(X).all():
        image = int(np.argwhere(~np.isfinite(X))[0, 0])
        raise AigiError(
            f"Image {image} of these has a feature that is NaN or infinite: leave it out or encode"
            " it again."
        )
    return X
