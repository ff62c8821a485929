"""A detector: a small value that scores embeddings or heads, and is saved without pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError

from aigi_core.detectors.features import (
    EmbeddingView,
    FeatureView,
    HeadsView,
    ResidualView,
    view_from_spec,
)
from aigi_core.errors import AigiError
from aigi_core.heads import Encoded
from aigi_core.workspace import Workspace, write_atomic

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Detector:
    """A linear detector on one feature view: fake where ``features @ weights + bias`` exceeds
    ``threshold``.

    Attributes:
        view: what it sees; resolved, so that it needs nothing of the workspace it was trained on.
        weights: [p]; they point towards fake.
        bias: 0 where the detector was trained without one.
        threshold: log-odds above which an image is called fake; 0 is a probability of one half.
        C: inverse penalty it was fitted with.
        training_set: generators it was trained on.
        provenance: JSON-serialisable: workspace digest, encoder, n, protocol, validation scores,
            tool versions.
    """

    view: FeatureView
    weights: Float[np.ndarray, " p"]
    bias: float
    C: float
    training_set: tuple[str, ...]
    threshold: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The training set, as matrices show it."""
        return " + ".join(self.training_set)

    def decision_function(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Log-odds of being fake for rows of a workspace, or of images just encoded.

        Raises:
            AigiError: the images come from another encoder, or their features from another width.
        """
        self.require_encoder(images)
        return self.score(self.view.matrix(images, rows))

    def score(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
        """Log-odds of being fake for rows of this detector's own view."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != len(self.weights):
            raise AigiError(
                f"The detector {self.name!r} sees {len(self.weights)} features an image, these have"
                f" shape {features.shape}: give it images of the encoder it was trained on."
            )
        scores: np.ndarray = features @ self.weights + self.bias
        return scores

    def predict_proba(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Probability of being fake under the model (uncalibrated)."""
        probability: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * self.decision_function(images, rows)))
        return probability

    def predict(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Bool[np.ndarray, " n"]:
        """True where the detector calls an image fake."""
        return np.asarray(self.decision_function(images, rows) > self.threshold)

    def with_threshold(self, threshold: float) -> Detector:
        return replace(self, threshold=float(threshold))

    def joint_weights(self, images: Encoded) -> Float[np.ndarray, "k d"]:
        """The weights as directions of the joint space: one row, or one a head (for nearest texts
        and closeness).
        """
        if isinstance(self.view, HeadsView):
            return self.view.joint_weights(images.decomposition, self.weights)
        if isinstance(self.view, ResidualView):
            return np.asarray(self.weights[:1, None] * self.view.factors)
        d = images.embeddings.shape[1]
        full = np.zeros((1, d))
        full[0, self.view.kept(d) if isinstance(self.view, EmbeddingView) else slice(None)] = (
            self.weights
        )
        return full

    def require_encoder(self, images: Encoded) -> None:
        """Raise AigiError where a workspace was encoded by another model than the one trained
        on.
        """
        mine = self.provenance.get("encoder", {})
        if not mine or not isinstance(images, Workspace):
            return
        theirs = encoder_of(images)
        if mine != theirs:
            raise AigiError(
                f"The detector {self.name!r} was trained on {_encoder_name(mine)}, the workspace"
                f" {images.name!r} was encoded with {_encoder_name(theirs)}: encode the images with"
                " the detector's encoder."
            )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``PATH.safetensors`` (arrays) and ``PATH.json`` (everything else); returns the JSON
        file.
        """
        stem = _stem(path)
        stem.parent.mkdir(parents=True, exist_ok=True)
        arrays = {
            "weights": np.ascontiguousarray(self.weights, np.float64),
            "bias": np.array([self.bias]),
        }
        about = {
            "format": FORMAT,
            "view": self.view.spec(),
            "features": len(self.weights),
            "threshold": self.threshold,
            "C": self.C,
            "training_set": list(self.training_set),
            "provenance": self.provenance,
        }
        write_atomic(stem.with_name(stem.name + ".safetensors"), safetensors.numpy.save(arrays))
        file = stem.with_name(stem.name + ".json")
        write_atomic(
            file, (json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
        )
        return file

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Detector:
        """Read what :meth:`save` wrote; ``path`` with or without suffix.

        Raises:
            AigiError: a file is missing, damaged, or of a newer format.
        """
        stem = _stem(path)
        try:
            about = json.loads(stem.with_name(stem.name + ".json").read_text("utf-8"))
            arrays = safetensors.numpy.load(stem.with_name(stem.name + ".safetensors").read_bytes())
            if about["format"] != FORMAT:
                raise AigiError(
                    f"The detector {stem} has format {about['format']}, this program reads"
                    f" {FORMAT}."
                )
            if not isinstance(about["training_set"], list) or not about["training_set"]:
                raise ValueError(f"the training set is {about['training_set']!r}")
            detector = cls(
                view=view_from_spec(about["view"]),
                weights=arrays["weights"].astype(np.float64),
                bias=float(arrays["bias"][0]),
                C=float(about["C"]),
                training_set=tuple(str(name) for name in about["training_set"]),
                threshold=float(about["threshold"]),
                provenance=dict(about["provenance"]),
            )
            detector._check(int(about["features"]))
        except FileNotFoundError as error:
            raise AigiError(
                f"There is no detector at {stem}: {error.filename} is missing."
            ) from error
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            RecursionError,
            SafetensorError,
        ) as error:
            raise AigiError(f"The detector {stem} is damaged ({error}): save it again.") from error
        return detector

    def _check(self, features: int) -> None:
        """Raise ValueError where values read from a file are none that :meth:`save` writes."""
        if self.weights.shape != (features,) or not np.isfinite(self.weights).all():
            raise ValueError(f"expected {features} finite weights, got {self.weights.shape}")
        if not np.isfinite([self.bias, self.threshold, self.C]).all() or self.C <= 0:
            raise ValueError(
                f"bias {self.bias}, threshold {self.threshold} and C {self.C} must be finite, C"
                " positive"
            )
        if isinstance(self.view, HeadsView) and not (
            self.view.scales or self.view.space == "stream"
        ):
            raise ValueError("its heads have no scales")
        encoder = self.provenance.get("encoder", {})
        if not isinstance(encoder, dict) or not all(
            isinstance(value, str) for value in encoder.values()
        ):
            raise ValueError(f"the encoder is {encoder!r}")


def score_detectors(
    detectors: Sequence[Detector],
    images: Encoded,
    rows: Int[np.ndarray, " n"] | None = None,
    *,
    block: int = 8192,
) -> Float[np.ndarray, "K n"]:
    """Log-odds of all detectors for rows of a workspace (all by default), in blocks of rows.

    Detectors that are linear in the normalised embedding (residuals, removed components) share one
    product.
    """
    joint = [_linear_in_embedding(d.view) for d in detectors]
    for detector in detectors:
        detector.require_encoder(images)
    everything = np.arange(len(images.embeddings))
    if rows is not None:
        everything = everything[rows]  # numbers, or a mask
    scores = np.empty((len(detectors), len(everything)))
    views = dict.fromkeys(
        EmbeddingView() if j else d.view for d, j in zip(detectors, joint, strict=True)
    )
    for view in views:
        mine = [
            k for k, d in enumerate(detectors) if (EmbeddingView() if joint[k] else d.view) == view
        ]
        if any(joint[k] for k in mine):
            _require_width(detectors, mine, images)
            weights = np.concatenate([detectors[k].joint_weights(images) for k in mine])
        else:
            weights = np.stack([detectors[k].weights for k in mine])
        bias = np.array([detectors[k].bias for k in mine])[:, None]
        for start in range(0, len(everything), block):
            part = everything[start : start + block]
            features = view.matrix(images, part)
            if features.shape[1] != weights.shape[1]:
                detectors[mine[0]].score(features)  # says so
            scores[mine, start : start + block] = weights @ features.T + bias
    return scores


def _linear_in_embedding(view: FeatureView) -> bool:
    return isinstance(view, ResidualView | EmbeddingView) and view.normalise


def _require_width(detectors: Sequence[Detector], which: list[int], images: Encoded) -> None:
    d = images.embeddings.shape[1]
    for detector in (detectors[k] for k in which):
        view = detector.view
        if isinstance(view, ResidualView):
            width = len(view.direction)
        else:
            width = (
                len(detector.weights) + len(view.without) if isinstance(view, EmbeddingView) else 0
            )
        if width != d:
            raise AigiError(
                f"The detector {detector.name!r} sees embeddings of {width} components, these have"
                f" {d}: give it images of the encoder it was trained on."
            )


def encoder_of(workspace: Workspace) -> dict[str, str]:
    """What identifies the encoder of a workspace's features."""
    encoder = workspace.encoder
    return {name: str(encoder.get(name, "")) for name in ("model", "pretrained", "weights_sha256")}


def _encoder_name(encoder: dict[str, str]) -> str:
    model, pretrained, weights = (
        encoder.get(name, "?") for name in ("model", "pretrained", "weights_sha256")
    )
    return f"{model} ({pretrained}, weights {weights[:8]})"


def _stem(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".json", ".safetensors") else path
