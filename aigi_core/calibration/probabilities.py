"""What a detector's score is worth as a probability, and where to put the threshold.

Scores are logits that grow towards fake (labels: fake = 1). Everything is fitted on validation
images and judged on others. Probabilities are stated for a prior share of fakes (``prior``, 0.5
unless said otherwise), because the share in a collection is an accident of collecting; classes are
weighted to that prior both in fitting and in judging.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import betaincinv, expit, logit

from aigi_core.calibration.uncertainty import BINNED, BLOCKS, dealt
from aigi_core.errors import AigiError
from aigi_core.intervals import rate_interval
from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics import METRICS, Column
from aigi_core.resampling import group_weights, percentile_interval
from aigi_core.scores import check_labelled_scores, check_scores
from aigi_core.statements import DEFAULT_RATE, counted

Method = Literal["temperature", "platt"]
STEPS = 4096
"""Steps of probability in which labels of very many images are drawn."""


@dataclass(frozen=True)
class Calibration:
    """A map from a detector's logit to a probability: ``sigmoid(slope * logit + intercept)``.

    Attributes:
        slope: 1 / temperature; 0 where the scores say nothing about the label (they are never
            turned around).
        prior: the share of fakes for which the probabilities hold.
        n_real, n_fake: validation images it was fitted on.
    """

    method: str
    slope: float
    intercept: float
    prior: float
    n_real: int
    n_fake: int

    def logit(
        self, scores: Float[np.ndarray, " ..."], prior: float | None = None
    ) -> Float[np.ndarray, " ..."]:
        """Calibrated log-odds, restated for another prior share of fakes where one is given."""
        shift = 0.0 if prior is None else logit(_share(prior)) - logit(self.prior)
        return self.slope * np.asarray(scores, float) + self.intercept + shift

    def probability(
        self, scores: Float[np.ndarray, " ..."], prior: float | None = None
    ) -> Float[np.ndarray, " ..."]:
        """Probability of being fake, for the prior of the fit or another one."""
        probability: np.ndarray = expit(self.logit(scores, prior))
        return probability


def fit_calibration(
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    method: Method = "platt",
    *,
    prior: float | None = 0.5,
    smooth: bool = True,
) -> Calibration:
    """Fit temperature scaling (Guo et al. 2017) or Platt scaling (Platt 1999) on validation scores.

    Args:
        prior: share of fakes the probabilities are stated for; None keeps the share among
            ``labels``.
        smooth: Platt's targets (n+1)/(n+2) and 1/(n+2) instead of 1 and 0, so that separable scores
            get a finite slope.

    Raises:
        AigiError: a class is missing, a score is not finite, or lengths differ.
    """
    if method not in ("temperature", "platt"):
        raise AigiError(f"There is no calibration {method!r}: expected 'temperature' or 'platt'.")
    scores, labels = _checked(scores, labels)
    n_fake, n_real = int(labels.sum()), int((1 - labels).sum())
    share = n_fake / len(labels) if prior is None else _share(prior)
    weights = _class_weights(labels, share)
    fake, real = ((n_fake + 1) / (n_fake + 2), 1 / (n_real + 2)) if smooth else (1.0, 0.0)
    targets = np.where(labels == FAKE, fake, real)
    scale = float(scores.std()) or 1.0
    z = scores / scale

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        margins = parameters[0] * z + (parameters[1] if len(parameters) == 2 else 0.0)
        value = float(weights @ (np.logaddexp(0, margins) - targets * margins))
        gap = weights * (expit(margins) - targets)
        return value, np.array([gap @ z, gap.sum()])[: len(parameters)]

    start = np.array([1.0, 0.0]) if method == "platt" else np.array([1.0])
    bounds = [(0.0, 1e4), (-1e4, 1e4)][: len(start)]
    from scipy.optimize import minimize  # a fifth of a second to load, which every page would pay

    fit = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    intercept = float(fit.x[1]) if method == "platt" else 0.0
    return Calibration(method, float(fit.x[0]) / scale, intercept, share, n_real, n_fake)


@dataclass(frozen=True)
class CalibrationError:
    """How far probabilities are from frequencies, beside what chance alone would show.

    Attributes:
        ece: expected calibration error, the mean gap |frequency - probability| over bins of equal
            mass. low, high: bootstrap interval over groups, centred on ``ece`` (resampling alone
            inflates the gaps). null_mean, null_high: mean and upper limit of the same statistic for
            a perfectly calibrated detector with these probabilities and this n.
        p_value: of perfect calibration, from that simulation.
    """

    ece: float
    low: float
    high: float
    null_mean: float
    null_high: float
    p_value: float
    bins: int
    n: int


def calibration_error(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    groups: np.ndarray | None = None,
    prior: float | None = 0.5,
    bins: int | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> CalibrationError:
    """Expected calibration error with an interval and a null.

    Bins hold equal numbers of images; their number, unless given, is the largest for which the
    frequencies still rise from bin to bin (ECE-sweep of Roelofs et al. 2022, less biased than a
    fixed number). Of very many images (:data:`~.uncertainty.BINNED`) blocks of groups are drawn,
    and labels by narrow steps of probability.

    Args:
        groups: [n] images that belong together; each image alone where None.
        prior: the share of fakes for which the probabilities are stated; None takes the labels as
            they come.
    """
    p, y = _checked_probabilities(probabilities, labels)
    cells = equal_mass_bins(p, bins or _sweep(p, y))
    rng = np.random.default_rng(seed + 1)
    group = np.arange(len(p)) if groups is None else np.asarray(groups)
    if len(p) > BINNED:
        block = dealt(group, y, seed)
        counts = group_weights(np.arange(BLOCKS), draws, seed=seed)
        every = np.concatenate([np.ones((1, BLOCKS)), counts])
        ece, *drawn = _block_gaps(every, block, p, labels=y, cells=cells, prior=prior)
        resampled, ece = np.array(drawn), float(ece)
        null = _chance_in_steps(rng, draws, p, labels=y, bin_of=cells, prior=prior)
    else:
        onehot = np.eye(int(cells.max()) + 1)[cells]
        ece = float(_gaps(np.ones((1, len(p))), y[None], p, onehot, prior)[0])
        weights = group_weights(group, draws, strata=y, seed=seed)
        resampled = _gaps(weights, y[None], p, onehot, prior)
        null = chance_errors(rng.random((draws, len(p))), p, y, cells, prior)
    resampled = resampled - np.nanmean(resampled) + ece
    low, high = percentile_interval(np.clip(resampled, 0, 1), level)
    null = null[np.isfinite(null)]
    p_value = (1 + int((null >= ece - 1e-12).sum())) / (1 + len(null))
    limit = float(np.quantile(null, level)) if len(null) else float("nan")
    return CalibrationError(
        ece,
        float(low),
        float(high),
        float(null.mean()) if len(null) else float("nan"),
        limit,
        p_value,
        int(cells.max()) + 1,
        len(p),
    )


def chance_errors(
    uniform: Float[np.ndarray, "draws n"],
    p: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    bin_of: Int[np.ndarray, " n"],
    prior: float | None,
) -> Float[np.ndarray, " draws"]:
    """Calibration errors that faultless probabilities would show: labels are drawn from these,
    restated for the share of fakes among the images, and weighed up to the prior; NaN where a draw
    lacks a class.

    Each class weighs as the observed numbers over those expected say. A draw's own numbers alone
    would weigh away that stated probabilities are all too low, and then call the draw itself
    miscalibrated.

    Args:
        uniform: what decides each label; equal columns make labels that go together.
    """
    here = float(np.mean(labels))
    expected = p if prior is None else _restated(p, _share(prior), here)
    fake = uniform < expected
    bins = int(bin_of.max()) + 1
    place = (np.arange(len(fake))[:, None] * bins + bin_of).ravel()

    def sums(weights: np.ndarray) -> np.ndarray:
        flat = np.bincount(place, weights.ravel(), len(fake) * bins)
        return flat.reshape(len(fake), bins)

    fakes, stated, stated_real = map(sums, (fake.astype(float), fake * p, ~fake * p))
    return _chance_gaps(fakes, stated, stated_real, float(expected.mean()), labels, prior)


def _chance_gaps(
    fakes: Float[np.ndarray, "draws bins"],
    stated: Float[np.ndarray, "draws bins"],
    stated_real: Float[np.ndarray, "draws bins"],
    expected: float,
    labels: Int[np.ndarray, " n"],
    prior: float | None,
) -> Float[np.ndarray, " draws"]:
    """:func:`chance_errors` from the number of fakes that were drawn in each bin and the sums of
    probabilities of both classes; ``expected``: the share of fakes that would be."""
    n, here = len(labels), float(np.mean(labels))
    if prior is None:
        gap: np.ndarray = np.abs(fakes - stated - stated_real).sum(axis=1) / n
        return gap
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = prior * expected / here, (1 - prior) * (1 - expected) / (1 - here)
        number = fakes.sum(axis=1, keepdims=True)
        weights = shares[0] / number, shares[1] / (n - number)
        gap = np.abs(weights[0] * (fakes - stated) - weights[1] * stated_real).sum(axis=1)
        error: np.ndarray = np.where(np.isfinite(gap), gap, np.nan) / sum(shares)
    return error


def _chance_in_steps(
    rng: np.random.Generator,
    draws: int,
    p: Float[np.ndarray, " n"],
    *,
    labels: Int[np.ndarray, " n"],
    bin_of: Int[np.ndarray, " n"],
    prior: float | None,
) -> Float[np.ndarray, " draws"]:
    """As :func:`chance_errors` for very many images: those of a bin whose probabilities lie next to
    each other, :data:`STEPS` in all, are given fakes together, by their means."""
    expected = p if prior is None else _restated(p, _share(prior), float(np.mean(labels)))
    order = np.lexsort((p, bin_of))
    place = np.empty(len(p), int)
    place[order] = np.arange(len(p)) * STEPS // len(p)
    step = np.unique(bin_of * STEPS + place, return_inverse=True)[1]
    size = np.bincount(step)
    mean, chance = np.bincount(step, p) / size, np.bincount(step, expected) / size
    starts = np.flatnonzero(np.diff(bin_of[order][np.cumsum(size) - 1], prepend=-1))
    fake = rng.binomial(size, np.clip(chance, 0, 1), (draws, len(size))).astype(np.float64)
    fakes, stated, stated_real = (
        np.add.reduceat(one, starts, axis=1) for one in (fake, fake * mean, (size - fake) * mean)
    )
    return _chance_gaps(fakes, stated, stated_real, float(expected.mean()), labels, prior)


def reliability(
    probabilities: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    prior: float | None = 0.5,
    bins: int = 10,
    level: float = 0.95,
) -> pd.DataFrame:
    """Reliability diagram: stated probability against observed share of fakes, in bins of equal
    mass.

    Returns:
        One row a bin: ``low, high, probability`` (mean stated), ``share`` with ``share_low,
            share_high``, ``band_low, band_high`` (where the share would fall under perfect
            calibration; Bröcker and Smith 2007), ``n, n_fake``. Shares are restated for ``prior``
            like the probabilities.
    """
    p, y = _checked_probabilities(probabilities, labels)
    table = pd.DataFrame({"cell": equal_mass_bins(p, bins), "p": p, "y": y})
    rows = table.groupby("cell").agg(
        low=("p", "min"),
        high=("p", "max"),
        probability=("p", "mean"),
        n=("y", "size"),
        n_fake=("y", "sum"),
    )
    from scipy.stats import binom  # a second to load, which every page would pay

    here = float(y.mean())
    to = here if prior is None else _share(prior)
    n, hits = rows["n"].to_numpy(), rows["n_fake"].to_numpy()
    share_low, share_high = rate_interval(hits / n, n, level)
    expected = _restated(rows["probability"].to_numpy(), to, here)
    band_low, band_high = (
        binom.ppf(q, n, expected) / n for q in ((1 - level) / 2, (1 + level) / 2)
    )
    columns = dict(
        share=hits / n,
        share_low=share_low,
        share_high=share_high,
        band_low=band_low,
        band_high=band_high,
    )
    rows = rows.assign(**{name: _restated(value, here, to) for name, value in columns.items()})
    return rows.reset_index(drop=True).astype({"n_fake": int})


@dataclass(frozen=True)
class Ensemble:
    """Several detectors as one: the mean of their calibrated log-odds, calibrated again.

    Attributes:
        members: one calibration a detector, in the order of the scores' rows.
        whole: what maps the mean log-odds to a probability.
    """

    members: tuple[Calibration, ...]
    whole: Calibration

    def member_logits(self, scores: Float[np.ndarray, "K n"]) -> Float[np.ndarray, "K n"]:
        """The members' calibrated log-odds."""
        if len(scores) != len(self.members):
            raise AigiError(
                f"The ensemble has {counted(len(self.members), 'detector')}, scores came from"
                f" {len(scores)}."
            )
        return np.stack([m.logit(row) for m, row in zip(self.members, scores, strict=True)])

    def mean_logit(self, scores: Float[np.ndarray, "K n"]) -> Float[np.ndarray, " n"]:
        """Mean of the members' calibrated log-odds, before the final calibration."""
        mean: np.ndarray = self.member_logits(scores).mean(axis=0)
        return mean

    def probability(
        self, scores: Float[np.ndarray, "K n"], prior: float | None = None
    ) -> Float[np.ndarray, " n"]:
        """Calibrated probability of being fake."""
        return self.whole.probability(self.mean_logit(scores), prior)


