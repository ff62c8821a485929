"""Detectors on the embedding, kept under a workspace's ``results/``, so that pages need not train
those that they begin with.

``python -m precompute detectors`` trains and keeps them; reading takes a moment. The key holds
whatever changes them: the workspace's digest, the training sets, the feature view, the protocol,
and :data:`FORMAT`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from aigi_core.detectors.detector import Detector
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import Protocol, TrainingSet, as_names
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace, digest_of, write_atomic

FORMAT = 1
"""Raise it when the files change, or when training gives other detectors than before."""
KIND = "detectors"


def detectors_key(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    view: EmbeddingView | None = None,
    protocol: Protocol | None = None,
) -> str:
    """Name of the directory of the detectors that :func:`~.protocol.train` gives for the same
    arguments.
    """
    made_of = {
        "format": FORMAT,
        "workspace": workspace.digest,
        "view": (view or EmbeddingView()).spec(),
    }
    made_of |= {
        "sets": [as_names(names) for names in training_sets],
        "protocol": asdict(protocol or Protocol()),
    }
    return digest_of(made_of)


def save_detectors(
    workspace: Workspace, detectors: Sequence[Detector], protocol: Protocol | None = None
) -> str:
    """Publish detectors of one view and protocol; the note that makes them count is written last.
    Returns the key.

    Raises:
        AigiError: none, of several views, or of others than the embedding.
    """
    views = list({detector.view for detector in detectors})
    if len(views) != 1 or not isinstance(view := views[0], EmbeddingView):
        kinds = ", ".join(view.kind for view in views) or "none"
        raise AigiError(
            f"Detectors are kept together that see the same embedding, these see: {kinds}."
        )
    key = detectors_key(
        workspace, [detector.training_set for detector in detectors], view, protocol
    )
    folder = workspace.result_path(KIND, key)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "weights": np.stack([detector.weights for detector in detectors]),
        **{
            name: np.array([getattr(d, name) for d in detectors], np.float64)
            for name in ("bias", "C", "threshold")
        },
    }
    write_atomic(folder / "detectors.safetensors", safetensors.numpy.save(arrays))
    note = {
        "workspace_digest": workspace.digest,
        "provenance": [detector.provenance for detector in detectors],
    }
    write_atomic(
        folder / "detectors.json", (json.dumps(note, indent=1, ensure_ascii=False) + "\n").encode()
    )
    return key


def load_detectors(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet],
    view: EmbeddingView | None = None,
    protocol: Protocol | None = None,
) -> list[Detector] | None:
    """What :func:`~.protocol.train` gives for the same arguments, where it is kept and whole; else
    None: train them.
    """
    view = view or EmbeddingView()
    folder = workspace.result_path(KIND, detectors_key(workspace, training_sets, view, protocol))
    names = [as_names(training_set) for training_set in training_sets]
    try:
        provenance = json.loads((folder / "detectors.json").read_text("utf-8"))["provenance"]
        arrays = safetensors.numpy.load((folder / "detectors.safetensors").read_bytes())
        weights, numbers = arrays["weights"], [arrays[name] for name in ("bias", "C", "threshold")]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
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
        Detector(view, own, float(bias), float(C), training_set, float(threshold), about)
        for own, bias, C, threshold, training_set, about in zip(
            weights, *numbers, names, provenance, strict=True
        )
    ]
