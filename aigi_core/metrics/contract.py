"""What a metric is: its value in many bootstrap draws, its interval, and what each image adds to a
difference.

A metric of decisions (:class:`RateMetric`) is a weighted mean of the accuracies on real and on fake
images; a metric of ranking (:class:`CurveMetric`) is read from the ROC curve. A new one is a file
with a subclass of either, and one line in :mod:`aigi_core.metrics`.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from aigi_core.intervals import (
    LEVEL,
    PSEUDO_IMAGES,
    Groups,
    Interval,
    design_effect,
    mean_of_rates_interval,
    rate_interval,
    rate_of_draws,
    sums_by,
    variances,
)
from aigi_core.manifest import FAKE, REAL

KEPT_PARTS = 32

Values = Float[np.ndarray, " K"]
"""One metric of K detectors."""
Draws = Float[np.ndarray, " B"]
"""One value in each of B bootstrap draws."""
Curve = Float[np.ndarray, "B m"]
"""Images flagged in each of B draws when everything down to each of m scores is flagged."""
Cells = Bool[np.ndarray, "K T"]
"""Some cells of a matrix of K detectors by T columns."""
Shares = Float[np.ndarray, "K T"]
"""Weight of each cell in a mean."""


class Part(NamedTuple):
    """One class's share of a mean over cells.

    Attributes:
        rate: the mean accuracy on the class.
        n: the effective number of images.
        images, centred: what each image adds to the mean, less the mean of its cell.
    """

    rate: Float[np.ndarray, " M"]
    n: Float[np.ndarray, " M"]
    groups: Int[np.ndarray, " n"]
    centred: Float[np.ndarray, "M n"]


@dataclass(frozen=True, eq=False)
class Column:
    """The images that one column of a matrix is measured on, with the scores of K detectors.

    Attributes:
        images: [n] their places among all images tested.
        labels: [n] fake = 1.
        groups: [n] number of each image's group.
        scores: [K, n].
        thresholds: [K] scores above it are flagged.
    """

    images: Int[np.ndarray, " n"]
    labels: Integer[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "K n"] = field(repr=False)
    thresholds: Float[np.ndarray, " K"] = field(repr=False)

    @cached_property
    def right(self) -> Bool[np.ndarray, "K n"]:
        """Images judged rightly."""
        flagged = self.scores > self.thresholds[:, None]
        right: np.ndarray = flagged == (self.labels == FAKE)
        return right

    def of(self, label: int) -> Bool[np.ndarray, " n"]:
        """The images of a class."""
        mask: np.ndarray = self.labels == label
        return mask

    @cached_property
    def placements(self) -> Float[np.ndarray, "K n"]:
        """Share of the other class's images that each image lies on the right side of, ties
        counted one half (DeLong et al. 1988); their mean over either class is the AUC."""
        fake = self.of(FAKE)
        placed = np.empty(self.scores.shape)
        for row, scores in enumerate(self.scores):
            order = np.argsort(scores)
            ranked, is_fake = scores[order], fake[order]
            # Equal scores are one place: images before it lie below, those in it count one half.
            starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
            sizes = np.diff(starts, append=len(ranked))
            fakes = np.append(0, np.cumsum(is_fake))
            reals = np.arange(len(ranked) + 1) - fakes
            ends = starts + sizes
            below, under = (np.repeat(n[starts] + n[ends], sizes) for n in (reals, fakes))
            placed[row, order] = np.where(
                is_fake, below / (2 * reals[-1]), 1 - under / (2 * fakes[-1])
            )
        return placed

    def take(self, rows: Bool[np.ndarray, " K"]) -> Self:
        """The same images with the scores of some of the detectors."""
        if rows.all():
            return self
        return replace(self, scores=self.scores[rows], thresholds=self.thresholds[rows])

    @property
    def n(self) -> dict[int, int]:
        """Images of each class."""
        return {label: int(self.of(label).sum()) for label in (REAL, FAKE)}

    @cached_property
    def rates(self) -> dict[int, Float[np.ndarray, " K"]]:
        """Accuracy on each class."""
        return {label: self.right[:, self.of(label)].mean(axis=1) for label in (REAL, FAKE)}

    @cached_property
    def known_parts(self) -> dict[Hashable, Part]:
        """What was last computed of each class, at most :data:`KEPT_PARTS`: the metrics of
        decisions differ only in how they weigh the two."""
        return {}

    def part(self, key: Hashable, make: Callable[[], Part]) -> Part:
        """One of :attr:`known_parts`, made where it is not among them."""
        known = self.known_parts
        if (part := known.get(key)) is None:
            part = make()
            if len(known) >= KEPT_PARTS:  # each holds a number for every image
                known.clear()
            known[key] = part
        return part


RATE_RULE = "Jeffreys' interval, no narrower than Clopper and Pearson's exact one at 93%"
"""What :func:`~aigi_core.intervals.rate_interval` is."""


@dataclass(frozen=True)
class Metric:
    """What a metric is called and how to read it.

    Attributes:
        higher_is_better: which way is better.
        chance: expected value of a detector that guesses, for equally many reals and fakes.
        threshold: whose threshold decides: ``own`` (the detector's), ``held out`` (set on
            validation reals that the scoring detector has not seen), or ``none``.
        interval_holds: what is known of its interval, where that is less than 93% or untested.
    """

    name: str
    title: str
    description: str
    higher_is_better: bool = True
    chance: float = 0.5
    threshold: Literal["own", "held out", "none"] = "none"
    interval_holds: str = ""

    @property
    def in_words(self) -> str:
        """The title inside a sentence."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]

    @property
    def interval_rule(self) -> str:
        """What its interval is, in words."""
        raise NotImplementedError

    @property
    def by_image(self) -> bool:
        """Whether each image has a share of its own in the value (:meth:`contributions`)."""
        return False

    def class_weights(self, n: dict[int, int]) -> dict[int, float]:
        """The total weight of each class's images in the value, for paired intervals."""
        return {REAL: 1.0, FAKE: 1.0}

    def contributions(self, column: Column) -> Float[np.ndarray, "K n"] | None:
        """What each image adds to the value of each detector; None where no image has a share of
        its own."""
        return None

    def cell_intervals(
        self, column: Column, values: Values, draws: Float[np.ndarray, "B K"], level: float = LEVEL
    ) -> Interval:
        """Bounds of K detectors' values on one column's images."""
        raise NotImplementedError

    def mean_interval(
        self,
        columns: Sequence[Column],
        cells: Cells,
        value: float,
        draws: Draws,
        level: float = LEVEL,
    ) -> Interval:
        """Bounds of the mean over some cells, which share images."""
        raise NotImplementedError