def fit_ensemble(
    scores: Float[np.ndarray, "K n"],
    labels: Int[np.ndarray, " n"],
) -> Ensemble:
    """Calibrate each detector and their mean on the same validation images.

    A member that says nothing about these labels gets slope 0 and so no voice; the final map has
    two parameters, so fitting it on the same images costs little optimism.
    """
    if len(scores) == 0:
        raise AigiError("An ensemble needs at least one detector, none was given.")
    members = tuple(fit_calibration(row, labels) for row in scores)
    mean = np.mean([m.logit(row) for m, row in zip(members, scores, strict=True)], axis=0)
    return Ensemble(members, fit_calibration(mean, labels))


# Thresholds


@dataclass(frozen=True)
class FalseAlarmThreshold:
    """A threshold set on real images only.

    Attributes:
        threshold: a score above it is called fake.
        rate: the rate set; the expected rate on further real images of the same kind is at most
            this. low, high: where the true rate lies, given that only ``n`` real images set it.
        asked: the rate asked for; lower than ``rate`` where so few images do not allow it.
    """

    threshold: float
    rate: float
    low: float
    high: float
    n: int
    asked: float

    @property
    def note(self) -> str:
        """What to say where the rate asked for cannot be had; else empty."""
        return rate_note(self.asked, self.n)


