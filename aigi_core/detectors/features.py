"""Feature views: which numbers of an image a detector sees.

A view is a small value that turns encoded images (a workspace, or arrays just encoded) into a
float64 matrix, rows by features. Views are registered by ``kind``, so that a saved detector can
name its own; a new view is one class here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.heads import (
    Encoded,
    Head,
    embedding_norms,
    head_features,
    require_finite,
    require_lengths,
    stream_features,
    take,
)
from aigi_core.statements import counted


@dataclass(frozen=True)
class FeatureView(ABC):
    """Base of all views. Values of fields are JSON-serialisable, so that a view is named by its
    ``spec``.
    """

    kind: ClassVar[str]

    @abstractmethod
    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n p"]:
        """Features of these rows (all by default), float64; AigiError where a row has none."""

    def penalty_factors(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"] | None:
        """What each feature is multiplied by before a linear method penalises its weights, from
        features [n, p] of the rows that one detector is trained on; None: nothing.

        The weights are multiplied by the same, so the detector sees this view as it is, and each
        training set has its own factors: no detector depends on images that it never saw.
        """
        del features
        return None

    def spec(self) -> dict[str, Any]:
        """JSON-serialisable description from which :func:`view_from_spec` builds the view again."""
        return {"kind": self.kind, **asdict(self)}


KINDS: dict[str, type[FeatureView]] = {}


def register(view: type[FeatureView]) -> type[FeatureView]:
    """Class decorator: make a view known by its kind."""
    KINDS[view.kind] = view
    return view


def view_from_spec(spec: dict[str, Any]) -> FeatureView:
    """Build a view from its :meth:`FeatureView.spec`; raises AigiError for an unknown kind, field
    or value.
    """
    kind = spec.get("kind") if isinstance(spec, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise AigiError(f"There is no feature view {kind!r}; there are {', '.join(KINDS)}.")
    try:
        return KINDS[kind](
            **{name: _frozen(value) for name, value in spec.items() if name != "kind"}
        )
    except TypeError as error:
        raise AigiError(
            f"The feature view {kind!r} does not fit this version ({error}): train it again."
        ) from error


def as_vectors(
    taken: np.ndarray,
    images: Encoded,
    rows: Int[np.ndarray, " n"] | None,
    *,
    normalise: bool,
) -> Float[np.ndarray, "n p"]:
    """Rows taken from a stored feature in float64, of unit length if asked for; AigiError names the
    images whose rows are not finite or have no length.
    """
    X = taken.astype(np.float64)
    if not normalise:
        require_finite(X, images, rows)
        return X
    lengths = np.linalg.norm(X, axis=1)
    require_lengths(lengths, images, rows)
    X /= lengths[:, None]
    return X


def _whole(values: Iterable[Any]) -> bool:
    return all(
        isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values
    )


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


@register
@dataclass(frozen=True)
class EmbeddingView(FeatureView):
    """The joint-space embedding, L2-normalised by default, optionally without some components.

    Components are dropped after normalisation, so that the others keep their values (paper, section
    on components).
    """

    kind: ClassVar[str] = "embedding"
    normalise: bool = True
    without: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if (
            not isinstance(self.normalise, bool)
            or not isinstance(self.without, tuple)
            or not _whole(self.without)
        ):
            raise AigiError(
                "A view of the embedding is normalised or not, and leaves out components"
                f" named by number; got normalise = {self.normalise!r}, without ="
                f" {self.without!r}."
            )

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n p"]:
        X = take(images.embeddings, rows)
        if X.ndim != 2 or X.dtype.kind not in "fiu":
            raise AigiError(
                f"Embeddings must be numbers [images, components], got {X.dtype} of shape"
                f" {X.shape}."
            )
        X = as_vectors(X, images, rows, normalise=self.normalise)
        return X[:, self.kept(X.shape[1])] if self.without else X

    def kept(self, d: int) -> Int[np.ndarray, " p"]:
        """Numbers of the components seen, of d."""
        if self.without and (min(self.without) < 0 or max(self.without) >= d):
            raise AigiError(
                f"A component to leave out must lie in 0..{d - 1}, got"
                f" {min(self.without)}..{max(self.without)}."
            )
        kept = np.setdiff1d(np.arange(d), self.without)
        if not len(kept):
            raise AigiError("All components were left out: keep at least one.")
        return kept


@register
@dataclass(frozen=True)
class HeadsView(FeatureView):
    """Direct contributions of chosen heads to the embedding (Gandelsman et al. 2024), in exact
    head_width-d form.

    A head's contribution is ``z @ M / std``, with ``M = head_maps[layer, head]`` and the image's
    own ``std`` of the final layer norm; relative to the embedding it is divided by the embedding's
    norm. Its d columns have rank
    head_width: with ``M' = Q R'`` (QR), ``z @ R`` has the same inner products, hence the same
    L2-regularised detectors.

    Attributes:
        heads: (layer, index) pairs, concatenated in this order.
        scales: one fixed factor a head; empty for contributions as they are, which each linear
            detector then scales to a mean norm of 1 a head over its own training images, so that
            the penalty treats heads alike.
        space: ``stream`` for outputs in the residual stream, before the final norm and projection,
            never scaled; a detector on them has no direction in the joint space.
    """

    kind: ClassVar[str] = "heads"
    heads: tuple[Head, ...] = ()
    scales: tuple[float, ...] = ()
    space: Literal["embedding", "stream"] = "embedding"

    def __post_init__(self) -> None:
        pairs = isinstance(self.heads, tuple) and all(
            isinstance(h, tuple) and len(h) == 2 and _whole(h) for h in self.heads
        )
        if not pairs or (
            self.scales
            and (len(self.scales) != len(self.heads) or not np.isfinite(self.scales).all())
        ):
            raise AigiError(
                "Heads are named (layer, index), each with one finite scale or all without; got"
                f" {self.heads!r} with scales {self.scales!r}."
            )

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n p"]:
        if not self.heads:
            raise AigiError("No head was chosen: name at least one as (layer, index).")
        if self.space == "stream":
            outputs = [stream_features(images, head, rows) for head in self.heads]
            return np.concatenate(outputs, axis=1)
        norms = embedding_norms(images, rows)
        blocks = [
            scale * head_features(images, head, rows, norms)
            for head, scale in zip(self.heads, self._fixed, strict=True)
        ]
        return np.concatenate(blocks, axis=1)

    @property
    def _fixed(self) -> tuple[float, ...]:
        return self.scales or (1.0,) * len(self.heads)

    def penalty_factors(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " p"] | None:
        if self.scales or self.space == "stream":
            return None
        parts = np.split(np.asarray(features, np.float64), len(self.heads), axis=1)
        return np.repeat([head_scale(part) for part in parts], parts[0].shape[1])

    def joint_weights(
        self, decomposition: dict[str, np.ndarray], weights: Float[np.ndarray, " p"]
    ) -> Float[np.ndarray, "k d"]:
        """A detector's weights as one direction of the joint space a head (its share of the logit
        is their product with the head's contribution relative to the embedding)."""
        if self.space == "stream":
            raise AigiError(
                "A detector on heads in the residual stream has no direction in the joint"
                " space: to explain a detector, train it on the heads' shares of the"
                " embedding."
            )
        maps = decomposition["head_maps"]
        parts = np.split(np.asarray(weights, np.float64), len(self.heads))
        directions = [
            scale * np.linalg.qr(maps[head].astype(np.float64).T)[0] @ part
            for head, scale, part in zip(self.heads, self._fixed, parts, strict=True)
        ]
        return np.stack(directions)