@dataclass(frozen=True)
class RateMetric(Metric):
    """A weighted mean of the accuracies on real and on fake images.

    Attributes:
        weight_of_fakes: a number, or None for the share of fakes among the images.
    """

    weight_of_fakes: float | None = 0.5

    @property
    def interval_rule(self) -> str:
        if self.weight_of_fakes in (0.0, 1.0):
            return RATE_RULE
        return (
            "Jeffreys' intervals of both classes joined by square-and-add, and no narrower than"
            " that of one rate of the same variance"
        )

    @property
    def by_image(self) -> bool:
        return True

    def class_weights(self, n: dict[int, int]) -> dict[int, float]:
        fakes = self.weight_of_fakes
        share = n[FAKE] / (n[REAL] + n[FAKE]) if fakes is None else fakes
        return {REAL: 1 - share, FAKE: share}

    def of_rates(
        self,
        rates: dict[int, Float[np.ndarray, "K B"]],
        totals: dict[int, Float[np.ndarray, " B"]],
    ) -> Float[np.ndarray, "K B"]:
        """The value from the accuracies on each class; ``totals`` counts their images."""
        fakes = self.weight_of_fakes
        if fakes is None:
            fakes = totals[FAKE] / (totals[FAKE] + totals[REAL])
        value: np.ndarray = fakes * rates[FAKE] + (1 - fakes) * rates[REAL]
        if self.weight_of_fakes in (0.0, 1.0):  # a class without weight may be missing from a draw
            value = rates[FAKE if self.weight_of_fakes else REAL]
        return value

    def contributions(self, column: Column) -> Float[np.ndarray, "K n"]:
        share = {
            label: weight / max(column.n[label], 1)
            for label, weight in self.class_weights(column.n).items()
        }
        added: np.ndarray = column.right * np.where(column.of(FAKE), share[FAKE], share[REAL])
        return added

    def cell_intervals(
        self, column: Column, values: Values, draws: Float[np.ndarray, "B K"], level: float = LEVEL
    ) -> Interval:
        parts = {label: _cell_part(column, label, level) for label in (REAL, FAKE)}
        return self._bounds(parts, self.class_weights(column.n), level)

    def mean_interval(
        self,
        columns: Sequence[Column],
        cells: Cells,
        value: float,
        draws: Draws,
        level: float = LEVEL,
    ) -> Interval:
        used, share = used_cells(columns, cells)
        parts = {label: _mean_part(used, share, label, level) for label in (REAL, FAKE)}
        weights = [self.class_weights(column.n) for column in used]
        by_column = share.sum(axis=0)
        mean = {label: float(by_column @ [one[label] for one in weights]) for label in (REAL, FAKE)}
        bounds = self._bounds(parts, mean, level)
        # Where classes weigh differently from column to column, the two rates do not give the mean.
        moved = value - sum(mean[label] * float(parts[label].rate[0]) for label in mean)
        return Interval(np.clip(bounds.low[0] + moved, 0, 1), np.clip(bounds.high[0] + moved, 0, 1))

    def _bounds(self, parts: dict[int, Part], weights: dict[int, float], level: float) -> Interval:
        for label, weight in weights.items():
            if weight == 1:
                return rate_interval(parts[label].rate, parts[label].n, level)
        real, fake = parts[REAL], parts[FAKE]
        return mean_of_rates_interval(
            (real.rate, fake.rate),
            (real.n, fake.n),
            (weights[REAL], weights[FAKE]),
            _correlation(real, fake),
            level,
        )


