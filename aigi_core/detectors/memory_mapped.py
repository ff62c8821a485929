"""Detectors on more images than fit in memory: the protocol of
:mod:`~aigi_core.detectors.protocol`, by passes over the workspace's memory map.

All training sets and all C share the passes. The fits that choose C end at a relative gradient of
1e-6, those that become detectors at 1e-9 (:mod:`~aigi_core.detectors.solvers.blocked`); so another
C than in memory can be chosen only where two do equally well on validation to that precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.features import EmbeddingView, FeatureView
from aigi_core.detectors.protocol import Chosen, Protocol, splits_needed, validation_scores
from aigi_core.detectors.solvers.blocked import BLOCK, Passes, Problem, Rows, fit_blocked
from aigi_core.detectors.solvers.logistic import LogisticFit
from aigi_core.manifest import FAKE, Domains
from aigi_core.workspace import Workspace

IN_MEMORY, ANY_LENGTH = 40_000_000, 200_000_000
"""Features (images times width) up to which training holds them in memory, as .3 GB of float64:
from there on passes are quicker, too. Of embeddings whose length is kept more are held (1.6 GB),
for passes over these do not always converge."""
CHOOSING_TOLERANCE = 1e-6


def takes_passes(view: FeatureView | str, protocol: Protocol, images: int, width: int) -> bool:
    """Whether training on so many images goes over the memory map instead of a copy: whole
    embeddings under exact fits, above :data:`IN_MEMORY` (or :data:`ANY_LENGTH`).
    """
    return (
        isinstance(view, EmbeddingView)
        and not view.without
        and protocol.grid == "path"
        and images * width > (IN_MEMORY if view.normalise else ANY_LENGTH)
    )


def choose_by_passes(
    workspace: Workspace,
    training_sets: Sequence[tuple[str, ...]],
    view: EmbeddingView,
    protocol: Protocol,
    *,
    block: int = BLOCK,
    passes: Passes | None = None,
    progress: Callable[[str], None] | None = None,
    twins: bool = False,
) -> list[Chosen]:
    """The protocol's outcome for each training set: C by accuracy on validation (ties: lower
    log-loss, then smaller C), then a fit on both splits.

    Args:
        block: images read at a time.
        passes: counts the passes over the map.
        progress: told of each pass in a short sentence.
        twins: whether each comes with the same choice fitted on the training split alone, in the
            same passes; those that are not refitted are that already.

    Raises:
        AigiError: a training set that lacks a class in a split, or features that are not numbers.
    """
    domains = workspace.domains
    rows = (
        Rows.normalised(workspace.embeddings, block)
        if view.normalise
        else Rows(workspace.embeddings, np.ones(len(domains)))
    )
    used = {
        split: [domains.rows(names, split) for names in training_sets]
        for split in splits_needed(protocol)
    }
    grid = tuple(sorted(float(C) for C in protocol.C))
    options = dict(fit_intercept=protocol.fit_intercept, block=block, passes=passes)
    last = not protocol.refit or "val" not in used
    fits = fit_blocked(
        rows,
        domains.labels,
        [_problem(own, domains, protocol, grid) for own in used["train"]],
        relative_tolerance=1e-9 if last and len(grid) == 1 else CHOOSING_TOLERANCE,
        progress=progress,
        **options,  # type: ignore[arg-type]
    )
    best: list[int] = [0] * len(fits)
    validations: list[dict[str, Any]] = [{} for _ in fits]
    if "val" in used and len(grid) > 1:
        best, validations = _choices(
            rows, domains, fits, validation=used["val"], grid=grid, protocol=protocol, block=block
        )
    starts = [
        LogisticFit(*(part[at : at + 1] for part in vars(fit).values()))
        for fit, at in zip(fits, best, strict=True)
    ]
    if len(grid) > 1 or not last:
        kinds = [("train",)] if last else [("train", "val"), ("train",)][: 1 + twins]
        problems = [
            _problem(
                np.sort(np.concatenate([used[split][k] for split in kind])),
                domains,
                protocol,
                (grid[at],),
            )
            for kind in kinds
            for k, at in enumerate(best)
        ]
        starts = fit_blocked(
            rows,
            domains.labels,
            problems,
            init=starts * len(kinds),
            progress=progress,
            **options,  # type: ignore[arg-type]
        )
    chosen = [
        Chosen(fit.weights[0], float(fit.intercept[0]), grid[at], validation)
        for first in range(0, len(starts), len(best))
        for fit, at, validation in zip(
            starts[first : first + len(best)], best, validations, strict=True
        )
    ]
    whole, alone = chosen[: len(best)], chosen[len(best) :]
    if not alone:
        return whole
    return [replace(one, before=twin) for one, twin in zip(whole, alone, strict=True)]


def _problem(
    own: Int[np.ndarray, " n"], domains: Domains, protocol: Protocol, grid: tuple[float, ...]
) -> Problem:
    """A training set's rows, both classes of equal total weight where the protocol is balanced."""
    weight = np.zeros(len(domains))
    weight[own] = 1.0
    if protocol.class_weight == "balanced":
        fake = domains.labels[own] == FAKE
        for of_class in (fake, ~fake):
            weight[own[of_class]] = len(own) / (2 * max(1, int(of_class.sum())))
    return Problem(weight, grid)


def _choices(
    rows: Rows,
    domains: Domains,
    fits: Sequence[LogisticFit],
    *,
    validation: Sequence[Int[np.ndarray, " m"]],
    grid: tuple[float, ...],
    protocol: Protocol,
    block: int,
) -> tuple[list[int], list[dict[str, Any]]]:
    """Which C of the grid each training set takes, and how all did on its validation images."""
    needed = np.unique(np.concatenate(validation))
    weights = np.concatenate([fit.weights for fit in fits])
    bias = np.concatenate([fit.intercept for fit in fits])
    decisions: Float[np.ndarray, "m B"] = np.empty((len(needed), len(weights)))
    for start in range(0, len(needed), block):
        part = slice(start, start + block)
        decisions[part] = rows.take(needed[part]) @ weights.T + bias
    best, about = [], []
    for k, own in enumerate(validation):
        at = np.searchsorted(needed, own)
        f = decisions[at, k * len(grid) : (k + 1) * len(grid)]
        accuracy, loss = validation_scores(f, domains.labels[own], protocol.class_weight)
        best.append(int(np.lexsort((np.asarray(grid), loss, -accuracy))[0]))
        about.append({"C": list(grid), "accuracy": accuracy.tolist(), "log_loss": loss.tolist()})
    return best, about