def images_needed(rate: float) -> int:
    """The fewest held-out images from which a rate can be set (in expectation).

    >>> [images_needed(rate) for rate in (0.01, 0.05, 0.1)]
    [99, 19, 9]
    """
    if not 0 < rate < 1:
        raise AigiError(f"A false-alarm rate lies between 0 and 1, got {rate:g}.")
    return int(np.ceil(round(1 / rate, 9))) - 1


def nearest_rate(rate: float, n: int) -> float:
    """The rate nearest to the one asked for that so many held-out images allow: one rule for every
    threshold in the house.

    >>> round(nearest_rate(0.05, 12), 3), nearest_rate(0.05, 19)
    (0.077, 0.05)
    """
    return rate if n >= images_needed(rate) else 1 / (n + 1)


def rate_note(asked: float, n: int, images: str = "real images") -> str:
    """What to say where so few images do not allow the rate asked for; else empty.

    >>> rate_note(0.05, 12)
    '5.0% needs 19 real images, there are 12: 7.7% instead'
    """
    if n >= (needed := images_needed(asked)):
        return ""
    return (
        f"{asked:.1%} needs {needed} {images}, there are {n}: {nearest_rate(asked, n):.1%} instead"
    )


def nearest_false_alarm_threshold(
    real_scores: Float[np.ndarray, " n"], rate: float = DEFAULT_RATE, level: float = 0.95
) -> FalseAlarmThreshold:
    """:func:`false_alarm_threshold` at the nearest rate that so many images allow; its ``note``
    says where that is another."""
    limit = false_alarm_threshold(real_scores, nearest_rate(rate, len(real_scores)), level)
    return replace(limit, asked=rate)