def _cell_part(column: Column, label: int, level: float) -> Part:
    def make() -> Part:
        rate, of = column.rates[label], column.of(label)
        centred = (column.right[:, of] - rate[:, None]) / of.sum()
        effect = design_effect(centred, Groups.of(column.groups[of]), level)
        return Part(rate, of.sum() / effect, column.groups[of], centred)

    return column.part((label, level), make)


def used_cells(
    columns: Sequence[Column], cells: Cells
) -> tuple[list[Column], Float[np.ndarray, "k t"]]:
    """The columns that hold some of these cells, with the scores of the rows that do, and the
    weight of each cell in their mean."""
    rows = np.asarray(cells.any(axis=1))
    at = np.flatnonzero(cells.any(axis=0))
    return [columns[int(t)].take(rows) for t in at], cells[np.ix_(rows, at)] / cells.sum()


def _correlation(a: Part, b: Part) -> Float[np.ndarray, " M"]:
    """Correlation of two classes' rates through the groups that hold images of both."""
    size = max(int(part.groups.max(initial=0)) for part in (a, b)) + 1
    held = [np.bincount(part.groups, minlength=size) > 0 for part in (a, b)]
    if not (held[0] & held[1]).any():
        return np.zeros(len(a.centred))
    sums = [sums_by(part.groups, part.centred, size) for part in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = (sums[0] * sums[1]).sum(axis=1) / np.sqrt(
            (sums[0] ** 2).sum(axis=1) * (sums[1] ** 2).sum(axis=1)
        )
    result: np.ndarray = np.clip(np.nan_to_num(correlation), 0.0, 1.0)
    return result  # a negative one would narrow the interval on few groups' word


def spread_over_cells(
    columns: Sequence[Column],
    share: Shares,
    centred: Sequence[Float[np.ndarray, "K n"]],
    label: int | None = None,
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "1 m"], float]:
    """What each image adds to a mean over cells.

    Args:
        share: weight of each cell.
        centred: of each column, what its images add to each detector's value, centred.
        label: images of this class only.

    Returns:
        Groups of the images used; [1, m] what they add; and by how much the mean over detectors
        lowers the variance of one (1 for one detector).
    """
    place_of = _places([column.images for column in columns])
    size = int(place_of[-1]) + 1
    groups = np.empty(size, int)
    mean = np.zeros(size)
    own = np.zeros((len(share), size))
    rows = share.sum(axis=1, keepdims=True)
    used = np.zeros(size, bool)
    for at, (column, part) in enumerate(zip(columns, centred, strict=True)):
        place = place_of[column.images]
        groups[place] = column.groups
        if label is not None:
            keep = column.of(label)
            place, part = place[keep], part[:, keep]
        used[place] = True
        mean[place] += share[:, at] @ part
        with np.errstate(invalid="ignore"):
            own[:, place] += np.where(rows > 0, share[:, at : at + 1] / rows, 0.0) * part
    independent = float(rows[:, 0] @ (own**2).sum(axis=1))
    wrong = int((np.abs(mean) > 1e-12).sum())
    measured = (mean**2).sum() / independent if independent > 0 else 1.0
    averaging = (wrong * measured + PSEUDO_IMAGES) / (wrong + PSEUDO_IMAGES)
    return groups[used], mean[None, used], float(min(averaging, 1.0))


