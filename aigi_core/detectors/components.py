"""Removing components of the embedding: a D_search pair searched both ways, the union rule,
detectors on what remains.

Two generators D_search = {D1, D2} are searched: components are removed greedily for "train on D1,
score on D2", and the other way round (paper, section on components). Each ordered list is cut at
its best score; a component is removed only if both cuts remove it (what either keeps is kept).
D_search never takes part in the evaluation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from jaxtyping import Int
from threadpoolctl import threadpool_limits

from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import Protocol, TrainingSet, run_protocol
from aigi_core.detectors.solvers.elimination import (
    Cut,
    Elimination,
    Progress,
    cut_at,
    eliminate,
)
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.reprs import ShortRepr
from aigi_core.workspace import Workspace

MOST_OF_A_CLASS = 2_500
"""Images of each class that one direction of a search trains on, and as many that it scores, at
most. The standard error of a score (the mean of two rates) is then at most
``sqrt(2 * 0.25 / 2500) / 2`` = .0071, where images are independent; all images would make a search
of n images of width d take n d^2, in memory of n d."""


@dataclass(frozen=True, eq=False, repr=False)
class ComponentSearch(ShortRepr):
    """A searched pair.

    Attributes:
        pair: D_search = (D1, D2).
        forward: trained on D1, scored on D2; backward: the other way round.
    """

    pair: tuple[str, str]
    forward: Elimination
    backward: Elimination

    @property
    def removed(self) -> tuple[int, ...]:
        """Components removed by both cuts, ascending."""
        return self.removed_at("log-loss")

    def removed_at(self, rule: Cut) -> tuple[int, ...]:
        """Components that both lists remove, each cut by this rule, ascending."""
        cut_lists = [
            set(one.removed[: cut_at(one.accuracy, one.log_loss, rule)].tolist())
            for one in (self.forward, self.backward)
        ]
        return tuple(sorted(cut_lists[0] & cut_lists[1]))

    @property
    def kept(self) -> tuple[int, ...]:
        """Components that at least one cut keeps, ascending."""
        removed = set(self.removed)
        return tuple(k for k in range(self.forward.d) if k not in removed)

    @property
    def view(self) -> EmbeddingView:
        """The embedding without the removed components."""
        return EmbeddingView(without=self.removed)


def search_components(
    workspace: Workspace,
    pair: tuple[str, str],
    protocol: Protocol | None = None,
    *,
    C: float | None = None,
    patience: int | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    most: int = MOST_OF_A_CLASS,
) -> ComponentSearch:
    """Search a pair of generators both ways, on a workspace's normalised embeddings.

    Each direction trains on the training split of the one generator and scores on the validation
    split of the other; of very many images, on a random subset (see ``most``).

    Args:
        most: images of each class that a direction trains on, chooses its penalty on or scores;
            beyond it a random subset of the class stands for all, the same in every run.
        C: penalty of the search; by default each direction takes what the protocol chooses for its
            own generator.
        patience: stop a direction after this many removals without a better score.
        workers: 2 searches both directions at once.
        progress: called with (removals done, removals at most) over both directions; raise in it to
            cancel.

    Raises:
        AigiError: the generators are one and the same, unknown, or without images of a class in a
            split.
    """
    domains = workspace.domains
    rows = np.unique(
        np.concatenate(
            [
                some_of_each_class(domains.rows(name, split), domains.labels, most)
                for name in pair
                for split in ("train", "val")
            ]
        )
    )
    position = np.full(len(domains), -1)
    position[rows] = np.arange(len(rows))
    return search_pair(
        EmbeddingView().matrix(workspace, rows),
        domains,
        pair,
        protocol,
        C=C,
        patience=patience,
        workers=workers,
        progress=progress,
        position=position,
        most=most,
    )


def some_of_each_class(
    rows: Int[np.ndarray, " n"], labels: Int[np.ndarray, " N"], most: int
) -> Int[np.ndarray, " m"]:
    """At most this many of these rows of each class, drawn at random with a fixed seed, in their
    order.

    Raises:
        AigiError: fewer than one of a class.

    Example:
        >>> some_of_each_class(np.array([4, 0, 2, 3]), np.array([0, 0, 1, 1, 0]), 2).tolist()
        [4, 0, 2, 3]
        >>> len(some_of_each_class(np.arange(5), np.array([0, 0, 1, 1, 0]), 1))
        2
    """
    if most < 1:
        raise AigiError(f"A search needs at least one image of each class, got most={most}.")
    kept = np.ones(len(rows), bool)
    for label in np.unique(labels[rows]):
        of = np.flatnonzero(labels[rows] == label)
        if len(of) > most:
            kept[np.random.default_rng(0).permutation(of)[most:]] = False
    return rows[kept]


def search_pair(
    features: np.ndarray,
    domains: Domains,
    pair: tuple[str, str],
    protocol: Protocol | None = None,
    *,
    C: float | None = None,
    patience: int | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    position: Int[np.ndarray, " M"] | None = None,
    rows_of: Callable[[str, str], Int[np.ndarray, " n"]] | None = None,
    most: int = MOST_OF_A_CLASS,
) -> ComponentSearch:
    """As :func:`search_components`, on given features [N, d], one row an image of ``domains`` (or
    at ``position``).

    Args:
        rows_of: (generator, split) -> rows; by default ``domains.rows``. Bootstrap draws and
            few-shot samples of a search come in here, rows repeated as often as drawn.
    """
    protocol = protocol or Protocol()
    if len(pair) != 2 or pair[0] == pair[1]:
        raise AigiError(f"A search needs two different generators, got {' and '.join(pair)}.")
    rows_of = rows_of or domains.rows
    place = np.arange(len(domains)) if position is None else position
    done, lock = [0, 0], Lock()

    def block(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        rows = some_of_each_class(rows_of(name, split), domains.labels, most)
        return np.asarray(features[place[rows]], np.float64), domains.labels[rows]

    def direction(k: int) -> Elimination:
        def report(removed: int, most: int) -> None:
            with lock:
                done[k] = removed
                if progress is not None:
                    progress(sum(done), 2 * most)

        trained, scored = pair[k], pair[1 - k]
        X, y = block(trained, "train")
        try:
            chosen = (
                C
                if C is not None
                else run_protocol((X, y), block(trained, "val"), replace(protocol, refit=False)).C
            )
            return eliminate(
                X,
                y,
                *block(scored, "val"),
                C=chosen,
                fit_intercept=protocol.fit_intercept,
                class_weight=protocol.class_weight,
                patience=patience,
                progress=report,
            )
        except AigiError as error:
            raise AigiError(f"Searching {trained} against {scored}: {error}") from error

    with (
        threadpool_limits(1),
        _quick_turns(),
    ):  # both directions at once, each on a core, beat one after the other on two
        if workers > 1:
            with ThreadPoolExecutor(2) as pool:
                forward, backward = pool.map(direction, (0, 1))
        else:
            forward, backward = direction(0), direction(1)
    return ComponentSearch((pair[0], pair[1]), forward, backward)


def images_scored(domains: Domains, generator: str, most: int = MOST_OF_A_CLASS) -> int:
    """How many images a direction of a search that scores on this generator scores."""
    return len(some_of_each_class(domains.rows(generator, "val"), domains.labels, most))


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads that alternate between short computations and Python wait for their turn .05 ms at
    most, not 5.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, 5e-5))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def train_without(
    workspace: Workspace,
    search: ComponentSearch,
    training_sets: list[TrainingSet],
    protocol: Protocol | None = None,
) -> list[LinearDetector]:
    """Detectors on what a search leaves of the embedding.

    Raises:
        AigiError: a training set overlaps D_search, which must not take part in the evaluation.
    """
    for training_set in training_sets:
        overlap = set(search.pair) & set(
            [training_set] if isinstance(training_set, str) else training_set
        )
        if overlap:
            raise AigiError(
                f"The generator {', '.join(sorted(overlap))} was searched (D_search), so it"
                " cannot be used for evaluation: leave it out, or search another pair."
            )
    return train(workspace, training_sets, search.view, protocol)
