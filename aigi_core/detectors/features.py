"""Feature views: which numbers of an image a detector sees.

A view is a small value that turns encoded images (a workspace, or arrays just encoded) into a
float64 matrix, rows by features. Views are registered by ``kind``, so that a saved detector can
name its own; a new view is one class here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace

Head = tuple[int, int]
"""(layer, index), both counted from 0."""


class Encoded(Protocol):
    """What a view reads. A :class:`~aigi_core.workspace.Workspace` is one; so is
    :class:`EncodedImages`.
    """

    @property
    def embeddings(self) -> np.ndarray: ...
    @property
    def heads(self) -> np.ndarray: ...
    @property
    def ln_post(self) -> np.ndarray: ...
    @property
    def decomposition(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images encoded just now, outside any workspace; shapes as in a workspace's files."""

    embeddings: Float[np.ndarray, "n d"]
    heads: Float[np.ndarray, "layers heads n head_width"]
    ln_post: Float[np.ndarray, "n 2"]
    decomposition: dict[str, np.ndarray]


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

    def resolve(self, workspace: Workspace) -> FeatureView:
        """The same view with everything that it takes from a workspace's training rows written into
        it.
        """
        del workspace
        return self

    def spec(self) -> dict[str, Any]:
        """JSON-serialisable description from which :func:`view_from_spec` builds the view again."""
        return {"kind": self.kind, **asdict(self)}


VIEWS: dict[str, type[FeatureView]] = {}


def register(view: type[FeatureView]) -> type[FeatureView]:
    """Class decorator: make a view known by its kind."""
    VIEWS[view.kind] = view
    return view


def view_from_spec(spec: dict[str, Any]) -> FeatureView:
    """Build a view from its :meth:`FeatureView.spec`; raises AigiError for an unknown kind, field
    or value.
    """
    kind = spec.get("kind") if isinstance(spec, dict) else None
    if not isinstance(kind, str) or kind not in VIEWS:
        raise AigiError(f"There is no feature view {kind!r}; there are {', '.join(VIEWS)}.")
    try:
        return VIEWS[kind](
            **{name: _frozen(value) for name, value in spec.items() if name != "kind"}
        )
    except TypeError as error:
        raise AigiError(
            f"The feature view {kind!r} does not fit this version ({error}): train it again."
        ) from error


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
                "An embedding is seen normalised or not, without components named by number; got"
                f" normalise = {self.normalise!r}, without = {self.without!r}."
            )

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n p"]:
        X = _take(images.embeddings, rows)
        if X.ndim != 2 or X.dtype.kind not in "fiu":
            raise AigiError(
                f"Embeddings must be numbers [images, components], got {X.dtype} of shape"
                f" {X.shape}."
            )
        X = X.astype(np.float64)
        if self.normalise:
            X /= _norms(X, images, rows)[:, None]
        else:
            _require_finite(X, images, rows)
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
            raise AigiError("Every component was left out: keep at least one.")
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
        scales: one factor a head, which gives it a mean norm of 1 over the workspace's training
            rows so that the penalty treats heads alike; empty means: take them from the workspace
            at hand.
    """

    kind: ClassVar[str] = "heads"
    heads: tuple[Head, ...] = ()
    scales: tuple[float, ...] = ()

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
        view = self if self.scales else self._resolved(images)
        norms = embedding_norms(images, rows)
        blocks = [
            scale * head_features(images, head, rows, norms)
            for head, scale in zip(view.heads, view.scales, strict=True)
        ]
        return np.concatenate(blocks, axis=1)

    def resolve(self, workspace: Workspace) -> HeadsView:
        return self if self.scales else self._resolved(workspace)

    def _resolved(self, images: Encoded) -> HeadsView:
        if not isinstance(images, Workspace):
            raise AigiError(
                "This view of heads has no scales yet: resolve it on the workspace that it is"
                " trained on."
            )
        if not self.heads:
            raise AigiError("No head was chosen: name at least one as (layer, index).")
        return replace(self, scales=tuple(head_scale(images, head) for head in self.heads))

    def joint_weights(
        self, decomposition: dict[str, np.ndarray], weights: Float[np.ndarray, " p"]
    ) -> Float[np.ndarray, "k d"]:
        """A detector's weights as one direction of the joint space a head (its share of the logit
        is their product with the head's contribution relative to the embedding)."""
        maps = decomposition["head_maps"]
        parts = np.split(np.asarray(weights, np.float64), len(self.heads))
        directions = [
            scale * np.linalg.qr(maps[head].astype(np.float64).T)[0] @ part
            for head, scale, part in zip(self.heads, self.scales, parts, strict=True)
        ]
        return np.stack(directions)


