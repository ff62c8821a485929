"""Few-shot curves: how well detectors work, at home and elsewhere, against the number of training
images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.detectors.features import EmbeddingView, FeatureView, rescaled
from aigi_core.detectors.protocol import Protocol, run_protocol
from aigi_core.errors import AigiError
from aigi_core.intervals import difference_interval, mean_interval
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.matrix import TrainSet, TransferMatrix, as_train_sets, transfer_matrix
from aigi_core.workspace import Workspace

SIZES: tuple[int | None, ...] = (10, 20, 50, 100, None)
"""Images per class; None stands for all of them."""
HELD_OUT = 5
"""One image in so many of a small training set chooses the penalty; then all of them are fitted."""


@dataclass(frozen=True, eq=False, repr=False)
class FewShotCurves(ShortRepr):
    """Attributes:
    table: one row a training set, size and set of cells: ``train, size`` (images per class; 0 =
    all), ``n_real,
        n_fake`` (images trained on), ``cells`` (``in-domain``, ``ood`` or ``worst ood``, the
        generator found least), ``value`` (mean over repeats), ``low, high`` (of that mean: the
        metric's own interval over test images, for the worst allowing for the choice, joined by
        square-and-add to the t interval over repeats where there are several), ``spread``
        (standard deviation between repeats alone; NaN for all images), ``repeats`` and ``on`` (the
        generator found least).
    left_out: (training set, size, images it has of its rarer class) where a size is not to be had.
    """

    table: pd.DataFrame
    metric: str
    left_out: tuple[tuple[str, int, int], ...] = field(default=())


def few_shot_curves(
    workspace: Workspace,
    training_sets: Sequence[str | TrainSet],
    sizes: Sequence[int | None] = SIZES,
    *,
    repeats: int = 5,
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
    metric: str = DEFAULT_METRIC,
    draws: int = 200,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FewShotCurves:
    """Train on random samples of each training set's images and test on all generators.

    A sample of s images per class is all that its detector ever sees: about one in five of them
    (two at least, groups whole where they allow it) chooses the penalty, then all s are fitted.
    ``None`` is the ordinary protocol on the train and validation splits, once.

    Raises:
        AigiError: a size below 5, no repeats, or no training set that has so many images.
    """
    protocol = protocol or Protocol()
    domains = workspace.domains
    sets = as_train_sets(training_sets, domains)
    if (
        repeats < 1
        or not sizes
        or any(size is not None and (size < 5 or size != int(size)) for size in sizes)
    ):
        raise AigiError(
            "Few-shot curves need at least one repeat and one size, each size a whole number"
            " of at least five images per class."
        )
    view = view or EmbeddingView()
    features = view.matrix(workspace)
    rng, group = np.random.default_rng(seed), domains.groups
    rows, left_out = [], []
    steps = list(product(sets, sizes))
    for done, (names, size) in enumerate(steps, 1):
        pool = domains.rows(names, ("train", "val"))
        of = {label: pool[domains.labels[pool] == label] for label in (REAL, FAKE)}
        available = min(map(len, of.values()))
        if size is not None and size > available:
            left_out.append((" + ".join(names), size, available))
        else:
            parts = (
                [(domains.rows(names, "train"), domains.rows(names, "val"))]
                if size is None
                else [_sample(of, group, int(size), rng) for _ in range(repeats)]
            )
            scores = np.stack(
                [_fit_and_score(features, domains, *part, protocol, view) for part in parts]
            )
            matrix = transfer_matrix(
                scores, domains, [names] * len(parts), metrics=[metric], draws=draws, seed=seed
            )
            n = {label: len(of[label]) if size is None else size for label in of}
            about = {
                "train": " + ".join(names),
                "size": size or 0,
                "n_real": n[REAL],
                "n_fake": n[FAKE],
            }
            rows += [about | row for row in summaries(matrix, metric)]
        if progress is not None:
            progress(done, len(steps))
    if not rows:
        raise AigiError(
            f"None of the training sets has {counted(min(s for s in sizes if s), 'image')} of"
            " each class: choose smaller sizes."
        )
    return FewShotCurves(pd.DataFrame(rows), metric, tuple(left_out))


def _sample(
    of: dict[int, Int[np.ndarray, " n"]],
    group: Int[np.ndarray, " N"],
    size: int,
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " b"]]:
    """Rows to fit and rows to choose the penalty on: ``size`` of each class in all, groups on one
    side where possible.
    """
    wanted = max(2, size // HELD_OUT)
    rows = np.stack([rng.permutation(of[label])[:size] for label in (REAL, FAKE)])  # [2, size]
    held_out = np.zeros(rows.shape, bool)
    for number in rng.permutation(np.unique(group[rows])):
        mine, have = group[rows] == number, held_out.sum(axis=1)
        helps = (mine.any(axis=1) & (have < wanted)).any()
        if helps and ((held_out | mine).sum(axis=1) <= 2 * wanted).all():
            held_out |= mine
    held_out[held_out.sum(axis=1) < 2, :wanted] = True  # groups too large to be spared
    return rows[~held_out], rows[held_out]


def _fit_and_score(
    features: Float[np.ndarray, "N p"],
    domains: Domains,
    train: Int[np.ndarray, " n"],
    val: Int[np.ndarray, " m"],
    protocol: Protocol,
    view: FeatureView,
) -> Float[np.ndarray, " N"]:
    scaled = rescaled(features, view.penalty_factors(features[train]))
    blocks = [(scaled[rows], domains.labels[rows]) for rows in (train, val)]
    chosen = run_protocol(blocks[0], blocks[1], replace(protocol, refit=True))
    return chosen.score(scaled)


def summaries(matrix: TransferMatrix, metric: str) -> list[dict[str, object]]:
    """Rows of :attr:`FewShotCurves.table`, less what was trained, from a matrix of one row a
    repeat."""
    inside = matrix.in_domain
    parts = {"in-domain": (matrix.mean(metric, inside), inside[0])}
    least = matrix.hardest(metric)
    if least is not None:
        parts["ood"] = (matrix.mean(metric, ~inside), ~inside[0])
        worst = Estimate(least.value, least.low, least.high, least.n)
        parts["worst ood"] = (worst, np.array([name == least.name for name in matrix.test]))
    rows: list[dict[str, object]] = []
    for name, (mean, columns) in parts.items():
        each = matrix.values[metric][:, columns].mean(axis=1)
        repeats, spread = len(each), np.nan
        bounds = mean.interval
        if repeats > 1:
            spread = float(each.std(ddof=1))
            of_repeats = mean_interval(each - each.mean(), level=matrix.protocol["confidence"])
            bounds = difference_interval((mean.value, 0.0), (mean.interval, of_repeats))
        low, high = (float(np.clip(end, 0, 1)) for end in bounds)
        about = {"cells": name, "value": mean.value, "low": low, "high": high}
        on = least.name if least is not None and name == "worst ood" else ""
        rows.append(about | {"spread": spread, "repeats": repeats, "on": on})
    return rows