@register
@dataclass(frozen=True)
class ResidualView(FeatureView):
    """One feature: the cosine between the embedding and a residual direction (paper, equation of
    resid_g), or, where it is not normalised, their plain dot product.
    """

    kind: ClassVar[str] = "residual"
    direction: tuple[float, ...] = ()
    normalise: bool = True

    def __post_init__(self) -> None:
        length = np.linalg.norm(np.asarray(self.direction, np.float64))
        if not 0 < length < np.inf:
            raise AigiError(
                "A residual is a direction of finite length above zero, this one has length"
                f" {length:g}."
            )

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n p"]:
        X = EmbeddingView(normalise=self.normalise).matrix(images, rows)
        direction = np.asarray(self.direction, np.float64)
        if direction.shape != X.shape[1:]:
            raise AigiError(
                f"The residual has {counted(len(direction), 'component')}, these embeddings have"
                f" {X.shape[1]}."
            )
        feature: np.ndarray = X @ self.factors[:, None]
        return feature

    @property
    def factors(self) -> Float[np.ndarray, " d"]:
        """What each component of the embedding is multiplied by."""
        direction = np.asarray(self.direction, np.float64)
        return direction / np.linalg.norm(direction) if self.normalise else direction


def head_scale(features: Float[np.ndarray, "n p"]) -> float:
    """One over the mean norm of a head's features over the rows that a detector is trained on (1
    for a silent head).
    """
    mean = float(np.linalg.norm(features, axis=1).mean())
    return 1.0 / mean if mean > 0 else 1.0


def rescaled(values: np.ndarray, factors: Float[np.ndarray, " p"] | None) -> np.ndarray:
    """Features [n, p] or weights [..., p] times :meth:`FeatureView.penalty_factors`."""
    return values if factors is None else values * factors