@register
@dataclass(frozen=True)
class ResidualView(FeatureView):
    """One feature: the cosine between the embedding and a residual direction (paper, equation of
    resid_g).
    """

    kind: ClassVar[str] = "residual"
    direction: tuple[float, ...] = ()

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
        X = EmbeddingView().matrix(images, rows)
        direction = np.asarray(self.direction, np.float64)
        if direction.shape != X.shape[1:]:
            raise AigiError(
                f"The residual has {len(direction)} components, these embeddings have {X.shape[1]}."
            )
        return (X @ (direction / np.linalg.norm(direction)))[:, None]


def head_features(
    images: Encoded,
    head: Head,
    rows: Int[np.ndarray, " n"] | None = None,
    norms: Float[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n head_width"]:
    """One head's contribution relative to the embedding, unscaled, in exact head_width-d form (see
    HeadsView).
    """
    layers, per_layer = images.heads.shape[:2]
    layer, index = head
    if not (0 <= layer < layers and 0 <= index < per_layer):
        raise AigiError(
            f"There is no head {head}: layers are 0..{layers - 1}, heads 0..{per_layer - 1}."
        )
    if norms is None:
        norms = embedding_norms(images, rows)
    z = _take(images.heads[layer, index], rows).astype(np.float64)
    ln_post, maps = (
        _take(images.ln_post, rows),
        images.decomposition.get("head_maps", np.empty((0, 0, 0, 0))),
    )
    shapes = {
        "head contexts": z.shape,
        "statistics of the layer norm": ln_post.shape,
        "maps of heads": maps.shape,
    }
    n = len(norms)
    if (
        z.shape != (n, maps.shape[2])
        or ln_post.shape != (n, 2)
        or maps.shape[:2] != (layers, per_layer)
    ):
        raise AigiError(
            f"The features of {n} images' heads do not belong together ({shapes}): encode the"
            " images again with one model."
        )
    std = ln_post[:, 1].astype(np.float64)
    R: np.ndarray = _triangle(maps[layer, index])
    features: np.ndarray = (z @ R.T) / (std * norms)[:, None]
    _require_finite(features, images, rows)
    return features


def _triangle(head_map: Float[np.ndarray, "head_width d"]) -> Float[np.ndarray, "r head_width"]:
    """R of the map's QR decomposition: contributions and ``z @ R.T`` have the same inner
    products.
    """
    R: np.ndarray = np.linalg.qr(head_map.astype(np.float64).T, mode="r")  # type: ignore[assignment]
    return R


def head_scale(workspace: Workspace, head: Head) -> float:
    """One over the mean norm of a head's features over all training rows of a workspace (1 for a
    silent head).
    """
    return _head_scale(workspace, head)


@lru_cache(maxsize=4096)
def _head_scale(workspace: Workspace, head: Head) -> float:
    rows = np.flatnonzero(workspace.domains.split == "train")
    mean = float(
        np.linalg.norm(head_features(workspace, head, rows, _train_norms(workspace)), axis=1).mean()
    )
    return 1.0 / mean if mean > 0 else 1.0


@lru_cache(maxsize=4)
def _train_norms(workspace: Workspace) -> Float[np.ndarray, " n"]:
    rows = np.flatnonzero(workspace.domains.split == "train")
    return embedding_norms(workspace, rows)


def all_heads(images: Encoded) -> tuple[Head, ...]:
    """Every (layer, index), layer by layer."""
    layers, per_layer = images.heads.shape[:2]
    return tuple((layer, index) for layer in range(layers) for index in range(per_layer))


def _take(array: np.ndarray, rows: Sequence[int] | np.ndarray | None) -> np.ndarray:
    return np.asarray(array if rows is None else array[rows])


def embedding_norms(
    images: Encoded, rows: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """Lengths of the embeddings of these rows (all by default); AigiError, naming the image, for
    zero or no number.
    """
    return _norms(_take(images.embeddings, rows).astype(np.float64), images, rows)


def _norms(
    X: Float[np.ndarray, "n d"], images: Encoded, rows: np.ndarray | None
) -> Float[np.ndarray, " n"]:
    norms: np.ndarray = np.linalg.norm(X, axis=1)
    good = np.isfinite(norms) & (norms > 0)
    if not good.all():
        _blame(~good, images, rows, "all zeros" if norms[~good][0] == 0 else "NaN or infinity")
    return norms


def _require_finite(X: np.ndarray, images: Encoded, rows: np.ndarray | None) -> None:
    bad = ~np.isfinite(X).all(axis=1)
    if bad.any():
        _blame(bad, images, rows, "NaN or infinity")


def _blame(bad: np.ndarray, images: Encoded, rows: np.ndarray | None, what: str) -> None:
    position = int(np.flatnonzero(bad)[0])
    row = position if rows is None else int(rows[position])
    where = f"row {row}"
    if isinstance(images, Workspace):
        image = images.images.iloc[row]
        where = f"{image['path']!r} ({image['generator'] or 'real, pool ' + image['pool']})"
    raise AigiError(
        f"The features of image {where} are {what} ({int(bad.sum())} such images): encode it again,"
        " or leave it out."
    )
