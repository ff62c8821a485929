"""From training sets to detectors: features of a view, and the protocol
(:mod:`~aigi_core.detectors.protocol`) on each set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.detector import LinearDetector, encoder_identity
from aigi_core.detectors.features import EmbeddingView, FeatureView, rescaled
from aigi_core.detectors.memory_mapped import choose_by_passes, takes_passes
from aigi_core.detectors.protocol import (
    Chosen,
    GridPoint,
    Protocol,
    TrainingSet,
    as_sets,
    at_point,
    choose,
    splits_needed,
)
from aigi_core.detectors.solvers.directions import Gram
from aigi_core.detectors.solvers.logistic import NARROW
from aigi_core.errors import AigiError
from aigi_core.manifest import REAL, Domains
from aigi_core.workspace import Workspace, tool_versions

SECONDS = {False: (2.5e-5, 5e-5), True: (8.5e-6, 1.1e-5)}
"""Seconds of a core for an image and a training set, alone and with twins: in memory, and by
passes over the memory map (docs/scale.md)."""
STEPS = 1.5
"""Seconds of a core that a training set's passes take besides, whatever the number of images."""


def training_seconds(
    workspace: Workspace,
    sets: int,
    view: FeatureView | str | None = None,
    protocol: Protocol | None = None,
    *,
    twins: bool = False,
) -> float:
    """Seconds of a core that :func:`train` takes on so many sets, about; with ``twins``,
    :func:`train_with_twins`.

    Args:
        view: a name where each set computes a direction of its own, which is done in memory.
    """
    seen, used = view or EmbeddingView(), protocol or Protocol()
    images, width = workspace.embeddings.shape
    passes = takes_passes(seen, used, images, width)
    return (SECONDS[passes][twins] * int(images) + STEPS * passes) * sets


def train(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
) -> list[LinearDetector]:
    """Train one detector a training set on a workspace, on any feature view (the embedding by
    default).

    Raises:
        AigiError: an unknown generator, one without images of a class in a split, or features that
            are not numbers.

    Example:
        >>> detectors = train(workspace, workspace.domains.generators)          # doctest: +SKIP
        >>> scores = score_detectors(detectors, workspace)                      # doctest: +SKIP
    """
    return [pair[0] for pair in _trained(workspace, training_sets, view, protocol, twins=False)]


def train_with_twins(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
) -> list[tuple[LinearDetector, ...]]:
    """As :func:`train`, and beside each the detector of the same choice that was not refitted on
    validation images (the same one, where the protocol does not refit).
    """
    return _trained(workspace, training_sets, view, protocol, twins=True)


def _trained(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    view: FeatureView | None,
    protocol: Protocol | None,
    *,
    twins: bool,
) -> list[tuple[LinearDetector, ...]]:
    protocol, names = protocol or Protocol(), as_sets(training_sets)
    seen = view or EmbeddingView()
    if not takes_passes(seen, protocol, *workspace.embeddings.shape):
        return train_twice(training_images(workspace, names, seen), names, protocol)
    assert isinstance(seen, EmbeddingView), "what takes_passes accepts"
    known, made = provenance_of(workspace), []
    for chosen, own in zip(
        choose_by_passes(workspace, names, seen, protocol, twins=twins), names, strict=True
    ):
        kinds = [(chosen, protocol)]
        if twins:
            kinds.append((chosen.before or chosen, replace(protocol, refit=False)))
        made.append(
            tuple(
                _detector(seen, one, own, _rows(workspace.domains, own, used), used, known)
                for one, used in kinds
            )
        )
    return made