def false_alarm_threshold(
    real_scores: Float[np.ndarray, " n"], rate: float = DEFAULT_RATE, level: float = 0.95
) -> FalseAlarmThreshold:
    """The lowest threshold that real images exceed at most at this rate, in expectation, whatever
    their distribution.

    The ceil((n+1)(1-rate))-th smallest of n scores (split conformal prediction: Vovk et al. 2005);
    the true rate then follows Beta(n+1-k, k).

    Raises:
        AigiError: too few real images for the rate.
    """
    if not 0 < rate < 1:
        raise AigiError(f"A false-alarm rate lies between 0 and 1, got {rate:g}.")
    reals = np.sort(check_scores(real_scores)[0].astype(np.float64))
    n = len(reals)
    k = int(np.ceil(round((n + 1) * (1 - rate), 9)))
    if k > n:
        raise AigiError(
            f"A false-alarm rate of {rate:g} needs at least"
            f" {counted(images_needed(rate), 'real validation image')}, there are {n}: add"
            " real images or choose a higher rate."
        )
    low, high = betaincinv(n + 1 - k, k, [(1 - level) / 2, (1 + level) / 2])
    return FalseAlarmThreshold(float(reals[k - 1]), rate, float(low), float(high), n, rate)


@dataclass(frozen=True)
class AbstentionBand:
    """Between ``low`` and ``high`` no verdict is given.

    Attributes:
        high: above it an image is called fake; real images do so at most at ``rate``.
        low: at or below it an image is called real; fakes do so at most at ``rate``.
        asked: the rate asked for; lower than ``rate`` where so few images do not allow it.
    """

    low: float
    high: float
    rate: float
    n_real: int
    n_fake: int
    asked: float

    @property
    def note(self) -> str:
        """What to say where the rate asked for cannot be had; else empty."""
        n, images = min((self.n_real, "real images"), (self.n_fake, "fakes"))
        return rate_note(self.asked, n, images)

    @property
    def no_band(self) -> str:
        """What to say where one limit serves both rates, so that no score is left without a
        verdict; else empty."""
        if self.low < self.high:
            return ""
        return (
            f"on the validation images ({counted(self.n_real, 'real image')},"
            f" {counted(self.n_fake, 'fake')}) one limit keeps both false alarms and misses"
            f" at {self.rate:.1%} at most, so every image gets a call"
        )

    def verdict(self, scores: Float[np.ndarray, " n"]) -> np.ndarray:
        """``"fake"``, ``"real"`` or ``"uncertain"`` for each score."""
        scores = np.asarray(scores, float)
        return np.where(
            scores > self.high, "fake", np.where(scores <= self.low, "real", "uncertain")
        )


