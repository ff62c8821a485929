"""From training sets to detectors: features of a view, and the protocol
(:mod:`~aigi_core.detectors.protocol`) on each set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.detector import LinearDetector, encoder_of
from aigi_core.detectors.features import EmbeddingView, FeatureView, rescaled
from aigi_core.detectors.memory_mapped import choose_by_passes, takes_passes
from aigi_core.detectors.protocol import (
    Chosen,
    Protocol,
    TrainingSet,
    as_sets,
    choose,
    splits_needed,
)
from aigi_core.detectors.solvers.directions import Gram
from aigi_core.detectors.solvers.logistic import NARROW
from aigi_core.errors import AigiError
from aigi_core.manifest import REAL, Domains
from aigi_core.workspace import Workspace, tool_versions


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
    protocol, names = protocol or Protocol(), as_sets(training_sets)
    seen = view or EmbeddingView()
    if takes_passes(seen, protocol, *workspace.embeddings.shape):
        assert isinstance(seen, EmbeddingView), "what takes_passes accepts"
        chosen = choose_by_passes(workspace, names, seen, protocol)
        known = provenance_of(workspace)
        return [
            _detector(seen, one, own, workspace.domains, protocol, known)
            for one, own in zip(chosen, names, strict=True)
        ]
    features, position = training_features(workspace, names, seen)
    return train_detectors(
        features,
        workspace.domains,
        names,
        protocol,
        view=seen,
        provenance=provenance_of(workspace),
        position=position,
    )


def training_features(
    workspace: Workspace, training_sets: Sequence[TrainingSet], view: FeatureView
) -> tuple[Float[np.ndarray, "n p"], Int[np.ndarray, " N"]]:
    """Features of all images that these sets train or validate on, and where each image of the
    workspace lies among them (-1: nowhere).
    """
    domains, names = workspace.domains, as_sets(training_sets)
    needed = np.unique(np.concatenate([domains.rows(s, ("train", "val")) for s in names]))
    position = np.full(len(domains), -1)
    position[needed] = np.arange(len(needed))
    return view.matrix(workspace, needed), position


def train_detectors(
    features: Float[np.ndarray, "N p"],
    domains: Domains,
    training_sets: Sequence[TrainingSet],
    protocol: Protocol | None = None,
    *,
    view: FeatureView | None = None,
    provenance: dict[str, Any] | None = None,
    position: Int[np.ndarray, " M"] | None = None,
) -> list[LinearDetector]:
    """Train one detector a training set on given features.

    Training sets whose real images are the same share one matrix of second moments.

    Args:
        features: [N, p] features as ``view`` gives them, one row an image of ``domains``.
        position: where each image of ``domains`` lies among the rows of ``features``; by default
            they correspond.
    """
    protocol, view = protocol or Protocol(), view or EmbeddingView()
    names = as_sets(training_sets)
    place = np.arange(len(domains)) if position is None else position
    grams = _shared_grams(features, domains, names, place, view)
    detectors = []
    for training_set, gram in zip(names, grams, strict=True):
        rows = {split: domains.rows(training_set, split) for split in splits_needed(protocol)}
        together = np.concatenate(list(rows.values()))
        X, y = np.asarray(features[place[together]], np.float64), domains.labels[together]
        factors = view.penalty_factors(X[: len(rows["train"])])
        try:
            chosen = choose(rescaled(X, factors), y, len(rows["train"]), protocol, gram)
        except AigiError as error:
            raise AigiError(f"Training on {' + '.join(training_set)}: {error}") from error
        chosen = replace(chosen, weights=rescaled(chosen.weights, factors))
        detectors.append(_detector(view, chosen, training_set, domains, protocol, provenance or {}))
    return detectors


def _detector(
    view: FeatureView,
    chosen: Chosen,
    training_set: tuple[str, ...],
    domains: Domains,
    protocol: Protocol,
    provenance: dict[str, Any],
) -> LinearDetector:
    """The detector that a protocol's outcome makes, with how it was made."""
    counts = {split: len(domains.rows(training_set, split)) for split in splits_needed(protocol)}
    about = {
        **provenance,
        "protocol": protocol.record(),
        "n_train": counts["train"],
        "n_val": counts.get("val", 0),
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


def provenance_of(workspace: Workspace) -> dict[str, Any]:
    """What a detector remembers of the workspace that it was trained on."""
    return {
        "workspace": workspace.name,
        "workspace_digest": workspace.digest,
        "encoder": encoder_of(workspace),
        "versions": tool_versions(),
    }


def _shared_grams(
    features: np.ndarray,
    domains: Domains,
    names: list[tuple[str, ...]],
    place: np.ndarray,
    view: FeatureView,
) -> list[Gram | None]:
    """One Gram for all training sets with the same real images, from at most a few times p of their
    training rows.
    """
    p = features.shape[1]
    rows_of = [domains.rows(training_set, "train") for training_set in names]
    keys = [rows[domains.labels[rows] == REAL].tobytes() for rows in rows_of]
    grams: dict[bytes, Gram] = {}
    for key in dict.fromkeys(keys):
        sets = [rows for rows, own in zip(rows_of, keys, strict=True) if own == key]
        union = np.unique(np.concatenate(sets))
        stride = max(1, len(union) // (2 * p))
        wanted = p > NARROW and min(map(len, sets)) >= p
        if wanted:
            X = features[place[union[::stride]]]
            grams[key] = Gram(rescaled(X, view.penalty_factors(X)))
    return [grams.get(key) for key in keys]