def train_at(
    workspace: Workspace,
    training_set: TrainingSet,
    view: FeatureView,
    protocol: Protocol,
    point: GridPoint,
) -> LinearDetector:
    """The detector of :func:`train` where it is known which point of the paper's grid is chosen; of
    the grid's validation it remembers the choice alone.
    """
    names = as_sets([training_set])
    images = training_images(workspace, names, view)
    rows = _rows(workspace.domains, names[0], protocol)
    together = np.concatenate(list(rows.values()))
    X, y = np.asarray(images.of(together), np.float64), workspace.domains.labels[together]
    factors = view.penalty_factors(X[: len(rows["train"])])
    fitted = slice(None if protocol.refit else len(rows["train"]))
    one = at_point(rescaled(X, factors)[fitted], y[fitted], protocol, point)
    chosen = replace(one, weights=rescaled(one.weights, factors))
    return _detector(view, chosen, names[0], rows, protocol, images.provenance)


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """Images to train on, as a feature view gives them.

    Attributes:
        features: [M, p].
        domains: what N images are.
        view: whose features these are.
        provenance: what a detector remembers of where they come from.
        position: [N] where each image of ``domains`` lies among the rows of ``features`` (-1:
            nowhere); by default they correspond.
    """

    features: Float[np.ndarray, "M p"]
    domains: Domains
    view: FeatureView = field(default_factory=EmbeddingView)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    position: Int[np.ndarray, " N"] | None = None

    def of(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n p"]:
        """Features of some images of ``domains``."""
        picked: np.ndarray = self.features[rows if self.position is None else self.position[rows]]
        return picked

    def shown(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n p"]:
        """As :meth:`of`, for who does not change them: no copy where they lie in this order."""
        at = rows if self.position is None else self.position[rows]
        in_order = len(at) > 0 and bool((np.diff(at) == 1).all())
        part: np.ndarray = self.features[at[0] : at[-1] + 1] if in_order else self.of(rows)
        return part


def training_images(
    workspace: Workspace, training_sets: Sequence[TrainingSet], view: FeatureView
) -> TrainingImages:
    """All images of a workspace that these sets train or validate on."""
    domains, names = workspace.domains, as_sets(training_sets)
    needed = np.unique(np.concatenate([domains.rows(s, ("train", "val")) for s in names]))
    position = np.full(len(domains), -1)
    position[needed] = np.arange(len(needed))
    features = view.matrix(workspace, needed)
    return TrainingImages(features, domains, view, provenance_of(workspace), position)


def train_detectors(
    images: TrainingImages, training_sets: Sequence[TrainingSet], protocol: Protocol | None = None
) -> list[LinearDetector]:
    """Train one detector a training set on given features.

    Training sets whose real images are the same share one matrix of second moments.
    """
    return [detector for detector, _ in train_twice(images, training_sets, protocol)]


def train_twice(
    images: TrainingImages, training_sets: Sequence[TrainingSet], protocol: Protocol | None = None
) -> list[tuple[LinearDetector, ...]]:
    """As :func:`train_detectors`, and beside each the detector of the same choice that was not
    refitted on validation images (the same one, where the protocol does not refit): two for the
    price of one.
    """
    protocol, names = protocol or Protocol(), as_sets(training_sets)
    domains, view = images.domains, images.view
    grams = _shared_grams(images, names)
    pairs: list[tuple[LinearDetector, ...]] = []
    for training_set, gram in zip(names, grams, strict=True):
        rows = _rows(domains, training_set, protocol)
        together = np.concatenate(list(rows.values()))
        X, y = np.asarray(images.shown(together), np.float64), domains.labels[together]
        factors = view.penalty_factors(X[: len(rows["train"])])
        try:
            chosen = choose(rescaled(X, factors), y, len(rows["train"]), protocol, gram)
        except AigiError as error:
            raise AigiError(f"Training on {' + '.join(training_set)}: {error}") from error
        pairs.append(
            tuple(
                _detector(
                    view,
                    replace(one, weights=rescaled(one.weights, factors)),
                    training_set,
                    rows,
                    used,
                    images.provenance,
                )
                for one, used in (
                    (chosen, protocol),
                    (chosen.before or chosen, replace(protocol, refit=False)),
                )
            )
        )
    return pairs


def _detector(
    view: FeatureView,
    chosen: Chosen,
    training_set: tuple[str, ...],
    rows: Mapping[str, Int[np.ndarray, " n"]],
    protocol: Protocol,
    provenance: Mapping[str, Any],
) -> LinearDetector:
    """The detector that a protocol's outcome on the rows of each split makes, with how it was
    made.
    """
    about = {
        **provenance,
        "protocol": protocol.record(),
        "n_train": len(rows["train"]),
        "n_val": len(rows.get("val", ())),
        "validation": chosen.validation,
    }
    return LinearDetector(
        view=view,
        weights=chosen.weights,
        bias=chosen.intercept,
        C=chosen.C,
        training_set=training_set,
        provenance=about,
    )


def _rows(
    domains: Domains, training_set: TrainingSet, protocol: Protocol
) -> dict[str, Int[np.ndarray, " n"]]:
    """Rows of each split that a protocol touches."""
    return {split: domains.rows(training_set, split) for split in splits_needed(protocol)}


def provenance_of(workspace: Workspace) -> dict[str, Any]:
    """What a detector remembers of the workspace that it was trained on."""
    return {
        "workspace": workspace.name,
        "workspace_digest": workspace.digest,
        "encoder": encoder_identity(workspace),
        "versions": tool_versions(),
    }


def _shared_grams(images: TrainingImages, names: list[tuple[str, ...]]) -> list[Gram | None]:
    """One Gram for all training sets with the same real images, from at most a few times p of their
    training rows.
    """
    domains, p = images.domains, images.features.shape[1]
    rows_of = [domains.rows(training_set, "train") for training_set in names]
    keys = [rows[domains.labels[rows] == REAL].tobytes() for rows in rows_of]
    grams: dict[bytes, Gram] = {}
    for key in dict.fromkeys(keys):
        sets = [rows for rows, own in zip(rows_of, keys, strict=True) if own == key]
        union = np.unique(np.concatenate(sets))
        stride = max(1, len(union) // (2 * p))
        wanted = p > NARROW and min(map(len, sets)) >= p
        if wanted:
            X = images.of(union[::stride])
            grams[key] = Gram(rescaled(X, images.view.penalty_factors(X)))
    return [grams.get(key) for key in keys]