def abstention_band(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], rate: float = DEFAULT_RATE
) -> AbstentionBand:
    """The band of scores on which to abstain so that false alarms and misses each stay at or below
    ``rate``.

    Where the classes are so far apart that both limits leave room, the band shrinks to the middle
    between them.
    """
    scores, labels = _checked(scores, labels)
    high = false_alarm_threshold(scores[labels == REAL], rate).threshold
    low = -false_alarm_threshold(-scores[labels == FAKE], rate).threshold
    low = float(np.nextafter(low, -np.inf))  # a fake exactly at the limit is not called real
    if low > high:
        low = high = (low + high) / 2
    n_real, n_fake = (int((labels == label).sum()) for label in (REAL, FAKE))
    return AbstentionBand(low, high, rate, n_real, n_fake, rate)


def nearest_abstention_band(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], rate: float = DEFAULT_RATE
) -> AbstentionBand:
    """:func:`abstention_band` at the nearest rate that the rarer class allows; its ``note`` says
    where that is another.

    >>> band = nearest_abstention_band(np.arange(24.0), np.repeat([0, 1], 12), 0.05)
    >>> round(band.rate, 3), band.note
    (0.077, '5.0% needs 19 fakes, there are 12: 7.7% instead')
    """
    fewest = min(int((np.asarray(labels) == label).sum()) for label in (REAL, FAKE))
    return replace(abstention_band(scores, labels, nearest_rate(rate, fewest)), asked=rate)


