"""What remains when fakes and real images no longer differ in a confound: within strata, and after
resampling.

A stratum holds images alike in the confound (same format and size, or equally likely to be fake by
their file facts: Rosenbaum and Rubin 1983). Accuracy within strata keeps the detector and reweights
its test images; matched resampling keeps, in every stratum and split, equally many fakes and real
images, and trains again. Because matching throws images away, its matrix stands beside that of
equally few images drawn without matching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.audit.facts import encode_facts, fact_detector
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import load_detectors
from aigi_core.detectors.training import TrainingImages, train, train_detectors
from aigi_core.errors import AigiError
from aigi_core.intervals import Interval, difference_interval, rate_of_draws
from aigi_core.manifest import FAKE, REAL, SPLITS, Domains
from aigi_core.metrics import DEFAULT_METRIC, METRICS, Column
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.transfer import Resample, TrainSet, TransferMatrix, transfer_matrix
from aigi_core.transfer.matrix import as_train_sets
from aigi_core.workspace import Workspace

DEALT = 10_000
"""Groups of a generator up to which each is given to a fold by itself."""
Strata = dict[str, Int[np.ndarray, " n"]]
"""Generator -> stratum of each of its rows over all splits, in the order of
``domains.rows(generator, SPLITS)``.
"""
Scorer = Callable[[Int[np.ndarray, " M"], Domains, Sequence[TrainSet]], Float[np.ndarray, "K M"]]
"""Trains one detector for each training set on the M images (rows of the workspace, their domains)
and scores them.
"""


def propensity_strata(
    facts: pd.DataFrame,
    domains: Domains,
    *,
    seed: int = 0,
) -> Strata:
    """Images about equally likely to be fake by their file facts, judged by detectors that did not
    see them.

    Five folds over groups; each generator's images fall into bins of score with equal numbers of
    fakes (five bins remove about nine tenths of a difference, Cochran 1968; ten are used because
    tree scores come in lumps).
    """
    X, _ = encode_facts(facts)
    strata: Strata = {}
    for generator in domains.generators:
        rows = domains.rows(generator, SPLITS)
        labels = domains.labels[rows]
        groups = np.where(domains.group[rows] == "", rows.astype(str), domains.group[rows])
        smallest = min(len(np.unique(groups[labels == label])) for label in (REAL, FAKE))
        if smallest < 2:
            raise AigiError(
                f"Propensity strata of {generator!r} need at least two groups of each class."
            )
        score = np.empty(len(rows))
        for held in _folds(labels, groups, smallest, seed):
            fit = ~held
            score[held] = fact_detector(
                X[rows[fit]], labels[fit], seed, smooth=True
            ).decision_function(X[rows[held]])
        edges = np.unique(np.quantile(score[labels == FAKE], np.arange(1, 10) / 10))
        # Beyond the fakes' own range lie real images unlike any fake: strata of their own, which
        # match nobody.
        lowest = score[labels == FAKE].min()
        strata[generator] = np.where(
            score < lowest, -1, np.searchsorted(edges, score, side="right")
        )
    return strata


def _folds(
    labels: Int[np.ndarray, " n"], groups: np.ndarray, smallest: int, seed: int
) -> Iterator[Bool[np.ndarray, " n"]]:
    """The images of each of five folds, or of ``smallest`` (the groups of the rarer class): whole
    groups, both classes spread evenly. More than
    :data:`DEALT` groups are dealt out in the order of their numbers of fakes and real images, equal
    ones in an order drawn at random; fewer are given one by one to the fold that lacks them most,
    which takes a millisecond for each group of each generator."""
    folds, (_, of) = min(5, smallest), np.unique(groups, return_inverse=True)
    fakes, all_ = np.bincount(of, labels == FAKE), np.bincount(of)
    if len(all_) > DEALT and smallest > 100:
        mixed = np.random.default_rng(seed).permutation(len(all_))
        fold = np.empty(len(all_), int)
        fold[mixed[np.lexsort(((all_ - fakes)[mixed], fakes[mixed]))]] = (
            np.arange(len(all_)) % folds
        )
        for number in range(folds):
            yield fold[of] == number
        return
    from sklearn.model_selection import StratifiedGroupKFold  # readers of figures would pay 2 s

    one_by_one = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for _, held in one_by_one.split(np.zeros(len(labels)), labels, groups):
        yield np.isin(np.arange(len(labels)), held)


def within_strata(
    scores: Float[np.ndarray, "K N"],
    domains: Domains,
    train: Sequence[str | TrainSet],
    strata: Strata,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Balanced accuracy on test images as they are, and with real images weighted to the fakes' mix
    of strata.

    Fakes in strata without a real image have nothing to be compared with and are left out;
    ``covered`` is the share of fakes that remains.

    Returns:
        One row a cell: ``train, test, accuracy, accuracy_low, accuracy_high`` (as they are),
            ``within, within_low, within_high``, ``covered``, ``strata`` (with both classes),
            ``n_fake, n_real`` (in these strata). Where nothing is covered ``within`` is NaN.
    """
    sets = as_train_sets(train, domains)
    scores = np.atleast_2d(scores)
    if scores.shape != (len(sets), len(domains)):
        raise AigiError(
            f"Expected scores of {counted(len(sets), 'detector')} for"
            f" {counted(len(domains), 'image')}, got"
            f" {scores.shape}."
        )
    flagged = scores > 0
    rows_out = []
    for test, codes in strata.items():
        every = domains.rows(test, SPLITS)
        mine = np.isin(every, domains.rows(test, "test"))
        rows, codes = every[mine], codes[mine]
        fake = domains.labels[rows] == FAKE
        drawn = Resample.of(domains, rows, draws, seed)
        onehot = (codes[:, None] == np.unique(codes)[None]).astype(float)
        both = (onehot[fake].sum(axis=0) > 0) & (onehot[~fake].sum(axis=0) > 0)
        n_fake, n_real = (drawn.sums(onehot, side) for side in (fake, ~fake))
        usable = (n_fake > 0) & (n_real > 0)
        weight = np.where(usable, n_fake, 0)
        compared = [int(onehot[side][:, both].sum()) for side in (fake, ~fake)]
        column = Column(
            np.arange(len(rows)),
            domains.labels[rows],
            domains.group_numbers(rows),
            scores[:, rows].astype(float),
            np.zeros(len(sets)),
        )
        bounds = METRICS[DEFAULT_METRIC].cell_intervals(column, np.zeros(0), np.zeros((0, 0)))
        for k, (names, called) in enumerate(zip(sets, flagged[:, rows], strict=True)):
            hits = drawn.sums(onehot, fake & called)
            passes = drawn.sums(onehot, ~fake & ~called)
            with np.errstate(invalid="ignore", divide="ignore"):
                plain = (hits.sum(1) / n_fake.sum(1) + passes.sum(1) / n_real.sum(1)) / 2
                kept = np.where(usable, passes / n_real, 0)
                within = ((hits * usable).sum(1) + (weight * kept).sum(1)) / (2 * weight.sum(1))
            bounded = Interval(np.asarray(np.nan), np.asarray(np.nan))
            if both.any():
                bounded = rate_of_draws(within[0], within[1:], 2 * min(compared))
            rows_out.append(
                dict(
                    train=" + ".join(names),
                    test=test,
                    accuracy=plain[0],
                    accuracy_low=float(bounds.low[k]),
                    accuracy_high=float(bounds.high[k]),
                    within=within[0],
                    within_low=float(bounded.low),
                    within_high=float(bounded.high),
                    covered=float(weight[0].sum() / fake.sum()),
                    strata=int(both.sum()),
                    n_fake=compared[0],
                    n_real=compared[1],
                )
            )
    return pd.DataFrame(rows_out)


