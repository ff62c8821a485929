"""Detectors: fitted values that score images, remember how they were made, and are saved without
pickle. A linear one adds weights; only what needs weights (words, evidence, removals) asks for it.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

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
from aigi_core.errors import AigiError, NotGivenError
from aigi_core.heads import Encoded
from aigi_core.record import read_json
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, make_folder, write_atomic

FORMAT = 2
"""Of saved detectors; 1, read too, knew linear ones only and did not name their kind."""

KINDS: dict[str, type[Detector]] = {}
"""Kinds of detectors by name, so that a saved one is read as what it is."""


def register(kind: type[Detector]) -> type[Detector]:
    """Class decorator: make a kind of detector known by its name."""
    KINDS[kind.kind] = kind
    return kind


@dataclass(frozen=True, eq=False, kw_only=True)
class Detector(ABC):
    """A fitted value that scores images: fake where its score exceeds ``threshold``.

    A new kind implements :meth:`decision_function`, :meth:`arrays`, :meth:`about` and
    :meth:`build`.

    Attributes:
        training_set: generators it was trained on; for imported detectors, what they are called.
        threshold: score above which an image is called fake.
        provenance: JSON-serialisable: workspace digest, encoder, method, n, protocol, validation
            scores, tool versions.
    """

    kind: ClassVar[str]

    training_set: tuple[str, ...]
    threshold: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The training set, as matrices show it."""
        return " + ".join(self.training_set)

    @property
    def method(self) -> str:
        """Name of the method that made it (a key of :data:`aigi_core.detectors.methods.METHODS`,
        or of an imported detector its own).
        """
        return str(self.provenance.get("method", "logistic"))

    @property
    def scale(self) -> str:
        """What its scores are: ``log-odds``, or another quantity that only calibration turns into
        probabilities.
        """
        return str(self.provenance.get("scale", "log-odds"))

    @abstractmethod
    def decision_function(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Scores, higher for fake, of rows of a workspace, or of images just encoded.

        Raises:
            AigiError: the images come from another encoder, or their features from another width.
        """

    @classmethod
    def score_together(
        cls,
        detectors: Sequence[Detector],
        images: Encoded,
        rows: Int[np.ndarray, " n"],
        block: int,
    ) -> Float[np.ndarray, "K n"]:
        """Scores of several detectors of this kind; kinds that can share work do it here."""
        scores = np.empty((len(detectors), len(rows)))
        for start in range(0, len(rows), block):
            part = slice(start, start + block)
            for k, detector in enumerate(detectors):
                scores[k, part] = detector.decision_function(images, rows[part])
        return scores

    def predict_proba(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Probability of being fake under the model (uncalibrated); AigiError where the scores are
        no log-odds.
        """
        if self.scale != "log-odds":
            raise AigiError(
                f"The scores of the detector {self.name!r} are {self.scale}, not log-odds:"
                " calibrate them (aigi_core.calibration) to get probabilities."
            )
        probability: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * self.decision_function(images, rows)))
        return probability

    def predict(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Bool[np.ndarray, " n"]:
        """True where the detector calls an image fake."""
        return np.asarray(self.decision_function(images, rows) > self.threshold)

    def with_threshold(self, threshold: float) -> Self:
        return replace(self, threshold=float(threshold))

    def require_encoder(self, images: Encoded) -> None:
        """Raise AigiError where a workspace was encoded by another model than the one trained
        on.
        """
        mine = self.provenance.get("encoder", {})
        if not mine or not isinstance(images, Workspace):
            return
        theirs = encoder_identity(images)
        if mine != theirs:
            raise AigiError(
                f"The detector {self.name!r} was trained on {_encoder_name(mine)}, the workspace"
                f" {images.name!r} was encoded with {_encoder_name(theirs)}: encode the images with"
                " the detector's encoder."
            )

    # Saved without pickle: arrays in one file, everything else in another

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """What is saved as arrays."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What is saved as JSON besides the training set, threshold and provenance."""

    @classmethod
    @abstractmethod
    def build(cls, arrays: dict[str, np.ndarray], about: dict[str, Any], **common: Any) -> Detector:
        """The detector of what was saved; ValueError, KeyError or TypeError where that is
        damaged. ``common`` are the fields of this base class.
        """

    def to_saved(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays, and a JSON-serialisable description of everything else."""
        about = {
            **self.about(),
            "format": FORMAT,
            "kind": self.kind,
            "threshold": self.threshold,
            "training_set": list(self.training_set),
            "provenance": self.provenance,
        }
        return self.arrays(), about

    @staticmethod
    def from_saved(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> Detector:
        """What :meth:`to_saved` gave; ValueError, KeyError or TypeError where it is damaged."""
        if about["format"] not in (1, FORMAT):
            raise AigiError(
                f"The detector has format {about['format']}, this program reads 1 and {FORMAT}:"
                " update AIGI Explorer."
            )
        kind = about.get("kind", "linear")
        if kind not in KINDS:
            raise AigiError(
                f"There is no kind of detector {kind!r} here; there are {', '.join(KINDS)}: update"
                " AIGI Explorer."
            )
        names, provenance = about["training_set"], about["provenance"]
        if not isinstance(names, list) or not names:
            raise ValueError(f"the training set is {names!r}")
        encoder = dict(provenance).get("encoder", {})
        if not isinstance(encoder, dict) or not all(
            isinstance(value, str) for value in encoder.values()
        ):
            raise ValueError(f"the encoder is {encoder!r}")
        threshold = float(about["threshold"])
        if not np.isfinite(threshold):
            raise ValueError(f"the threshold {threshold} must be finite")
        return KINDS[kind].build(
            arrays,
            about,
            training_set=tuple(str(name) for name in names),
            threshold=threshold,
            provenance=dict(provenance),
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``PATH.safetensors`` (arrays) and ``PATH.json`` (everything else); returns the JSON
        file.
        """
        stem = _stem(path)
        make_folder(stem.parent)
        arrays, about = self.to_saved()
        write_atomic(stem.with_name(stem.name + ".safetensors"), safetensors.numpy.save(arrays))
        file = stem.with_name(stem.name + ".json")
        write_atomic(
            file, (json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()
        )
        return file

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Detector:
        """Read what :meth:`save` wrote; ``path`` with or without suffix.

        Raises:
            AigiError: a file is missing, damaged, or of a newer format.
        """
        stem = _stem(path)
        try:
            about = read_json(stem.with_name(stem.name + ".json"))
            arrays = safetensors.numpy.load(stem.with_name(stem.name + ".safetensors").read_bytes())
            return Detector.from_saved(arrays, about)
        except FileNotFoundError as error:
            raise AigiError(
                f"There is no detector at {stem}: {error.filename} is missing."
            ) from error
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            SafetensorError,
        ) as error:
            raise AigiError(f"The detector {stem} is damaged ({error}): save it again.") from error


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureDetector(Detector):
    """A detector whose score is a function of one feature view.

    Attributes:
        view: what it sees; it needs nothing of the workspace that the detector was trained on.
    """

    view: FeatureView

    @abstractmethod
    def score(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
        """Scores for rows of this detector's own view."""

    def decision_function(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, " n"]:
        self.require_encoder(images)
        return self.score(self.view.matrix(images, rows))

    @classmethod
    def score_features(
        cls, detectors: Sequence[FeatureDetector], features: Float[np.ndarray, "n p"]
    ) -> Float[np.ndarray, "K n"]:
        """Scores of several detectors of this kind for rows of the view that they share."""
        return np.stack([detector.score(features) for detector in detectors])

    @classmethod
    def score_together(
        cls,
        detectors: Sequence[Detector],
        images: Encoded,
        rows: Int[np.ndarray, " n"],
        block: int,
    ) -> Float[np.ndarray, "K n"]:
        own = [detector for detector in detectors if isinstance(detector, FeatureDetector)]
        scores = np.empty((len(own), len(rows)))
        for view in dict.fromkeys(detector.view for detector in own):
            mine = [k for k, detector in enumerate(own) if detector.view == view]
            for start in range(0, len(rows), block):
                part = slice(start, start + block)
                features = view.matrix(images, rows[part])
                scores[mine, part] = cls.score_features([own[k] for k in mine], features)
        return scores

    def _require_width(self, features: Float[np.ndarray, "n p"], width: int) -> np.ndarray:
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or features.shape[1] != width:
            raise AigiError(
                f"The detector {self.name!r} needs {counted(width, 'feature')} for each"
                f" image, these have shape {features.shape}: give it images of the encoder it"
                " was trained on."
            )
        return features


@register
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class LinearDetector(FeatureDetector, ShortRepr):
    """A detector with weights: its score is ``features @ weights + bias``.

    Attributes:
        weights: [p]; they point towards fake.
        bias: 0 where the detector was trained without one.
        C: inverse penalty it was fitted with; 1 where its method has none.
    """

    kind: ClassVar[str] = "linear"

    weights: Float[np.ndarray, " p"]
    bias: float
    C: float = 1.0

    @property
    def has_direction(self) -> bool:
        """Whether its weights are directions of the joint space of images and texts, so that words,
        evidence and removals can be asked of it.
        """
        return isinstance(self.view, EmbeddingView | ResidualView | HeadsView)

    def score(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
        features = self._require_width(features, len(self.weights))
        scores: np.ndarray = features @ self.weights + self.bias
        return scores

    @classmethod
    def score_features(
        cls, detectors: Sequence[FeatureDetector], features: Float[np.ndarray, "n p"]
    ) -> Float[np.ndarray, "K n"]:
        own = _linear(detectors)
        weights, bias = np.stack([d.weights for d in own]), np.array([[d.bias] for d in own])
        features = own[0]._require_width(features, weights.shape[1])
        scores: np.ndarray = weights @ features.T + bias
        return scores

    @classmethod
    def score_together(
        cls,
        detectors: Sequence[Detector],
        images: Encoded,
        rows: Int[np.ndarray, " n"],
        block: int,
    ) -> Float[np.ndarray, "K n"]:
        """Those that are linear in the normalised embedding (residuals, removed components) share
        one product.
        """
        own = _linear(detectors)
        joint = [_linear_in_embedding(detector.view) for detector in own]
        _require_width(own, [k for k, shared in enumerate(joint) if shared], images)
        shared = [
            replace(
                detector, view=EmbeddingView(), weights=detector.joint_weights(images).sum(axis=0)
            )
            if in_embedding
            else detector
            for detector, in_embedding in zip(own, joint, strict=True)
        ]
        return super().score_together(shared, images, rows, block)

    def joint_weights(self, images: Encoded) -> Float[np.ndarray, "k d"]:
        """The weights as directions of the joint space: one row, or one a head (for nearest texts
        and closeness).

        Raises:
            NotGivenError: the view has no share in the embedding.
        """
        if isinstance(self.view, HeadsView):
            return self.view.joint_weights(images.decomposition, self.weights)
        if isinstance(self.view, ResidualView):
            return np.asarray(self.weights[:1, None] * self.view.factors)
        if not isinstance(self.view, EmbeddingView):
            raise NotGivenError(no_direction(self))
        d = images.embeddings.shape[1]
        full = np.zeros((1, d))
        full[0, self.view.kept(d)] = self.weights
        return full

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "weights": np.ascontiguousarray(self.weights, np.float64),
            "bias": np.array([self.bias]),
        }

    def about(self) -> dict[str, Any]:
        return {"view": self.view.spec(), "features": len(self.weights), "C": self.C}

    @classmethod
    def build(
        cls, arrays: dict[str, np.ndarray], about: dict[str, Any], **common: Any
    ) -> LinearDetector:
        detector = cls(
            view=view_from_spec(about["view"]),
            weights=arrays["weights"].astype(np.float64),
            bias=float(arrays["bias"][0]),
            C=float(about["C"]),
            **common,
        )
        features = int(about["features"])
        if detector.weights.shape != (features,) or not np.isfinite(detector.weights).all():
            raise ValueError(
                f"expected {counted(features, 'finite weight')}, got {detector.weights.shape}"
            )
        if not np.isfinite([detector.bias, detector.C]).all() or detector.C <= 0:
            raise ValueError(f"bias {detector.bias} and C {detector.C} must be finite, C positive")
        return detector


def score_detectors(
    detectors: Sequence[Detector],
    images: Encoded,
    rows: Int[np.ndarray, " n"] | None = None,
    *,
    block: int = 8192,
) -> Float[np.ndarray, "K n"]:
    """Scores of all detectors for rows of a workspace (all by default), in blocks of rows.

    Detectors of one kind share what they can.
    """
    for detector in detectors:
        detector.require_encoder(images)
    everything = np.arange(len(images.embeddings))
    if rows is not None:
        everything = everything[rows]  # numbers, or a mask
    scores = np.empty((len(detectors), len(everything)))
    for kind in dict.fromkeys(type(detector) for detector in detectors):
        mine = [k for k, detector in enumerate(detectors) if type(detector) is kind]
        scores[mine] = kind.score_together([detectors[k] for k in mine], images, everything, block)
    return scores


def score_features(
    detectors: Sequence[FeatureDetector], features: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "K n"]:
    """Scores of detectors that see the same view, for rows of it; they share what they can."""
    scores = np.empty((len(detectors), len(features)))
    for kind in dict.fromkeys(type(detector) for detector in detectors):
        mine = [k for k, detector in enumerate(detectors) if type(detector) is kind]
        scores[mine] = kind.score_features([detectors[k] for k in mine], features)
    return scores


def require_direction(detector: Detector) -> LinearDetector:
    """The detector, where it has weights in the joint space; else NotGivenError in words."""
    if not isinstance(detector, LinearDetector) or not detector.has_direction:
        raise NotGivenError(no_direction(detector))
    return detector


def no_direction(detector: Detector) -> str:
    """Why words, evidence and removals cannot be had of a detector, in one sentence."""
    return no_weights(detector.name, detector.method)


def no_weights(name: str, method: str) -> str:
    """As :func:`no_direction`, of a detector that need not be trained for that."""
    return (
        f"The detector {name!r} (method {method!r}) has no weights in the"
        " joint space of images and texts, so words, evidence and removals are not"
        " available: choose a linear method on the embedding or the heads, or see its"
        " scores, matrix and gallery on the other pages."
    )


def _linear(detectors: Sequence[Detector]) -> list[LinearDetector]:
    return [detector for detector in detectors if isinstance(detector, LinearDetector)]


def _linear_in_embedding(view: FeatureView) -> bool:
    return isinstance(view, ResidualView | EmbeddingView) and view.normalise


def _require_width(detectors: Sequence[LinearDetector], which: list[int], images: Encoded) -> None:
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
                f"The detector {detector.name!r} needs embeddings of"
                f" {counted(width, 'component')}, these have {d}: give it images of the"
                " encoder it was trained on."
            )


def encoder_identity(workspace: Workspace) -> dict[str, str]:
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