def best_threshold(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """The threshold of highest balanced accuracy on exactly these images (it has seen their
    labels).

    The middle between two neighbouring scores; of equally good ones the one nearest to their
    median.
    """
    scores, labels = _checked(scores, labels)
    values, index = np.unique(scores, return_inverse=True)
    fake = np.bincount(index, labels == FAKE, len(values))
    real = np.bincount(index, labels == REAL, len(values))
    # called real: everything up to and including value i; i = -1 calls everything fake
    rejected_fake = np.concatenate([[0], np.cumsum(fake)]) / fake.sum()
    kept_real = np.concatenate([[0], np.cumsum(real)]) / real.sum()
    balanced = (1 - rejected_fake + kept_real) / 2
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    chosen = int(best[len(best) // 2])
    edges = np.concatenate([[values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]])
    return float(edges[chosen])


def operating_point(
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    threshold: float,
    groups: Int[np.ndarray, " n"] | None = None,
    level: float = 0.95,
) -> dict[str, float]:
    """Balanced accuracy, detection rate and false-alarm rate at a threshold, each with its
    interval (the metrics' own, :mod:`aigi_core.metrics`).

    Args:
        groups: [n] number of each image's group; each image alone where None.
    """
    scores, labels = _checked(scores, labels)
    column = Column(
        np.arange(len(scores)),
        labels,
        np.arange(len(scores)) if groups is None else groups,
        scores[None],
        np.array([threshold], float),
    )
    rates = {label: float(rate[0]) for label, rate in column.rates.items()}
    none = np.zeros((1, 1))
    out: dict[str, float] = {"threshold": float(threshold)}
    for name, metric, value in (
        ("balanced_accuracy", "balanced_accuracy", (rates[REAL] + rates[FAKE]) / 2),
        ("detection_rate", "accuracy_fake", rates[FAKE]),
        ("false_alarm_rate", "accuracy_real", 1 - rates[REAL]),
    ):
        low, high = METRICS[metric].cell_intervals(column, np.array([value]), none, level)
        ends = (float(low[0]), float(high[0]))
        if name == "false_alarm_rate":
            ends = (1 - ends[1], 1 - ends[0])
        out |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return out


# Helpers


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, classes = check_labelled_scores(scores, labels)
    if len(values) != 1:
        raise AigiError(f"Expected the scores of one detector, got {len(values)}.")
    return values[0].astype(np.float64), classes.astype(int)


def _checked_probabilities(p: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, labels = _checked(p, labels)
    if p.min() < 0 or p.max() > 1:
        raise AigiError(
            f"Probabilities lie between 0 and 1, got {p.min():g} to {p.max():g}: calibrate the"
            " scores first."
        )
    return p, labels


def _share(prior: float) -> float:
    if not 0 < prior < 1:
        raise AigiError(
            f"The prior share of fakes lies between 0 and 1 (both excluded), got {prior:g}."
        )
    return prior


def _class_weights(labels: np.ndarray, prior: float | None) -> np.ndarray:
    """Weights that sum to one and give fakes the total weight ``prior``."""
    share = float(labels.mean()) if prior is None else _share(prior)
    fakes = labels.sum()
    weights: np.ndarray = np.where(
        labels == FAKE, share / fakes, (1 - share) / (len(labels) - fakes)
    )
    return weights


def _restated(p: np.ndarray, old: float, new: float) -> np.ndarray:
    """Probabilities stated for one prior share of fakes, restated for another."""
    with np.errstate(divide="ignore"):
        shifted: np.ndarray = expit(logit(p) - logit(old) + logit(new))
    return shifted


def equal_mass_bins(p: np.ndarray, bins: int) -> Int[np.ndarray, " n"]:
    """Bin of each probability, near-equal counts, never splitting ties, numbered without gaps."""
    ordered = np.sort(p)
    edges = ordered[(np.arange(1, bins) * len(p)) // bins] if bins > 1 else ordered[:0]
    cells: np.ndarray = np.unique(np.searchsorted(edges, p, side="right"), return_inverse=True)[1]
    return cells


def _sweep(p: np.ndarray, labels: np.ndarray) -> int:
    """Largest number of equal-mass bins up to which the share of fakes rises from bin to bin at
    every number, however the classes are weighed."""
    order = np.argsort(p, kind="stable")
    ordered, fakes = p[order], np.append(0, np.cumsum(labels[order] == FAKE))
    for bins in range(2, len(p) + 1):
        edges = np.unique(ordered[(np.arange(1, bins) * len(p)) // bins])
        ends = np.unique([0, *np.searchsorted(ordered, edges), len(p)])
        fake = np.diff(fakes[ends])
        real = np.diff(ends) - fake
        if (fake[1:] * real[:-1] < fake[:-1] * real[1:]).any():
            return bins - 1
    return len(p)


def _block_gaps(
    counts: Float[np.ndarray, "draws blocks"],
    block: Int[np.ndarray, " n"],
    p: Float[np.ndarray, " n"],
    *,
    labels: Int[np.ndarray, " n"],
    cells: Int[np.ndarray, " n"],
    prior: float | None,
) -> Float[np.ndarray, " draws"]:
    """As :func:`_gaps`, of draws of blocks of images."""
    bins, size = int(cells.max()) + 1, counts.shape[1]

    def sums(of: np.ndarray, weights: np.ndarray) -> np.ndarray:
        flat = np.bincount(block[of] * bins + cells[of], weights[of], size * bins)
        drawn: np.ndarray = counts @ flat.reshape(size, bins)
        return drawn

    fake, ones = labels == FAKE, np.ones(len(p))
    fakes, stated = sums(fake, ones), sums(fake, p)
    reals, stated_real = sums(~fake, ones), sums(~fake, p)
    n_fake, n_real = (one.sum(axis=1, keepdims=True) for one in (fakes, reals))
    shares = (1.0, 1.0)
    if prior is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = prior / n_fake, (1 - prior) / n_real
    gap = np.abs(shares[0] * (fakes - stated) - shares[1] * stated_real).sum(axis=1)
    error: np.ndarray = gap / (shares[0] * n_fake + shares[1] * n_real)[:, 0]
    return error


def _gaps(
    counts: Float[np.ndarray, "draws n"],
    labels: Float[np.ndarray, "draws n"],
    p: Float[np.ndarray, " n"],
    onehot: Float[np.ndarray, "n bins"],
    prior: float | None,
) -> Float[np.ndarray, " draws"]:
    """Calibration error of each draw of counts; NaN where a draw lacks a class."""
    fake, real = counts * labels, counts * (1 - labels)
    if prior is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            fake = fake * (prior / fake.sum(1, keepdims=True))
            real = real * ((1 - prior) / real.sum(1, keepdims=True))
    gap = np.abs(fake @ onehot - ((fake + real) * p) @ onehot).sum(1)
    error: np.ndarray = gap / (fake + real).sum(1)
    return error