def take_domains(
    domains: Domains, index: Int[np.ndarray, " M"], pool: np.ndarray | None = None
) -> Domains:
    """Domains of chosen rows, in any order and several times over; ``pool`` renames their pools.

    Copies of an image share its group; an image without one is given a group of its own.
    """
    generator = domains.generator[index]
    return Domains(
        labels=domains.labels[index],
        generator=generator,
        pool=domains.pool[index] if pool is None else pool,
        split=domains.split[index],
        group=np.where(
            domains.group[index] == "", np.char.add("row ", index.astype(str)), domains.group[index]
        ),
        family_of={
            name: domains.family_of[name] for name in dict.fromkeys(generator.tolist()) if name
        },
    )


@dataclass(frozen=True, eq=False)
class Matched:
    """A collection in which fakes and real images are alike in the confound.

    Each generator has its own choice of real images, so real images occur once for each generator
    and ``domains`` names each generator's pool after it; ``index`` leads back to the workspace's
    rows.

    Attributes:
        index: [M] rows of the workspace.
        domains: of the M images.
        table: one row a generator and split: ``generator, split, n_fake, n_real`` before, ``kept``
            (of each class).
        left_out: generator -> why it could not be matched.
    """

    index: Int[np.ndarray, " M"] = field(repr=False)
    domains: Domains = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    left_out: dict[str, str]

    def to_frame(self) -> pd.DataFrame:
        """``table`` with a column ``left_out``: why, empty where the generator was matched."""
        return self.table.assign(
            left_out=[self.left_out.get(name, "") for name in self.table["generator"]]
        )


