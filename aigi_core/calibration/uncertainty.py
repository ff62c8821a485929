"""How far a calibration could have come out otherwise: Platt scaling on bootstrap draws, all draws
at once.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logit

from aigi_core.manifest import FAKE
from aigi_core.resampling import group_weights

STEPS = 60
TOLERANCE = 1e-9
BINNED = 20_000
"""Of more images, scores are replaced by means in steps, and groups are drawn in blocks."""
STEPS_OF_SCORES = 1000
"""Steps a class, of equal numbers of images."""
BLOCKS = 512
CACHED = 2**15
"""Weights of images in draws that are fitted at once."""


def calibration_draws(
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    groups: np.ndarray,
    draws: int = 500,
    *,
    prior: float = 0.5,
    seed: int = 0,
) -> Float[np.ndarray, "draws 2"]:
    """Slope and intercept of :func:`aigi_core.calibration.fit_calibration` (Platt, smoothed) on
    draws of whole groups.


    Newton's method on all draws together, with halved steps where one overshoots; a slope below
    zero is set to zero, as in the fit itself, which leaves the prior. Of more than :data:`BINNED`
    images, blocks of groups are drawn, and scores are counted in narrow steps.

    Returns:
        [draws, 2]; draws that lack a class keep the prior.
    """
    labels = np.asarray(labels)
    if len(labels) <= BINNED:
        weights = group_weights(groups, draws, strata=labels, seed=seed)
        return platt_fits(scores, labels, weights, prior=prior)
    place, middle, of = _binned(scores, labels)
    block = dealt(groups, labels, seed)
    counts = np.bincount(block * len(middle) + place, minlength=BLOCKS * len(middle))
    counts = counts.reshape(BLOCKS, len(middle)).astype(np.float64)
    weights = group_weights(np.arange(BLOCKS), draws, seed=seed) @ counts
    # draws of so many images lie near their whole, so few steps lead from there to each
    [whole] = platt_fits(middle, of, counts.sum(axis=0)[None], prior=prior)
    return platt_fits(middle, of, weights, prior=prior, start=whole)


def dealt(
    groups: np.ndarray, labels: Int[np.ndarray, " n"], seed: int = 0
) -> Int[np.ndarray, " n"]:
    """The block of each image: whole groups, dealt so that each of :data:`BLOCKS` has the same
    share of groups that begin with either class."""
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(first)), labels[first]))
    block_of = np.empty(len(first), int)
    block_of[order] = np.arange(len(first)) % BLOCKS
    return block_of[member]


def platt_fits(
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, "draws n"],
    *,
    prior: float = 0.5,
    start: Float[np.ndarray, " 2"] | None = None,
) -> Float[np.ndarray, "draws 2"]:
    """Slope and intercept of :func:`aigi_core.calibration.fit_calibration` (Platt, smoothed), once
    for each way of counting the images.

    Newton's method on all of them together, with halved steps where one overshoots; a slope below
    zero is set to zero, as in the fit itself, which leaves the prior.

    Args:
        weights: how often each image counts; 0 leaves it out.
        start: slope and intercept from which Newton's steps begin; zeros by default.

    Returns:
        [draws, 2]; ways that lack a class keep the prior.
    """
    labels, weights = np.asarray(labels), np.asarray(weights, np.float64)
    if len(labels) > BINNED:
        place, scores, labels = _binned(scores, labels)
        weights = np.stack([np.bincount(place, row, len(labels)) for row in weights])
    scale = float(np.std(scores)) or 1.0
    z, fake = np.asarray(scores, np.float64) / scale, labels == FAKE
    # as many at once as stay in the processor's cache: all 500 at once take thrice as long
    step = max(1, CACHED // max(1, len(z)))
    first = np.zeros(2) if start is None else start * (scale, 1.0)
    parts = [
        _newton(z, fake, weights[at : at + step], prior, first)
        for at in range(0, len(weights), step)
    ]
    fits = np.concatenate(parts) if parts else np.zeros((0, 2))
    fits[:, 0] /= scale
    return fits


def _newton(
    z: Float[np.ndarray, " n"],
    fake: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "draws n"],
    prior: float,
    start: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, "draws 2"]:
    draws = len(weights)
    n_fake, n_real = (weights[:, part].sum(axis=1, keepdims=True) for part in (fake, ~fake))
    good = ((n_fake > 0) & (n_real > 0))[:, 0]
    weights = np.where(
        fake, prior * weights / np.maximum(n_fake, 1), (1 - prior) * weights / np.maximum(n_real, 1)
    )
    targets = np.where(fake, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))

    def at(parameters: np.ndarray, of: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """Loss and probabilities, from one exponential."""
        margins = parameters[:, :1] * z + parameters[:, 1:]
        small = np.exp(-np.abs(margins))
        losses = np.log1p(small) + np.maximum(margins, 0.0) - targets[of] * margins
        p = np.where(margins < 0, small, 1.0) / (1.0 + small)
        return np.einsum("ij,ij->i", weights[of], losses), p

    fits, active = np.tile(start, (draws, 1)), np.arange(draws)
    value, p = at(fits, active)
    for _ in range(STEPS):
        own = weights[active]
        gap, bend = own * (p - targets[active]), own * p * (1 - p)
        gradient = np.stack([gap @ z, gap.sum(axis=1)], axis=1)
        a, b, c = bend @ (z * z) + 1e-12, bend @ z, bend.sum(axis=1) + 1e-12
        determinant = np.maximum(a * c - b * b, 1e-18)
        step = (
            np.stack(
                [c * gradient[:, 0] - b * gradient[:, 1], a * gradient[:, 1] - b * gradient[:, 0]],
                axis=1,
            )
            / determinant[:, None]
        )
        size = np.ones(len(active))
        for _ in range(30):
            reached, p = at(fits[active] - size[:, None] * step, active)
            worse = reached > value + 1e-12
            if not worse.any():
                break
            size[worse] /= 2
        else:
            reached, p = at(fits[active] - size[:, None] * step, active)
        fits[active] -= size[:, None] * step
        going = (np.abs(gradient).max(axis=1) >= TOLERANCE) & good[active]
        active, value, p = active[going], reached[going], p[going]
        if not len(active):
            break
    flat = fits[:, 0] < 0
    mean = (weights * targets).sum(axis=1)
    fits[flat] = np.stack(
        [np.zeros(flat.sum()), logit(np.clip(mean[flat], 1e-6, 1 - 1e-6))], axis=1
    )
    fits[~good] = [0.0, logit(prior)]
    return fits


def _binned(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """The step of each image, and each step's mean score and label."""
    order = np.lexsort((scores, labels))
    place = np.empty(len(scores), int)
    at = 0
    for label in np.unique(labels):
        own = order[labels[order] == label]
        steps = min(STEPS_OF_SCORES, len(own))
        place[own] = at + np.arange(len(own)) * steps // len(own)
        at += steps
    of = np.zeros(at, int)
    of[place] = labels
    return place, np.bincount(place, scores) / np.bincount(place), of
