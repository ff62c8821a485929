"""Calibration of a method: the probabilities of all its detectors, judged together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from aigi_core.calibration.probabilities import CalibrationError, chance_errors, equal_mass_bins
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL
from aigi_core.resampling import percentile_interval

BINS = 10
SIMULATIONS = 200


def pooled_calibration_error(
    probabilities: Float[np.ndarray, "K n"],
    labels: Int[np.ndarray, " n"],
    pairs: Bool[np.ndarray, "K n"],
    counts: Real[np.ndarray, "draws m"],
    block: Int[np.ndarray, " n"] | None = None,
    *,
    prior: float = 0.5,
    bins: int = BINS,
    level: float = 0.95,
    seed: int = 0,
) -> CalibrationError:
    """Expected calibration error over pairs of a detector and an image, in bins of equal numbers of
    pairs, both classes weighted to the prior.

    The interval is that of a bootstrap of images (a pair's image brings all its pairs), centred on
    the value; the null is that of :func:`~aigi_core.calibration.probabilities.chance_errors`, with
    one random number an image, so that errors of several detectors on one image go together.

    Measured with four detectors of 200 or 800 common images, 20% or 50% fakes (150 samples each):
    where probabilities err by .08 or .11 the 95% interval holds the error of all images in 91 to
    98% of samples. Where they do not err it lies above zero, as the value does: the null says so
    (p < .05 in 0 to 2% of samples).

    Args:
        probabilities: of being fake, stated for ``prior``.
        pairs: which of them count.
        counts: how often each image, or each block of images, occurs in each draw.
        block: of each image; None where images are drawn singly.

    Raises:
        AigiError: no pair of one class.
    """
    fake = np.asarray(labels) == FAKE
    detector, image = np.nonzero(pairs)
    p, y = probabilities[detector, image], fake[image]
    if y.all() or not y.any():
        raise AigiError("A calibration error needs real and fake images: choose images of both.")
    cell = equal_mass_bins(p, bins)
    number = int(cell.max()) + 1

    def sums(place: np.ndarray, size: int, of: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[size, bins] sums of weights over the pairs ``of``."""
        flat = np.bincount(place[of] * number + cell[of], weights[of], minlength=size * number)
        return flat.reshape(size, number)

    def gaps(real: tuple[np.ndarray, ...], fakes: tuple[np.ndarray, ...]) -> np.ndarray:
        """Errors of draws from [draws, bins] numbers and sums of probabilities of each class."""
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = [
                share / of[0].sum(axis=1, keepdims=True)
                for share, of in ((1 - prior, real), (prior, fakes))
            ]
            stated = weights[0] * real[1] + weights[1] * fakes[1]
            error: np.ndarray = np.abs(weights[1] * fakes[0] - stated).sum(axis=1)
        return error

    place = image if block is None else np.asarray(block)[image]
    ones, size = np.ones(len(p)), counts.shape[1]
    tables = {
        label: [sums(place, size, y == (label == FAKE), w) for w in (ones, p)]
        for label in (REAL, FAKE)
    }
    [ece] = gaps(*(tuple(t.sum(0)[None] for t in tables[label]) for label in (REAL, FAKE)))
    drawn = gaps(*(tuple(counts @ t for t in tables[label]) for label in (REAL, FAKE)))
    centred = np.clip(drawn - np.nanmean(drawn) + ece, 0, 1)
    low, high = percentile_interval(centred, level)

    rng = np.random.default_rng(seed + 1)
    chance = np.concatenate(
        [
            chance_errors(rng.random(len(labels))[None, image], p, y, cell, prior)
            for _ in range(SIMULATIONS)
        ]
    )
    chance = chance[np.isfinite(chance)]
    p_value = (1 + int((chance >= ece - 1e-12).sum())) / (1 + len(chance))
    return CalibrationError(
        ece=float(ece),
        low=float(low),
        high=float(high),
        null_mean=float(chance.mean()),
        null_high=float(np.quantile(chance, level)),
        p_value=p_value,
        bins=number,
        n=len(p),
    )
