"""Detectors on the embedding, kept under a workspace's ``results/``, so that pages need not train
those that they begin with.

``python -m precompute detectors`` trains and keeps them; reading takes a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from aigi_core import results
from aigi_core.detectors.detector import Detector, LinearDetector
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
            "Linear detectors of one method are kept together that see the same embedding, these"
            f" see: {kinds} (methods {', '.join(sorted(methods)) or 'none'})."
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