def match(
    domains: Domains, strata: Strata, *, smallest: int = 5, seed: int = 0, alike: bool = True
) -> Matched:
    """Keep equally many fakes and real images in each stratum of each split, at random.

    Args:
        smallest: a generator with fewer matched fakes than this in a split is left out.
        alike: False draws the same numbers without regard to strata: the control for having fewer
            images.

    Raises:
        AigiError: no generator can be matched.
    """
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = []
    owners: list[str] = []
    table, left_out = [], {}
    for generator, codes in strata.items():
        rows = domains.rows(generator, SPLITS)
        fake = domains.labels[rows] == FAKE
        picks, kept = [], {}
        for split in SPLITS:
            here = domains.split[rows] == split
            sizes = [
                (
                    code,
                    min(
                        int((here & fake & (codes == code)).sum()),
                        int((here & ~fake & (codes == code)).sum()),
                    ),
                )
                for code in np.unique(codes)
            ]
            kept[split] = sum(size for _, size in sizes)
            cells = (
                [(codes == code, size) for code, size in sizes] if alike else [(here, kept[split])]
            )
            for cell, size in cells:
                for side in (fake, ~fake):
                    picks.append(rng.choice(rows[here & side & cell], size, replace=False))
            table.append(
                dict(
                    generator=generator,
                    split=split,
                    n_fake=int((here & fake).sum()),
                    n_real=int((here & ~fake).sum()),
                    kept=kept[split],
                )
            )
        short = [f"{kept[split]} in {split}" for split in SPLITS if kept[split] < smallest]
        if short:
            left_out[generator] = f"too few fakes have a real image like them ({', '.join(short)})"
            continue
        chosen.append(np.sort(np.concatenate(picks)))
        owners += [generator] * len(chosen[-1])
    if not chosen:
        raise AigiError(
            "No generator can be matched, because no stratum of file facts holds both its"
            " fakes and real images: encode all images after one common re-encoding, or"
            " match on fewer file facts."
        )
    index = np.concatenate(chosen)
    kept_domains = take_domains(domains, index, pool=np.array(owners))
    return Matched(index, kept_domains, pd.DataFrame(table), left_out)


def own_scores(
    workspace: Workspace, view: FeatureView | None = None, protocol: Protocol | None = None
) -> Float[np.ndarray, "K N"]:
    """Scores of one linear detector a generator, each trained on all of its images: those that the
    workspace keeps, else trained now.
    """
    sets = [(name,) for name in workspace.domains.generators]
    kept = None
    if view is None or isinstance(view, EmbeddingView):
        kept = load_detectors(workspace, sets, view, protocol)
    return score_detectors(kept or train(workspace, sets, view, protocol), workspace)


def own_matrix(
    scores: Float[np.ndarray, "K N"], domains: Domains, draws: int = 1000, seed: int = 0
) -> TransferMatrix:
    """The matrix of detectors that were each trained on one generator, in the order of the
    generators.
    """
    return transfer_matrix(
        scores, domains, domains.generators, metrics=(DEFAULT_METRIC,), draws=draws, seed=seed
    )


def detector_scorer(
    workspace: Workspace, protocol: Protocol | None = None, view: FeatureView | None = None
) -> Scorer:
    """Train linear detectors on features of a workspace's images (the embedding by default).

    Only the images of one training set are in memory at a time, and a block of those scored: a copy
    of all would take 6 GB at a million images.
    """
    seen = view or EmbeddingView()

    def one(index: np.ndarray, domains: Domains, names: TrainSet) -> Detector:
        # in the order of training, which then needs no copy
        rows = np.concatenate([domains.rows(names, split) for split in ("train", "val")])
        position = np.full(len(domains), -1)
        position[rows] = np.arange(len(rows))
        features = seen.matrix(workspace, index[rows])
        images = TrainingImages(features, domains, seen, position=position)
        return train_detectors(images, [names], protocol)[0]

    def score(index: np.ndarray, domains: Domains, sets: Sequence[TrainSet]) -> np.ndarray:
        detectors = [one(index, domains, names) for names in sets]
        return score_detectors(detectors, workspace, index)

    return score


