"""Which generators to train on: every set of up to k of them, chosen on validation images, reported
on test images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real

from aigi_core.detectors.detector import score_features
from aigi_core.detectors.features import FeatureView
from aigi_core.detectors.methods import METHODS, Method
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import TrainingImages
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.metrics import DEFAULT_METRIC, METRICS, check_metrics
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.transfer.difference import PairedDifference, difference
from aigi_core.transfer.matrix import TrainSet, TransferMatrix, transfer_matrix
from aigi_core.winner import Winner, winner
from aigi_core.workspace import Workspace

ScoreSets = Callable[[Sequence[TrainSet]], Float[np.ndarray, "K N"]]
"""Trains one detector a training set and scores every image with it."""
Goal = Literal["mean", "worst"]


def rows_of_sets(
    scores: Float[np.ndarray, "R N"], row: Mapping[frozenset[str], int], sets: Sequence[TrainSet]
) -> Float[np.ndarray, "K N"]:
    """Of scores at hand, those of some sets; with its first two arguments bound a
    :data:`ScoreSets`."""
    picked: np.ndarray = scores[[row[frozenset(one)] for one in sets]]
    return picked


@dataclass(frozen=True, eq=False, repr=False)
class TrainingSetRanking(ShortRepr):
    """All training sets, measured on the generators that they do not hold.

    Attributes:
        table: one row a set, best first by size and validation mean. ``train, k, n_ood``; for
            validation and test images ``mean, worst`` (over OOD generators), ``worst_on`` and
            ``gain`` as ``val_mean``, ``test_mean`` and so on; intervals on test as
            ``test_mean_low`` ... The worst of several measured values lies below the worst true
            one; its interval allows for that (:mod:`aigi_core.winner`). A set that holds the hard
            generators is not tested on them, which raises its mean: ``gain`` is the mean over its
            OOD generators of what it has above the average set of its size that does not hold that
            generator either. val, test: the matrices behind it, rows in the order of ``table``.
    """

    table: pd.DataFrame
    metric: str
    val: TransferMatrix = field(repr=False)
    test: TransferMatrix = field(repr=False)

    def best(self, k: int, goal: Goal = "mean") -> pd.Series:
        """The set of k generators with the best OOD mean, or the best worst case, on validation
        images.
        """
        rows = self.table[self.table["k"] == k]
        if rows.empty or goal not in get_args(Goal):
            raise AigiError(
                f"No set of {counted(k, 'generator')} was tried for {goal!r}; sizes are"
                f" {sorted(set(self.table['k']))}, goals {' and '.join(get_args(Goal))}."
            )
        better = METRICS[self.metric].higher_is_better
        values = rows[f"val_{goal}"].to_numpy()
        return rows.iloc[int(values.argmax() if better else values.argmin())]

    def compare(self, a: TrainSet, b: TrainSet) -> PairedDifference:
        """Test metric of set ``a`` minus set ``b``, paired, over the generators that are OOD for
        both.
        """
        rows = [self._row(a), self._row(b)]
        common = np.asarray(~self.test.in_domain[rows].any(axis=0))
        if not common.any():
            raise AigiError("No generator is out-of-domain for both sets: compare smaller sets.")
        one, other = (self.test.rows([row]) for row in rows)
        return difference(one, other, self.metric).mean(common[None])

    def _row(self, names: TrainSet) -> int:
        for row, train in enumerate(self.test.train):
            if set(train) == set(names):
                return row
        raise AigiError(f"The set {' + '.join(names)} was not among those tried.")


def trainer(
    workspace: Workspace,
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
    method: Method = METHODS["logistic"],
    *,
    held_out: bool = False,
) -> ScoreSets:
    """Training and scoring on one feature view of a workspace (the method's default view),
    computed once.

    Args:
        held_out: without the refit on validation images, which then can judge.
    """
    if held_out:
        protocol = replace(protocol or Protocol(), refit=False)
    view = view or method.default_view()
    method.check(workspace, view)
    images = TrainingImages(view.matrix(workspace), workspace.domains, view)
    bound = method.bound(workspace)

    def score_sets(sets: Sequence[TrainSet]) -> Float[np.ndarray, "K N"]:
        detectors = bound.train_on(images, sets, protocol)
        return score_features(detectors, images.features)

    return score_sets


def score_twice(
    sets: Sequence[TrainSet],
    workspace: Workspace,
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
    method: Method = METHODS["logistic"],
) -> tuple[Float[np.ndarray, "K N"], Float[np.ndarray, "K N"]]:
    """What both kinds of :func:`trainer` give for these sets, which for some methods costs little
    more than one: scores that judge, and those of detectors not refitted on validation images.
    """
    view = view or method.default_view()
    method.check(workspace, view)
    images = TrainingImages(view.matrix(workspace), workspace.domains, view)
    whole, alone = method.bound(workspace).train_twice(images, sets, protocol)
    return score_features(whole, images.features), score_features(alone, images.features)


def rank_training_sets(
    score_sets: ScoreSets,
    held_out: ScoreSets,
    domains: Domains,
    candidates: Sequence[str] | None = None,
    *,
    k_max: int = 3,
    metric: str = DEFAULT_METRIC,
    draws: int = 1000,
    seed: int = 0,
    batch: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingSetRanking:
    """Train on every set of 1 to ``k_max`` of the candidate generators and test on all generators.

    Args:
        score_sets: trains and scores; called with batches of sets. Test images are judged by it.
        held_out: the same without a refit on validation images. These choose, and a detector that
            was trained on them would praise itself.
        candidates: generators to choose from; all by default. Tests are on all generators, whatever
            is chosen.
        progress: called with (sets done, sets in all).

    Raises:
        AigiError: sets so large that one has no generator left to be tested on, or an unknown
            generator.
    """
    names = domains.generators if candidates is None else tuple(dict.fromkeys(candidates))
    if not 1 <= k_max <= len(names) or k_max >= len(domains.generators):
        raise AigiError(
            f"Sets of up to {counted(k_max, 'generator')} cannot be tried: there are {len(names)}"
            " to choose"
            f" from, and at least one of {len(domains.generators)} must be left to test on."
        )
    better = METRICS[check_metrics(metric)[0]].higher_is_better
    sets = [chosen for k in range(1, k_max + 1) for chosen in combinations(names, k)]
    scores, unseen = np.empty((2, len(sets), len(domains)), np.float64)
    for start in range(0, len(sets), batch):
        part = slice(start, start + batch)
        scores[part], unseen[part] = score_sets(sets[part]), held_out(sets[part])
        if progress is not None:
            progress(min(start + batch, len(sets)), len(sets))
    val_values = _measure(
        unseen, domains, sets, metric=metric, split="val", draws=1, seed=seed
    ).values[metric]
    size = np.array([len(s) for s in sets])
    ood = np.array([[name not in s for name in domains.generators] for s in sets])
    order = np.lexsort((_masked_mean(val_values, ood) * (-1 if better else 1), size))
    scores, unseen = scores[order], unseen[order]
    sets = [sets[i] for i in order]
    size = size[order]
    ood = ood[order]
    val = _measure(unseen, domains, sets, metric=metric, split="val", draws=1, seed=seed)
    test = _measure(scores, domains, sets, metric=metric, split="test", draws=draws, seed=seed)
    table: dict[str, object] = {
        "train": [" + ".join(s) for s in sets],
        "k": size,
        "n_ood": ood.sum(axis=1),
    }
    for split, matrix in (("val", val), ("test", test)):
        values, drawn = matrix.values[metric], matrix.draws[metric]
        worst = np.where(ood, values, np.inf if better else -np.inf)
        at = worst.argmin(axis=1) if better else worst.argmax(axis=1)
        table |= {
            f"{split}_mean": _masked_mean(values, ood),
            f"{split}_worst": values[np.arange(len(sets)), at],
            f"{split}_worst_on": np.array(matrix.test)[at],
            f"{split}_gain": _gain(values, ood, size) * (1 if better else -1),
        }
        if split == "test":
            means = [
                matrix.mean(metric, (np.arange(len(sets)) == row)[:, None] & ood)
                for row in range(len(sets))
            ]
            least = [
                _worst(values[row], ends, drawn[:, row], ood[row], better)
                for row, ends in enumerate(zip(*matrix.interval(metric), strict=True))
            ]
            table |= {
                "test_mean_low": [mean.low for mean in means],
                "test_mean_high": [mean.high for mean in means],
                "test_worst_low": [one.low for one in least],
                "test_worst_high": [one.high for one in least],
            }
    return TrainingSetRanking(pd.DataFrame(table), metric, val, test)


@dataclass(frozen=True, eq=False, repr=False)
class TargetRanking(ShortRepr):
    """Training sets for chosen target generators.

    Attributes:
        table: one row a set, best first on validation images of the targets: ``rank, train, k,
            val_mean, test_mean, test_mean_low, test_mean_high, n_targets``; for the first
            :data:`COMPARED` rows the paired difference to the next row on test images: ``next,
            next_low, next_high, next_p``.
        test: the matrix behind it: rows in the order of ``table``, columns the targets.
    """

    table: pd.DataFrame
    metric: str
    test: TransferMatrix = field(repr=False)

    @property
    def best(self) -> TrainSet:
        """The recommended set."""
        return self.test.train[0]

    def smaller(self) -> tuple[TrainSet, PairedDifference] | None:
        """The set of fewer generators than the recommended one that is best on validation images,
        and what the recommended one has above it on the targets' test images; None where there is
        none.
        """
        fewer = [at for at, names in enumerate(self.test.train) if len(names) < len(self.best)]
        if not fewer:
            return None
        gap = difference(self.test.rows([0]), self.test.rows(fewer[:1]), self.metric)
        return self.test.train[fewer[0]], gap.mean(np.ones((1, len(self.test.test)), bool))


COMPARED = 10
"""Ranks that are compared with the next one."""


def rank_for_targets(
    score_sets: ScoreSets,
    held_out: ScoreSets,
    domains: Domains,
    targets: Sequence[str],
    *,
    k_max: int = 2,
    unseen: bool = True,
    metric: str = DEFAULT_METRIC,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TargetRanking:
    """Which sets of 1 to ``k_max`` generators to train on in order to catch the targets.

    Sets are ranked by their mean on the targets' validation images and reported on test images,
    each beside the next one on the same images and bootstrap draws.

    Args:
        held_out: trains without a refit on validation images, which choose.
        targets: generators to catch; each counts alike.
        unseen: leave the targets out of the training sets.

    Raises:
        AigiError: no targets, unknown ones, or nothing left to train on.
    """
    wanted = tuple(dict.fromkeys(targets))
    names = [name for name in domains.generators if not (unseen and name in wanted)]
    if not wanted or not names or k_max < 1:
        raise AigiError(
            "Training sets are ranked for at least one target generator, and at least one other"
            " must be left to train on: choose fewer targets, or allow training on them."
        )
    better = METRICS[check_metrics(metric)[0]].higher_is_better
    sets = [
        chosen for k in range(1, min(k_max, len(names)) + 1) for chosen in combinations(names, k)
    ]
    scores, twins = np.empty((2, len(sets), len(domains)), np.float64)
    for start in range(0, len(sets), 100):
        part = slice(start, start + 100)
        scores[part], twins[part] = score_sets(sets[part]), held_out(sets[part])
        if progress is not None:
            progress(min(start + 100, len(sets)), len(sets))
    val, test = (
        transfer_matrix(
            of, domains, sets, wanted, metrics=[metric], split=split, draws=n, seed=seed
        )
        for of, split, n in ((twins, "val", 1), (scores, "test", draws))
    )
    mean = val.values[metric].mean(axis=1)
    order = np.lexsort((np.array([len(s) for s in sets]), -mean if better else mean))
    test, sets = test.rows(order.tolist()), [sets[i] for i in order]
    everywhere = np.ones((1, len(wanted)), bool)
    rows = []
    for at, names_of in enumerate(sets):
        own = test.rows([at]).mean(metric, everywhere)
        row: dict[str, object] = {
            "rank": at + 1,
            "train": " + ".join(names_of),
            "k": len(names_of),
            "val_mean": mean[order[at]],
            "test_mean": own.value,
            "test_mean_low": own.low,
            "test_mean_high": own.high,
            "n_targets": own.n,
        }
        if at < min(COMPARED, len(sets) - 1):
            gap = difference(test.rows([at]), test.rows([at + 1]), metric).mean(everywhere)
            row |= {
                "next": gap.value,
                "next_low": gap.low,
                "next_high": gap.high,
                "next_p": gap.p_value,
            }
        rows.append(row)
    return TargetRanking(pd.DataFrame(rows), metric, test)


def _measure(
    scores: Real[np.ndarray, "K N"],
    domains: Domains,
    sets: Sequence[TrainSet],
    *,
    metric: str,
    split: str,
    draws: int,
    seed: int,
) -> TransferMatrix:
    return transfer_matrix(
        scores, domains, sets, metrics=[metric], split=split, draws=draws, seed=seed
    )


def _masked_mean(
    values: Float[np.ndarray, "*B K T"], ood: Bool[np.ndarray, "K T"]
) -> Float[np.ndarray, "*B K"]:
    mean: np.ndarray = np.einsum("...kt,kt->...k", values, ood.astype(values.dtype)) / ood.sum(
        axis=1
    )
    return mean


def _worst(
    values: Float[np.ndarray, " T"],
    ends: tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]],
    drawn: Float[np.ndarray, "B T"],
    ood: Bool[np.ndarray, " T"],
    better: bool,
) -> Winner:
    cells = pd.DataFrame({"value": values, "low": ends[0], "high": ends[1]})[ood]
    return winner(cells.assign(name="", n=1), drawn[:, ood], highest=not better, limits=(0.0, 1.0))


def _gain(
    values: Float[np.ndarray, "K T"], ood: Bool[np.ndarray, "K T"], size: np.ndarray
) -> Float[np.ndarray, " K"]:
    gain = np.empty(len(values))
    for k in np.unique(size):
        rows = size == k
        usual = np.where(ood[rows], values[rows], 0).sum(axis=0) / np.maximum(
            ood[rows].sum(axis=0), 1
        )
        gain[rows] = _masked_mean(values[rows] - usual, ood[rows])
    return gain
