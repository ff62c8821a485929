"""Linear layers that others trained, read from their files as detectors: tensors only, nothing is
unpickled beyond them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from aigi_core.detectors.detector import LinearDetector, encoder_identity
from aigi_core.detectors.features import EmbeddingView, FeatureView
from aigi_core.detectors.token_views import PreView
from aigi_core.errors import AigiError
from aigi_core.soundness import read_npz
from aigi_core.workspace import Workspace

SEEN: dict[str, FeatureView] = {
    "embedding": EmbeddingView(normalise=False),
    "unit-embedding": EmbeddingView(),
    "pre": PreView(normalise=False),
    "unit-pre": PreView(),
}
"""What a published layer was trained on: UniversalFakeDetect's on ``embedding``, the SVMs of
ClipBased-SyntheticImageDetection on ``unit-pre``."""
WEIGHTS, BIASES = ("weight", "weights", "coef_"), ("bias", "intercept_")


def read_layer(file: Path) -> tuple[Float[np.ndarray, " p"], float]:
    """Weights and bias of the one linear layer with one output in a file (.pth, .pt, .safetensors,
    .npz).

    Raises:
        AigiError: missing, damaged, holds more than tensors, or not exactly one such layer.
    """
    tensors = _tensors(file)
    layers = {
        name: array.reshape(-1)
        for name, array in tensors.items()
        if name.rsplit(".", 1)[-1] in WEIGHTS
        and array.size > 1
        and (array.ndim == 1 or (array.ndim == 2 and len(array) == 1))
    }
    if len(layers) != 1:
        held = ", ".join(f"{name} {list(array.shape)}" for name, array in tensors.items())
        raise AigiError(
            f"Expected one linear layer with one output in {file} (a tensor weight or coef_ of"
            f" shape [1, width]), found {len(layers)}; it holds {held[:300] or 'no tensors'}."
        )
    [(name, weights)] = layers.items()
    prefix = name.rpartition(".")[0]
    known = [f"{prefix}.{end}" if prefix else end for end in BIASES]
    biases = [tensors[one].reshape(-1) for one in known if one in tensors]
    bias = biases[0] if biases else np.zeros(1)
    if bias.shape != (1,) or not np.isfinite([*weights, *bias]).all():
        raise AigiError(
            f"Expected finite weights and one bias in {file}, got a bias of shape"
            f" {list(bias.shape)} or numbers that are not finite: ask for the file again."
        )
    return weights.astype(np.float64), float(bias[0])


def published_detector(
    workspace: Workspace, file: Path, *, name: str, feature: str, encoder: str
) -> LinearDetector:
    """The detector of a published layer on a workspace's features.

    Args:
        feature: a key of :data:`SEEN`.
        encoder: model that the layer was trained on, as the workspace names its own.

    Raises:
        AigiError: as :func:`read_layer`; an unknown feature, another encoder or another width.
    """
    if feature not in SEEN:
        raise AigiError(f"There is no feature {feature!r}; there are {', '.join(SEEN)}.")
    weights, bias = read_layer(file)
    own = encoder_identity(workspace)
    if encoder not in (own["model"], f"{own['model']}:{own['pretrained']}"):
        raise AigiError(
            f"{file} was trained on {encoder}, the workspace {workspace.path} was encoded with"
            f" {own['model']}:{own['pretrained']}: encode its images with {encoder}."
        )
    view = SEEN[feature]
    width = view.matrix(workspace, np.arange(1)).shape[1]
    if len(weights) != width:
        raise AigiError(
            f"{file} holds a layer of width {len(weights)}, the feature {feature!r} of"
            f" {workspace.path} has {width}: choose another feature or encoder."
        )
    about: dict[str, Any] = {"method": "published", "encoder": own, "file": file.name}
    return LinearDetector(
        view=view, weights=weights, bias=bias, training_set=(name,), provenance=about
    )


def _tensors(file: Path) -> dict[str, np.ndarray]:
    """All tensors of a file by name."""
    if file.suffix not in (".pth", ".pt", ".safetensors", ".npz"):
        raise AigiError(f"Expected a file .pth, .pt, .safetensors or .npz, got {file}.")
    if not file.is_file():
        raise AigiError(f"There is no file {file}.")
    if file.suffix != ".npz":
        from aigi_core.clip.weights import read_weights  # loads torch

        return {name: tensor.float().numpy() for name, tensor in read_weights(file).state.items()}
    try:
        return read_npz(file)
    except ValueError as error:
        raise AigiError(
            f"{file} cannot be read as arrays alone ({error}): save it again with numpy.savez."
        ) from error
