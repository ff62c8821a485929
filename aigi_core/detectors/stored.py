"""Detectors on the embedding, kept under a workspace's ``results/``, so that pages need not train
those that they begin with.

``python -m precompute detectors`` trains and keeps them; reading takes a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from aigi_core import results
from aigi_core.detectors.detector import Detector, LinearDetector, score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import Protocol, TrainingSet, as_names
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.results import OldResult, ResultKind
from aigi_core.workspace import Workspace, digest_of


def _old_key(workspace: Workspace, parameters: Mapping[str, Any]) -> str:
    return digest_of({"format": 1, "workspace": workspace.digest, **parameters})


KIND = ResultKind(
    "detectors",
    "detectors",
    job="detectors",
    format=2,
    old=OldResult("detectors.json", _old_key),
)
"""Raise its format when training gives other detectors than before."""
SCORES = ResultKind("scores", "scores of all images", job="detectors", format=1)
SCORES_FILE = "scores.safetensors"
SCORED = 20_000
"""Images from which on scores are kept, too: a million take ten seconds of a core, and every server
would spend them."""


def parameters_of(
    training_sets: Sequence[TrainingSet],
    view: EmbeddingView | None,
    protocol: Protocol | None,
    method: str,
) -> dict[str, Any]:
    """What names detectors of a workspace, as JSON values."""
    # stored detectors once had one method, and did not name it
    named = {} if method == "logistic" else {"method": method}
    return named | {
        "view": (view or EmbeddingView()).spec(),
        "sets": [as_names(names) for names in training_sets],
        "protocol": asdict(protocol or Protocol()),
    }


def save_detectors(
    workspace: Workspace, detectors: Sequence[Detector], protocol: Protocol | None = None
) -> Path:
    """Publish linear detectors of one method, view and protocol; returns their folder.

    Raises:
        AigiError: none, without weights, of several views or methods, or of others than the
            embedding.
    """
    linear = [detector for detector in detectors if isinstance(detector, LinearDetector)]
    views, methods = {detector.view for detector in linear}, {one.method for one in linear}
    view = next(iter(views), None)
    if (
        len(linear) < len(detectors)
        or len(views) != 1
        or len(methods) != 1
        or not isinstance(view, EmbeddingView)
    ):
        kinds = ", ".join(view.kind for view in views) or "none"
        raise AigiError(
            "Only linear detectors of one method on one feature view are kept together,"
            f" these have the views: {kinds} (methods"
            f" {', '.join(sorted(methods)) or 'none'})."
        )
    sets = [detector.training_set for detector in linear]
    arrays = {
        "weights": np.stack([detector.weights for detector in linear]),
        **{
            name: np.array([getattr(d, name) for d in linear], np.float64)
            for name in ("bias", "C", "threshold")
        },
    }
    return results.publish(
        workspace,
        KIND,
        parameters_of(sets, view, protocol, methods.pop()),
        {"detectors.safetensors": arrays},
        content={"provenance": [detector.provenance for detector in linear]},
    )


def load_detectors(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    view: EmbeddingView | None = None,
    protocol: Protocol | None = None,
    method: str = "logistic",
) -> list[LinearDetector] | None:
    """What this method's ``train`` gives for the same arguments, where it is kept and whole; else
    None: train them.
    """
    view = view or EmbeddingView()
    names = [as_names(training_set) for training_set in training_sets]
    try:
        stored = results.load(workspace, KIND, parameters_of(training_sets, view, protocol, method))
        provenance = stored.content["provenance"]
        arrays = stored.arrays("detectors.safetensors")
        weights, numbers = arrays["weights"], [arrays[name] for name in ("bias", "C", "threshold")]
    except (WorkspaceError, KeyError):
        return None
    shapes = {part.shape for part in numbers}
    whole = (
        shapes == {(len(names),)}
        and weights.ndim == 2
        and len(weights) == len(names) == len(provenance)
    )
    if not whole or not all(np.isfinite(part).all() for part in (weights, *numbers)):
        return None
    return [
        LinearDetector(
            view=view,
            weights=own,
            bias=float(bias),
            C=float(C),
            training_set=training_set,
            threshold=float(threshold),
            provenance=about,
        )
        for own, bias, C, threshold, training_set, about in zip(
            weights, *numbers, names, provenance, strict=True
        )
    ]


def save_scores(
    workspace: Workspace, detectors: Sequence[Detector], protocol: Protocol | None = None
) -> Float[np.ndarray, "K N"]:
    """Publish the scores that detectors of :func:`save_detectors` give all images; returns them."""
    scores = score_detectors(detectors, workspace)
    arrays = {"scores": scores}
    results.publish(workspace, SCORES, named_by_weights(detectors, protocol), {SCORES_FILE: arrays})
    return scores


def load_scores(
    workspace: Workspace, detectors: Sequence[Detector], protocol: Protocol | None = None
) -> Float[np.ndarray, "K N"] | None:
    """What :func:`save_scores` kept of these detectors; None where nothing whole is."""
    try:
        stored = results.load(workspace, SCORES, named_by_weights(detectors, protocol))
        scores = stored.arrays(SCORES_FILE)["scores"]
    except (WorkspaceError, KeyError):
        return None
    fits = scores.shape == (len(detectors), len(workspace.domains)) and scores.dtype == np.float64
    return scores if fits and np.isfinite(scores).all() else None


def named_by_weights(
    detectors: Sequence[Detector], protocol: Protocol | None = None
) -> dict[str, Any]:
    """What names a result of linear detectors: their weights, for they may be trained again."""
    linear = [one for one in detectors if isinstance(one, LinearDetector)]
    weights = sha256(b"".join(one.weights.tobytes() + repr(one.bias).encode() for one in linear))
    return {
        "sets": [as_names(one.training_set) for one in linear],
        "views": [one.view.spec() for one in linear],
        "protocol": asdict(protocol or Protocol()),
        "weights": weights.hexdigest(),
    }