@dataclass(frozen=True, eq=False, repr=False)
class MatchedMatrices(ShortRepr):
    """The same protocol on all images, on equally few without matching, and on matched ones.

    Attributes:
        full, control, matched: matrices over the generators that could be matched, in the same
            order.
        change: one row a cell: ``train, test, in_domain, full, control, matched`` and ``change``
            (matched minus
            control: what removing the confound did, apart from having fewer images) with ``low,
                high``.
    """

    full: TransferMatrix
    control: TransferMatrix
    matched: TransferMatrix
    change: pd.DataFrame = field(repr=False)
    selection: Matched

    def means(self) -> pd.DataFrame:
        """Means over the cells on and off the diagonal.

        Returns:
            One row a set of cells (``in-domain``, ``ood``): ``cells``, ``full, control, matched``
            each with ``_low, _high``, ``change, change_low, change_high`` (matched minus control)
            and ``n`` (cells).
        """
        metric = self.matched.metrics[0]
        rows = []
        for name, cells in (
            ("in-domain", self.matched.in_domain),
            ("ood", ~self.matched.in_domain),
        ):
            if not cells.any():
                continue
            row: dict[str, object] = {"cells": name, "n": int(cells.sum())}
            for which, matrix in (
                ("full", self.full),
                ("control", self.control),
                ("matched", self.matched),
            ):
                mean = matrix.mean(metric, cells)
                row |= {which: mean.value, f"{which}_low": mean.low, f"{which}_high": mean.high}
            after, before = (m.mean(metric, cells) for m in (self.matched, self.control))
            value = after.value - before.value
            low, high = difference_interval(
                (after.value, before.value), (after.interval, before.interval)
            )
            rows.append(
                row | {"change": float(value), "change_low": float(low), "change_high": float(high)}
            )
        return pd.DataFrame(rows)


def matched_matrices(
    scorer: Scorer,
    domains: Domains,
    strata: Strata,
    full: TransferMatrix,
    *,
    smallest: int = 5,
    draws: int = 1000,
    seed: int = 0,
) -> MatchedMatrices:
    """Train and test again on matched images, and on equally few unmatched ones.

    Args:
        full: the matrix of detectors that were each trained on all images of one generator
            (:func:`own_matrix`), which the others stand beside.

    Draws of the matched and the control matrix are independent (they hold different images), so the
    interval of their difference is wider than a paired one.
    """
    selection = match(domains, strata, smallest=smallest, seed=seed)
    names, metric = selection.domains.generators, DEFAULT_METRIC
    fewer = match(
        domains,
        {name: strata[name] for name in names},
        smallest=smallest,
        seed=seed + 1,
        alike=False,
    )
    sets = tuple((name,) for name in names)

    def matrix(index: np.ndarray, of: Domains, offset: int) -> TransferMatrix:
        return transfer_matrix(
            scorer(index, of, sets),
            of,
            sets,
            names,
            metrics=(metric,),
            draws=draws,
            seed=seed + offset,
        )

    full = full.rows([full.train.index(own) for own in sets]).on(names)
    control = matrix(fewer.index, fewer.domains, 1)
    matched = matrix(selection.index, selection.domains, 2)
    low, high = difference_interval(
        (matched.values[metric], control.values[metric]),
        (Interval(*matched.interval(metric)), Interval(*control.interval(metric))),
    )
    change = pd.DataFrame(
        {
            "train": np.repeat(names, len(names)),
            "test": np.tile(names, len(names)),
            "in_domain": matched.in_domain.ravel(),
            **{
                name: m.values[metric].ravel()
                for name, m in (("full", full), ("control", control), ("matched", matched))
            },
            "change": (matched.values[metric] - control.values[metric]).ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "n_fake": np.tile(matched.n_fake, len(names)),
        }
    )
    return MatchedMatrices(full, control, matched, change, selection)
