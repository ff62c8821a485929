"""The transfer matrix: rows are training sets, columns test generators, every cell with n and an
interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int, Real

from aigi_core.calibration import nearest_false_alarm_threshold
from aigi_core.errors import AigiError
from aigi_core.intervals import Interval, difference_interval
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.metrics import METRICS, Column, check_metrics, evaluate, evaluate_blocks
from aigi_core.reprs import ShortRepr
from aigi_core.scores import check_scores
from aigi_core.statements import counted
from aigi_core.transfer.bootstrap import DRAWN_SINGLY, Estimate, Resample
from aigi_core.winner import Winner, winner
from aigi_core.workspace import digest_of

TrainSet = tuple[str, ...]
"""The generators that a detector is trained on."""
WORKERS = 2
"""Threads on which a matrix is measured."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Measured:
    """What a matrix has measured on its images.

    Attributes:
        intervals: metric -> bounds of all cells, [K, T] each.
        means: metric and cells (the bytes of a mask [K, T]) -> their mean.
    """

    intervals: dict[str, tuple[Float[np.ndarray, "K T"], Float[np.ndarray, "K T"]]]
    means: dict[tuple[str, bytes], Estimate]


@dataclass(frozen=True, eq=False, repr=False)
class TransferMatrix(ShortRepr):
    """Metrics of K detectors on T test generators, with bootstrap draws shared by all cells.

    A cell is in-domain where its test generator is in the row's training set, or a setting of a
    model that is, and out-of-domain (OOD) elsewhere.

    Attributes:
        train: [K] the training set of each row.
        test: [T] test generators.
        values: metric -> [K, T].
        draws: metric -> [B, K, T], the metric in each bootstrap draw.
        thresholds: [K], the detectors' own thresholds.
        confusion: [K, T, 2, 2], test images by (label, flagged) at those thresholds.
        n_real, n_fake: [T], test images of each column.
        columns: [T] the test images and the detectors' scores of them.
        held_out: [T] the same of the detectors that have not seen validation images, with
            thresholds set on these; empty where no metric needs them.
        family_of: generator -> family. models_of: as in :class:`aigi_core.manifest.Domains`.
        protocol: how it was computed: split, draws, seed, confidence, and a digest of the test
            images.
        told: whether it is known what the detectors were trained on; where it is not, no cell is
            said to be in or out of domain.
    """

    train: tuple[TrainSet, ...]
    test: tuple[str, ...]
    values: dict[str, Float[np.ndarray, "K T"]] = field(repr=False)
    draws: dict[str, Float32[np.ndarray, "B K T"]] = field(repr=False)
    thresholds: Float[np.ndarray, " K"] = field(repr=False)
    confusion: Int[np.ndarray, "K T 2 2"] = field(repr=False)
    n_real: Int[np.ndarray, " T"] = field(repr=False)
    n_fake: Int[np.ndarray, " T"] = field(repr=False)
    columns: Sequence[Column] = field(repr=False)
    held_out: Sequence[Column] = field(repr=False)
    family_of: dict[str, str] = field(repr=False)
    protocol: dict[str, Any]
    models_of: dict[str, str] = field(repr=False, default_factory=dict)
    told: bool = True

    @property
    def train_names(self) -> tuple[str, ...]:
        """[K] training sets in words: ``a + b``."""
        none = "none of these" if self.told else "unknown"
        return tuple(" + ".join(names) or none for names in self.train)

    @property
    def train_families(self) -> tuple[str, ...]:
        """[K] the family of each training set, ``mixed`` where it holds several."""
        families = [{self.family_of[name] for name in names} for names in self.train]
        none = "none of these" if self.told else "unknown"
        return tuple(
            found.pop() if len(found) == 1 else "mixed" if found else none for found in families
        )

    @property
    def test_families(self) -> tuple[str, ...]:
        return tuple(self.family_of[name] for name in self.test)

    @property
    def majority_accuracy(self) -> Float[np.ndarray, " T"]:
        """Accuracy on each generator's test images of a detector that always names the larger
        class.
        """
        share: np.ndarray = np.maximum(self.n_real, self.n_fake) / (self.n_real + self.n_fake)
        return share

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def in_domain(self) -> Bool[np.ndarray, "K T"]:
        return np.array([self.known_to(train) for train in self.train])

    @cached_property
    def out_of_domain(self) -> Bool[np.ndarray, "K T"]:
        """Cells whose test generator is known to be a new one for the detector."""
        return ~self.in_domain & self.told

    def known_to(self, seen: Iterable[str]) -> Bool[np.ndarray, " T"]:
        """Which test generators are no new ones for a detector that has seen some: these, and
        other settings of their models."""
        models = set(map(self._model, seen))
        return np.array([self._model(name) in models for name in self.test])

    def _model(self, generator: str) -> str:
        return self.models_of.get(generator, generator)

    def without(self, generators: Iterable[str]) -> Bool[np.ndarray, "K T"]:
        """Cells that neither train nor test on these generators, nor on other settings of their
        models, as far as that is :attr:`told`: D_eval where they are D_search."""
        names = tuple(generators)
        left_out = set(map(self._model, names))
        rows = np.array(
            [self.told and not left_out & set(map(self._model, train)) for train in self.train]
        )
        columns = ~self.known_to(names)
        cells: np.ndarray = rows[:, None] & columns
        return cells

    def on(self, generators: Iterable[str]) -> TransferMatrix:
        """The same detectors on some of the test generators only, in the order of the columns.

        Raises:
            AigiError: a generator that is not among the columns, or none at all.
        """
        wanted = set(generators)
        if not wanted or (unknown := wanted - set(self.test)):
            what = (
                f"{', '.join(sorted(unknown))} is not among the columns"
                if wanted
                else "none was named"
            )
            raise AigiError(
                f"Choose test generators of this matrix ({', '.join(self.test)}): {what}."
            )
        columns = np.array([name in wanted for name in self.test])
        if columns.all():
            return self
        return replace(
            self,
            test=tuple(name for name in self.test if name in wanted),
            values={name: values[:, columns] for name, values in self.values.items()},
            draws={name: draws[:, :, columns] for name, draws in self.draws.items()},
            confusion=self.confusion[:, columns],
            n_real=self.n_real[columns],
            n_fake=self.n_fake[columns],
            columns=tuple(c for c, chosen in zip(self.columns, columns, strict=True) if chosen),
            held_out=tuple(c for c, chosen in zip(self.held_out, columns, strict=False) if chosen),
        )

    def rows(self, chosen: Sequence[int]) -> TransferMatrix:
        """Some of the detectors, in the order given."""
        at = list(chosen)
        columns = [
            tuple(replace(c, scores=c.scores[at], thresholds=c.thresholds[at]) for c in images)
            for images in (self.columns, self.held_out)
        ]
        return replace(
            self,
            train=tuple(self.train[row] for row in at),
            values={name: values[at] for name, values in self.values.items()},
            draws={name: draws[:, at] for name, draws in self.draws.items()},
            thresholds=self.thresholds[at],
            confusion=self.confusion[at],
            columns=columns[0],
            held_out=columns[1],
        )

    def images_of(self, metric: str) -> Sequence[Column]:
        """[T] what a metric is measured on: test images with scores and thresholds."""
        return self.held_out if METRICS[metric].threshold == "held out" else self.columns

    def interval(self, metric: str) -> tuple[Float[np.ndarray, "K T"], Float[np.ndarray, "K T"]]:
        """Bounds of every cell's interval at the protocol's confidence, by the metric's own rule
        (:meth:`aigi_core.metrics.Metric.cell_intervals`).
        """
        if metric not in self._known_intervals:
            self._known_intervals[metric] = self._interval(metric)
        return self._known_intervals[metric]

    @cached_property
    def _known_intervals(
        self,
    ) -> dict[str, tuple[Float[np.ndarray, "K T"], Float[np.ndarray, "K T"]]]:
        """What :meth:`interval` gave before."""
        return {}

    def _interval(self, metric: str) -> tuple[Float[np.ndarray, "K T"], Float[np.ndarray, "K T"]]:
        draws, level = self._draws(metric), self.protocol["confidence"]
        images = list(self.images_of(metric))

        def bounds(t: int) -> Interval:
            own = self.values[metric][:, t]
            return METRICS[metric].cell_intervals(images[t], own, draws[:, :, t], level)

        cells = self._side_by_side(bounds, range(len(images)))
        low, high = (np.stack(ends, axis=1) for ends in zip(*cells, strict=True))
        return low, high

    def mean(self, metric: str, cells: Bool[np.ndarray, "K T"] | None = None) -> Estimate:
        """Mean over cells (all of them by default) with its interval; ``n`` is the number of cells.

        The cells share images, so the interval is that of their mean, not of independent cells.
        """
        chosen = np.ones(self._draws(metric).shape[1:], bool) if cells is None else cells
        key = (metric, chosen.tobytes())
        if key not in self._known_means:
            self._known_means[key] = self._mean(metric, chosen)
        return self._known_means[key]

    @cached_property
    def _known_means(self) -> dict[tuple[str, bytes], Estimate]:
        """What :meth:`mean` gave before: margins, winners and summaries ask for the same cells."""
        return {}

    def _mean(self, metric: str, chosen: Bool[np.ndarray, "K T"]) -> Estimate:
        if not chosen.any():
            return Estimate(np.nan, np.nan, np.nan, 0)
        value = float(self.values[metric][chosen].mean())
        low, high = METRICS[metric].mean_interval(
            self.images_of(metric),
            chosen,
            value,
            self.mean_draws(metric, chosen),
            self.protocol["confidence"],
        )
        return Estimate(value, float(low), float(high), int(chosen.sum()))

    def measured(self) -> Measured:
        """Every interval and mean that pages begin with, and those asked for before."""
        for metric in self.metrics:
            self.interval(metric)
        parts = (self._unseen_by_test(), self._unseen_by_train())
        masks = [cells for part in parts for cells in part.values()]
        every = np.ones_like(self.in_domain)
        self._know_means(self.metrics, [every, self.in_domain, self.out_of_domain, *masks])
        return Measured(dict(self._known_intervals), dict(self._known_means))

    def knowing(self, measured: Measured) -> TransferMatrix:
        """The same matrix, which need not look at images again for what was measured before."""
        self._known_intervals.update(measured.intervals)
        self._known_means.update(measured.means)
        return self

    def _know_means(self, metrics: Sequence[str], masks: Sequence[Bool[np.ndarray, "K T"]]) -> None:
        """Take these means, all metrics of one mask together, for they share what they rest on."""
        self._side_by_side(lambda cells: [self.mean(metric, cells) for metric in metrics], masks)

    def _side_by_side(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> list[Result]:
        """Of each item, in order; on two threads where images are many, as arrays are handled
        outside Python's lock."""
        if self.n_real.sum() + self.n_fake.sum() <= DRAWN_SINGLY:
            return list(map(function, items))
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(function, items))

    def gap(self, metric: str) -> Estimate:
        """In-domain mean less OOD mean, as correlated as the draws say; ``n`` is the number of
        cells."""
        inside, outside = self.in_domain, self.out_of_domain
        if not inside.any() or not outside.any():
            return Estimate(np.nan, np.nan, np.nan, 0)
        means = self.mean(metric, inside), self.mean(metric, outside)
        draws = np.stack([self.mean_draws(metric, cells) for cells in (inside, outside)])
        together = np.corrcoef(draws)[0, 1] if draws.std(axis=1).min() > 0 else 0.0
        low, high = difference_interval(
            (means[0].value, means[1].value),
            (means[0].interval, means[1].interval),
            float(np.clip(together, 0, 1)),
        )
        return Estimate(means[0].value - means[1].value, float(low), float(high), inside.size)

    def summary(
        self, metrics: Sequence[str] | None = None, d_search: Iterable[str] = ()
    ) -> pd.DataFrame:
        """Means with intervals: columns ``metric, cells, value, low, high, n``.

        ``cells`` is one of ``all`` (diagonal included), ``ood``, ``in-domain`` (these two without
        cells, ``n`` 0, where nobody said what the detectors were trained on), and with
        ``d_search`` also ``D_eval`` and ``D_eval, ood``: the cells that neither train nor test on a
        D_search generator.
        """
        masks = {
            "all": np.ones_like(self.in_domain),
            "ood": self.out_of_domain,
            "in-domain": self.in_domain,
        }
        if d_search := tuple(d_search):
            d_eval = self.without(d_search)
            masks |= {"D_eval": d_eval, "D_eval, ood": d_eval & self.out_of_domain}
        self._know_means(check_metrics(metrics or self.metrics), list(masks.values()))
        return pd.DataFrame(
            [
                {"metric": metric, "cells": name, **vars(self.mean(metric, mask))}
                for metric, (name, mask) in product(
                    check_metrics(metrics or self.metrics), masks.items()
                )
            ]
        )

    def blocks(
        self, metric: str, diagonal: bool = False, d_search: Iterable[str] = ()
    ) -> pd.DataFrame:
        """Means by family: columns ``train_family, test_family, value, low, high, n``; OOD cells
        only by default.
        """
        allowed = self.without(d_search)
        if not diagonal:
            allowed &= self.out_of_domain
        rows, columns = np.array(self.train_families), np.array(self.test_families)
        return pd.DataFrame(
            [
                {"train_family": a, "test_family": b}
                | vars(self.mean(metric, allowed & (rows == a)[:, None] & (columns == b)))
                for a, b in product(
                    dict.fromkeys(self.train_families), dict.fromkeys(self.test_families)
                )
            ]
        )

    def by_test(self, metric: str) -> pd.DataFrame:
        """How well detectors that never saw it find each generator: columns ``name, value, low,
        high, n`` (detectors).

        Generators that every training set holds are left out.
        """
        return self._means(metric, self._unseen_by_test())

    def hardest(self, metric: str, left_out: Iterable[str] = ()) -> Winner | None:
        """The generator that detectors which never saw it find least, of those not ``left_out``;
        None without OOD cells."""
        parts, none_of = self._unseen_by_test(), set(left_out)
        kept = {name: cells for name, cells in parts.items() if name not in none_of}
        return self._winner(metric, kept, best=False)

    def best_detector(self, metric: str) -> Winner | None:
        """The training set that does best on generators it never saw; None without OOD cells."""
        return self._winner(metric, self._unseen_by_train(), best=True)

    def worst_detector(self, metric: str) -> Winner | None:
        """The training set that does worst on generators it never saw; None without OOD cells."""
        return self._winner(metric, self._unseen_by_train(), best=False)

    def _unseen_by_test(self) -> dict[str, Bool[np.ndarray, "K T"]]:
        parts = {
            name: self.out_of_domain & (np.arange(len(self.test)) == j)
            for j, name in enumerate(self.test)
        }
        return {name: cells for name, cells in parts.items() if cells.any()}

    def _unseen_by_train(self) -> dict[str, Bool[np.ndarray, "K T"]]:
        parts = {
            name: self.out_of_domain & (np.arange(len(self.train)) == i)[:, None]
            for i, name in enumerate(self.train_names)
        }
        return {name: cells for name, cells in parts.items() if cells.any()}

    def _means(self, metric: str, parts: Mapping[str, Bool[np.ndarray, "K T"]]) -> pd.DataFrame:
        means = [(name, *astuple(self.mean(metric, cells))) for name, cells in parts.items()]
        return pd.DataFrame(means, columns=["name", *(field.name for field in fields(Estimate))])

    def _winner(
        self, metric: str, parts: Mapping[str, Bool[np.ndarray, "K T"]], *, best: bool
    ) -> Winner | None:
        if not parts:
            return None
        highest = best == METRICS[metric].higher_is_better
        key = (metric, highest, *((name, cells.tobytes()) for name, cells in parts.items()))
        if key not in self._known_winners:
            draws = np.stack([self.mean_draws(metric, cells) for cells in parts.values()], axis=1)
            means = self._means(metric, parts)
            self._known_winners[key] = winner(means, draws, highest=highest, limits=(0, 1))
        return self._known_winners[key]

    @cached_property
    def _known_winners(self) -> dict[tuple[object, ...], Winner]:
        """What :meth:`_winner` gave before: every run of a page asks for the same."""
        return {}

    def to_frame(self, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """Tidy long table: ``train, test, metric, value, low, high, n_real, n_fake, in_domain``
        (missing where it is not :attr:`told`), and the families.
        """
        tables = []
        for metric in check_metrics(metrics or self.metrics):
            low, high = self.interval(metric)
            index = pd.MultiIndex.from_product(
                [self.train_names, self.test], names=["train", "test"]
            )
            table = index.to_frame(index=False).assign(
                train_family=np.repeat(self.train_families, len(self.test)),
                test_family=np.tile(self.test_families, len(self.train)),
                metric=metric,
                value=self.values[metric].ravel(),
                low=low.ravel(),
                high=high.ravel(),
                n_real=np.tile(self.n_real, len(self.train)),
                n_fake=np.tile(self.n_fake, len(self.train)),
                in_domain=self.in_domain.ravel(),
            )
            if not self.told:
                table["in_domain"] = pd.NA
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def mean_draws(self, metric: str, cells: Bool[np.ndarray, "K T"]) -> Float[np.ndarray, " B"]:
        means: np.ndarray = self._draws(metric)[:, cells].mean(axis=1, dtype=np.float64)
        return means

    def _draws(self, metric: str) -> Float32[np.ndarray, "B K T"]:
        check_metrics((metric,), self.metrics)
        return self.draws[metric]


def _wanted_metrics(
    metrics: Sequence[str] | None, held_out: bool
) -> tuple[tuple[str, ...], list[str]]:
    """All metrics to measure, and those of them that need held-out scores."""
    if metrics is None:
        metrics = [
            name for name, metric in METRICS.items() if held_out or metric.threshold != "held out"
        ]
    wanted = check_metrics(metrics)
    unseen = [name for name in wanted if METRICS[name].threshold == "held out"]
    if unseen and not held_out:
        raise AigiError(
            f"{METRICS[unseen[0]].title} needs scores of detectors that have not been trained on"
            " validation images: give held_out=held_out_scores(...)."
        )
    return wanted, unseen


def _tested_generators(test: Sequence[str] | None, domains: Domains) -> tuple[str, ...]:
    columns = (
        domains.generators if test is None else (test,) if isinstance(test, str) else tuple(test)
    )
    if not columns or len(set(columns)) < len(columns):
        raise AigiError(
            f"Name each test generator once and at least one, got {', '.join(columns) or 'none'}."
        )
    return columns


def _own_thresholds(
    scores: np.ndarray, thresholds: Float[np.ndarray, " K"] | float, detectors: int, images: int
) -> Float[np.ndarray, " K"]:
    """The detectors' own thresholds; AigiError where these or the scores do not fit."""
    if scores.shape != (detectors, images):
        raise AigiError(
            f"Expected scores of {counted(detectors, 'detector')} for"
            f" {counted(images, 'image')}, got"
            f" {scores.shape[0]} for {scores.shape[1]}: give one row for each training set and one"
            " column for each image of the workspace."
        )
    own = np.asarray(thresholds, np.float64)
    if own.shape not in ((), (detectors,)) or not np.isfinite(own).all():
        raise AigiError(
            f"Expected one finite threshold, or one for each of {counted(detectors, 'detector')},"
            " got"
            f" {own.tolist()}."
        )
    return np.broadcast_to(own, (detectors,))


def _validation_thresholds(
    twins: Float[np.ndarray, "K N"],
    shape: tuple[int, ...],
    domains: Domains,
    columns: Sequence[str],
) -> list[Float[np.ndarray, " K"]]:
    """For each test generator the thresholds that flag 5% of its pools' validation reals."""
    if twins.shape != shape:
        raise AigiError(f"Expected held-out scores of shape {shape}, got {twins.shape}.")
    return [
        np.array(
            [
                nearest_false_alarm_threshold(row[domains.real_rows(name, "val")], 0.05).threshold
                for row in twins
            ]
        )
        for name in columns
    ]


def columns_of(
    scores: Real[np.ndarray, "K N"],
    domains: Domains,
    test: Sequence[str],
    thresholds: Sequence[Float[np.ndarray, " K"]],
    split: str = "test",
) -> tuple[Column, ...]:
    """For each test generator the images of a split that it is tested on, with scores and
    thresholds."""
    every = np.flatnonzero(domains.split == split)
    groups = domains.group_numbers(every)
    columns = []
    for name, own in zip(test, thresholds, strict=True):
        rows = domains.rows(name, split)
        place = np.searchsorted(every, rows)
        mine = scores[:, rows].astype(float)
        columns.append(Column(place, domains.labels[rows], groups[place], mine, own))
    return tuple(columns)


def _measure(drawn: Resample, one: Column, names: Sequence[str]) -> dict[str, np.ndarray]:
    """[K, 1 + draws] a metric: the first draw is the images as they are."""
    counts, block = drawn.counts, drawn.block
    if block is not None:
        return evaluate_blocks(
            one.scores, one.labels, block[one.images], counts, one.thresholds, names
        )
    mine = counts[:, one.images]
    weights = np.concatenate([np.ones((1, len(one.images)), mine.dtype), mine])
    return evaluate(one.scores, one.labels, weights, one.thresholds, names)


def _protocol(
    domains: Domains, drawn: Resample, split: str, draws: int, seed: int, confidence: float
) -> dict[str, Any]:
    """How a matrix was measured, and on which images."""
    rows = np.flatnonzero(domains.split == split)
    identity = {
        "generator": domains.generator[rows].tolist(),
        "pool": domains.pool[rows].tolist(),
        "group": domains.group[rows].tolist(),
    }
    return {
        "split": split,
        "draws": draws,
        "seed": seed,
        "confidence": confidence,
        "resampled": (
            ("groups" if drawn.block is None else "blocks of groups")
            + " of test images, within real, fake and mixed groups; training images stay fixed"
        ),
        "images": digest_of(identity),
    }


def _confusion(one: Column, own: Float[np.ndarray, " K"]) -> Int[np.ndarray, "K 2 2"]:
    """Counts of images by label and call, for each detector."""
    flagged = one.scores > own[:, None]
    confusion = np.array(
        [
            [
                (flagged[:, one.labels == label] == bool(verdict)).sum(axis=1)
                for verdict in (REAL, FAKE)
            ]
            for label in (REAL, FAKE)
        ]
    )
    by_detector: np.ndarray = confusion.transpose(2, 0, 1)
    return by_detector


def transfer_matrix(
    scores: Real[np.ndarray, "K N"],
    domains: Domains,
    train: Sequence[str | TrainSet],
    test: Sequence[str] | None = None,
    *,
    thresholds: Float[np.ndarray, " K"] | float = 0.0,
    held_out: Real[np.ndarray, "K N"] | None = None,
    metrics: Sequence[str] | None = None,
    split: str = "test",
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    workers: int = WORKERS,
) -> TransferMatrix:
    """Measure K detectors, given by their scores of all N images, on test generators.

    The draws depend on the split, ``draws`` and ``seed`` only, not on which generators are shown:
    two matrices of the same workspace with the same three are paired image by image (see
    :func:`~.difference.difference`).

    Args:
        scores: decision values of each detector for every image of the workspace; above the
            threshold = fake.
        train: each row's training set, a generator or several.
        test: columns; all generators by default.
        thresholds: the detectors' own (source) thresholds.
        held_out: scores of the same detectors without refit on validation images
            (:func:`aigi_core.calibration.thresholds.held_out_scores`), which metrics with a
            threshold from validation images need: one set on images that were fitted promises too
            much.
        metrics: by default all, those that need ``held_out`` where it is given.
        split: images that are tested on. ``accuracy_at_val_fpr5`` sets its threshold on the real
            images of the validation split, whatever is tested on.
        workers: threads; the arrays are handled outside Python's lock.

    Raises:
        AigiError: shapes that do not fit, scores that are not finite, unknown metric or generator,
            or a generator without fakes or real images in the split.
    """
    wanted, unseen = _wanted_metrics(metrics, held_out is not None)
    sets = as_train_sets(train, domains)
    columns = _tested_generators(test, domains)
    scores = check_scores(scores)
    own = _own_thresholds(scores, thresholds, len(sets), len(domains))
    if not 0 < confidence < 1:
        raise AigiError(f"The confidence of an interval lies between 0 and 1, got {confidence}.")
    measured = columns_of(scores, domains, columns, [own] * len(columns), split)
    drawn = Resample.of(domains, np.flatnonzero(domains.split == split), draws, seed)
    calibrated: tuple[Column, ...] = ()
    if unseen and held_out is not None:
        twins = check_scores(held_out)
        limits = _validation_thresholds(twins, scores.shape, domains, columns)
        calibrated = columns_of(twins, domains, columns, limits, split)

    def column(at: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        one = measured[at]
        values = _measure(drawn, one, [name for name in wanted if name not in unseen])
        if unseen:
            values |= _measure(drawn, calibrated[at], unseen)
        return values, _confusion(one, own)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        parts = list(pool.map(column, range(len(columns))))
    values = {
        name: np.stack([result[name][:, 0] for result, _ in parts], axis=1) for name in wanted
    }
    moved = {
        name: np.stack([result[name][:, 1:].T.astype(np.float32) for result, _ in parts], axis=2)
        for name in wanted
    }
    return TransferMatrix(
        train=sets,
        test=columns,
        values=values,
        draws=moved,
        thresholds=own.copy(),
        confusion=np.stack([confusion for _, confusion in parts], axis=1),
        n_real=np.array([one.n[REAL] for one in measured]),
        n_fake=np.array([one.n[FAKE] for one in measured]),
        columns=measured,
        held_out=calibrated,
        family_of=dict(domains.family_of),
        protocol=_protocol(domains, drawn, split, draws, seed, confidence),
        models_of=dict(domains.models_of),
    )


TRAINING = {
    "each generator": "one detector per generator",
    "each family": "one detector for all generators of a family together",
    "all but one": "for each generator, one detector trained on all the others",
}
"""Ways to make training sets of a workspace's generators, with what they mean."""


def make_training_sets(
    domains: Domains, how: str, among: Sequence[str] | None = None
) -> dict[str, TrainSet]:
    """Named training sets in one of the ways of :data:`TRAINING`, of all generators or ``among``
    some.

    Raises:
        AigiError: no generator, an unknown way, or "all but one" of a single generator.
    """
    names = domains.generators if among is None else tuple(among)
    if not names:
        raise AigiError(
            "This workspace holds no fake images: add images of at least one generator and build it"
            " again."
        )
    if how == "each generator":
        return {name: (name,) for name in names}
    if how == "each family":
        families = dict.fromkeys(domains.family_of[name] for name in names)
        return {
            f"all {family}": tuple(n for n in names if domains.family_of[n] == family)
            for family in families
        }
    if how == "all but one":
        if len(names) < 2:
            raise AigiError(
                "Leaving one generator out needs at least two generators, and there is"
                " one: choose other training sets."
            )
        return {f"all but {name}": tuple(n for n in names if n != name) for name in names}
    raise AigiError(
        f"There is no choice of training sets {how!r}; there are {', '.join(TRAINING)}."
    )


def as_train_sets(train: Sequence[str | TrainSet], domains: Domains) -> tuple[TrainSet, ...]:
    """Each entry as a tuple of generators; raises AigiError for an unknown or repeated generator,
    or none at all.
    """
    each = (train,) if isinstance(train, str) else train
    sets = tuple((entry,) if isinstance(entry, str) else tuple(entry) for entry in each)
    if not sets or not all(sets):
        raise AigiError(
            "No training set was chosen: name at least one generator for each detector."
        )
    for names in sets:
        if len(set(names)) < len(names):
            raise AigiError(f"The training set {' + '.join(names)} names a generator twice.")
        for name in names:
            domains.pools_of(name)
    return sets