def _places(images: Sequence[Int[np.ndarray, " n"]]) -> Int[np.ndarray, " most"]:
    """By the number of an image, its place among all distinct numbers, which rise."""
    seen = np.zeros(max(int(some.max(initial=0)) for some in images) + 1, bool)
    for some in images:
        seen[some] = True
    places: np.ndarray = np.cumsum(seen) - 1
    return places


def count_distinct(columns: Sequence[Column], label: int) -> int:
    """Different images of a class in some columns."""
    return int(_places([column.images[column.of(label)] for column in columns])[-1]) + 1


def _mean_part(columns: Sequence[Column], share: Shares, label: int, level: float) -> Part:
    key = (*columns, share.tobytes(), label, level)
    return columns[0].part(key, lambda: _new_mean_part(columns, share, label, level))


def _new_mean_part(columns: Sequence[Column], share: Shares, label: int, level: float) -> Part:
    """The mean accuracy on a class over cells, and the effective number of images behind it.

    A cell's own variance is that of a rate drawn towards the mean of all cells by
    :data:`~aigi_core.intervals.PSEUDO_IMAGES` images, so that cells without errors do not pretend
    to have none.
    """
    rates = np.stack([column.rates[label] for column in columns], axis=1)
    n = np.array([column.n[label] for column in columns], float)
    rate = float((share * rates).sum())
    overall = (rate * n.sum() + PSEUDO_IMAGES / 2) / (n.sum() + PSEUDO_IMAGES)
    drawn = (rates * n + PSEUDO_IMAGES * overall) / (n + PSEUDO_IMAGES)
    middle = float((share * drawn).sum())
    centred = [
        np.where(column.of(label), column.right - rates[:, at : at + 1], 0.0) / n[at]
        for at, column in enumerate(columns)
    ]
    groups, mean, averaging = spread_over_cells(columns, share, centred, label)
    # The least variance that such rates can have: of each detector alone, then averaged.
    rows = share.sum(axis=1)
    images = [column.images[column.of(label)] for column in columns]
    place_of = _places(images)
    weight, spread = np.zeros((2, len(share), int(place_of[-1]) + 1))
    for at, own in enumerate(images):
        place = place_of[own]
        with np.errstate(invalid="ignore"):
            cell = np.where(rows > 0, share[:, at] / rows, 0.0) / n[at]
        weight[:, place] += cell[:, None]
        spread[:, place] += (cell * drawn[:, at] * (1 - drawn[:, at]))[:, None]
    least = averaging * float(rows @ (weight * spread).sum(axis=1))
    known = Groups.of(groups)
    alone = float(variances(mean, known)[0][0])
    variance = max(alone, least) * float(design_effect(mean, known, level)[0])
    effective = middle * (1 - middle) / max(variance, 1e-12)
    return Part(np.array([rate]), np.array([effective]), groups, mean)


@dataclass(frozen=True)
class CurveMetric(Metric):
    """A metric that depends on the order of the scores alone.

    Its interval is that of a rate with the bootstrap's standard deviation, among no more images
    than :meth:`most_images` says.
    """

    @property
    def interval_rule(self) -> str:
        return "that of a rate with the spread of 1,000 draws of groups"

    @property
    def false_alarms(self) -> tuple[float, ...]:
        """Shares of real images flagged at which the curve is read, if it is."""
        return ()

    def of_curve(self, tp: Curve, fp: Curve) -> Draws:
        """The value in each draw from true and false positives (counts) when everything down to
        each distinct score is flagged; the last point flags all."""
        raise NotImplementedError

    def most_images(self, n: dict[int, int]) -> int:
        """The number of images that the value can be worth at most."""
        return min(n.values())

    def cell_intervals(
        self, column: Column, values: Values, draws: Float[np.ndarray, "B K"], level: float = LEVEL
    ) -> Interval:
        alike = len(column.images) / Groups.of(column.groups).size
        return rate_of_draws(values, draws, self.most_images(column.n) / alike, level)

    def mean_interval(
        self,
        columns: Sequence[Column],
        cells: Cells,
        value: float,
        draws: Draws,
        level: float = LEVEL,
    ) -> Interval:
        used, share = used_cells(columns, cells)
        images = {label: count_distinct(used, label) for label in (REAL, FAKE)}
        return rate_of_draws(value, draws, self.most_images(images) * len(share), level)
