"""The residual detector: one feature, the cosine with the difference of the two classes' mean
directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int, Int8

from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.features import EmbeddingView, ResidualView
from aigi_core.detectors.presets import Means
from aigi_core.detectors.protocol import (
    Protocol,
    TrainingSet,
    as_sets,
    refit,
    run_protocol,
    splits_needed,
)
from aigi_core.detectors.training import provenance_of
from aigi_core.errors import AigiError
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace


def residual_direction(
    X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], what: str = "these images"
) -> Float[np.ndarray, " d"]:
    """resid_g = Norm(mean of fake embeddings) - Norm(mean of real embeddings) (paper, equation of
    resid_g).

    Raises:
        AigiError: a class is missing, its mean is zero, or both means point the same way.
    """
    means = []
    for label, name in ((1, "fake"), (0, "real")):
        rows = X[np.asarray(y) == label]
        mean = rows.mean(axis=0, dtype=np.float64) if len(rows) else np.zeros(X.shape[1])
        norm = float(np.linalg.norm(mean))
        if norm == 0:
            raise AigiError(
                f"The {name} images of {what} have no mean direction: add images, because"
                " both classes need some."
            )
        means.append(mean / norm)
    residual: np.ndarray = means[0] - means[1]
    if np.linalg.norm(residual) < 1e-12:
        raise AigiError(
            f"The fake and real images of {what} have the same mean direction, so there is no"
            " residual: choose other images."
        )
    return residual


def residual_directions(
    X: Float[np.ndarray, "n d"], labels: Int8[np.ndarray, "B n"]
) -> Float[np.ndarray, "B d"]:
    """Norm(mean of fakes) - Norm(mean of reals) for B sets of labels (paper, section on
    residuals).
    """
    fakes, reals = labels @ X, (1 - labels) @ X  # a mean's length does not matter: it is normalised
    residuals: np.ndarray = unit_rows(fakes) - unit_rows(reals)
    return residuals


def train_residual(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    protocol: Protocol | None = None,
    *,
    means: Means = "unit embeddings",
) -> list[LinearDetector]:
    """Train residual detectors: logistic regression on cos(e, resid_g), with a threshold (its
    intercept) by default.

    C is chosen with the residual of the training split; the refit takes residual and regression
    from train plus validation.

    Args:
        means: ``unit embeddings`` are normalised first, so that no image weighs more than another
            in the means, and the feature is a cosine; of ``raw embeddings`` the feature is the dot
            product with the residual.
    """
    protocol, normalise = protocol or Protocol(), means == "unit embeddings"
    view, domains = EmbeddingView(normalise=normalise), workspace.domains
    detectors = []
    for training_set in as_sets(training_sets):
        what = " + ".join(training_set)
        rows = {split: domains.rows(training_set, split) for split in splits_needed(protocol)}
        blocks = {
            split: (view.matrix(workspace, r), domains.labels[r]) for split, r in rows.items()
        }
        seen = ResidualView(tuple(residual_direction(*blocks["train"], what).tolist()), normalise)
        features = {split: (X @ seen.factors[:, None], y) for split, (X, y) in blocks.items()}
        chosen = run_protocol(
            features["train"], features.get("val"), replace(protocol, refit=False)
        )
        weights, bias = chosen.weights, chosen.intercept
        if protocol.refit:
            X, y = (np.concatenate(parts) for parts in zip(*blocks.values(), strict=True))
            seen = ResidualView(tuple(residual_direction(X, y, what).tolist()), normalise)
            final = refit(X @ seen.factors[:, None], y, chosen, protocol)
            weights, bias = final.weights[0], float(final.intercept[0])
        about = {
            **provenance_of(workspace),
            "method": "residual",
            "protocol": protocol.record(),
            "n_train": len(rows["train"]),
            "n_val": len(rows.get("val", ())),
            "validation": chosen.validation,
        }
        detectors.append(
            LinearDetector(
                view=seen,
                weights=weights,
                bias=bias,
                C=chosen.C,
                training_set=training_set,
                provenance=about,
            )
        )
    return detectors


def closeness(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    """Cosine between two directions of the joint space, such as a detector's weights and its
    residual.
    """
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0:
        raise AigiError("A direction of zero length has no cosine with another.")
    return float(np.dot(a, b)) / norms
