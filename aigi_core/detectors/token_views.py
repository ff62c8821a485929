"""Feature views of what a tower computes on its way: the vector before the projection, and the
token of one layer.

They need a workspace that was encoded with ``--features embedding,heads,pre,layers``; where it was
not, reading them says how to add them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.features import FeatureView, as_vectors, register
from aigi_core.errors import AigiError
from aigi_core.heads import Encoded, take
from aigi_core.statements import counted


@register
@dataclass(frozen=True)
class PreView(FeatureView):
    """The vector before the projection into the joint space, L2-normalised by default (as Cozzolino
    et al. 2024 use it: the image tower without its projection).

    Example:
        >>> PreView().spec()
        {'kind': 'pre', 'normalise': True}
    """

    kind: ClassVar[str] = "pre"
    normalise: bool = True

    def __str__(self) -> str:
        return f"the vector before the projection{'' if self.normalise else ', unnormalised'}"

    def __post_init__(self) -> None:
        if not isinstance(self.normalise, bool):
            raise AigiError(f"The vector is seen normalised or not; got {self.normalise!r}.")

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n width"]:
        taken = take(images.feature("pre"), rows)
        return as_vectors(taken, images, rows, normalise=self.normalise)


@register
@dataclass(frozen=True)
class LayerView(FeatureView):
    """The token that stands for the image at one layer.

    Attributes:
        layer: counted from 0; negative numbers count from the last.
        after: ``layers``, after the whole block, or ``norm2``, after its second norm and before its
            MLP (as RINE reads it, Koutlis and Papadopoulos 2024).
        normalise: whether it is L2-normalised.
    """

    kind: ClassVar[str] = "layer"
    layer: int = -1
    after: Literal["layers", "norm2"] = "layers"
    normalise: bool = True

    def __str__(self) -> str:
        where = f"layer {self.layer}" if self.layer >= 0 else f"the {-self.layer}. last layer"
        after = "" if self.after == "layers" else ", after its second norm"
        return f"the token of {where}{after}{'' if self.normalise else ', unnormalised'}"

    def __post_init__(self) -> None:
        whole = isinstance(self.layer, int) and not isinstance(self.layer, bool)
        if (
            not whole
            or self.after not in ("layers", "norm2")
            or not isinstance(self.normalise, bool)
        ):
            raise AigiError(
                "A layer is a whole number, seen after 'layers' or 'norm2', normalised or not; got"
                f" {self.layer!r}, {self.after!r}, {self.normalise!r}."
            )

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n width"]:
        tokens = images.feature(self.after)
        if not -len(tokens) <= self.layer < len(tokens):
            raise AigiError(
                f"There is no layer {self.layer}: this encoder has layers 0 to {len(tokens) - 1}."
            )
        taken = take(tokens[self.layer], rows)
        return as_vectors(taken, images, rows, normalise=self.normalise)


@register
@dataclass(frozen=True)
class AllLayersView(FeatureView):
    """The tokens of all layers side by side, each of unit length.

    Attributes:
        after: as in :class:`LayerView`; by default what RINE reads (Koutlis and Papadopoulos 2024).
        layers: how many there are; 0 means: as many as the images at hand have.
    """

    kind: ClassVar[str] = "all-layers"
    after: Literal["layers", "norm2"] = "norm2"
    layers: int = 0

    def __str__(self) -> str:
        after = "" if self.after == "layers" else ", after its second norm"
        return f"the token of every layer{after}"

    def __post_init__(self) -> None:
        if self.after not in ("layers", "norm2") or not isinstance(self.layers, int):
            raise AigiError(
                "All layers are seen after 'layers' or 'norm2', their number a whole one; got"
                f" {self.after!r}, {self.layers!r}."
            )

    def matrix(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "n layers_width"]:
        tokens = images.feature(self.after)
        if self.layers not in (0, len(tokens)):
            raise AigiError(
                f"Expected tokens of {counted(self.layers, 'layer')}, this encoder has"
                f" {len(tokens)}."
            )
        parts = [as_vectors(take(one, rows), images, rows, normalise=True) for one in tokens]
        return np.concatenate(parts, axis=1)
