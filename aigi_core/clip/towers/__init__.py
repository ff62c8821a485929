"""Image towers by family: what each can give, and how it is read during one forward pass.

A family is one module with one subclass of :class:`Adapter`, named in :data:`FAMILIES`; the first
family that covers a tower serves it, and the last one covers everything (its embedding only).

Whatever the family, a head's share of an image's embedding is linear in one vector an image:

    contribution of head (l, h) = heads[l, h, i] @ head_maps[l, h] / ln_post[i, 1]

with ``heads`` a weighted sum, over the tokens that reach the embedding, of what the head read there
before its output projection (docs/heads.md). Standard deviations of norms
that vary from token to token are part of those weights; the one of a norm that is applied to a
single vector an image stands in ``ln_post``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from aigi_core.capabilities import Capabilities

VisionTower: TypeAlias = Any
"""A torch module from normalised images [B, 3, size, size] to embeddings [B, d] (the libraries ship
no types).
"""
FAMILIES = (
    "aigi_core.clip.towers.open_clip_vit:OpenClipVit",
    "aigi_core.clip.towers.timm_vit:TimmVit",
    "aigi_core.clip.towers.embedding_only:EmbeddingOnly",
)
"""``module:class`` of every family, asked in this order."""


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """What one forward pass yields, on the encoder's device, in float32.

    Attributes:
        embedding: the model's own image embedding in the joint space, not normalised.
        heads: every head's weighted context; no layer and no head where the tower has none.
        ln_post: mean and standard deviation (sqrt(variance + eps)) that the final norm used; 0 and
            1 where it is part of the contexts' weights, or where there are no heads.
        extras: further features asked for, by name.
    """

    embedding: Float[Tensor, "B d"]
    heads: Float[Tensor, "layers heads B head_width"]
    ln_post: Float[Tensor, "B 2"]
    extras: Mapping[str, Tensor] = field(default_factory=dict)


class Adapter(ABC):
    """An image tower of one family, in eval mode, with what can be read from it.

    Attributes:
        tower: the library's own module.
        gives: what it can give; texts are the encoder's affair.
        layers, heads, head_width: of the cached contexts; all 0 where there are no heads.
        width: of the tokens; 0 where there are none.
        embedding_width: components of the joint space.
    """

    family: ClassVar[str]
    tower: VisionTower
    gives: Capabilities
    layers: int = 0
    heads: int = 0
    head_width: int = 0
    width: int = 0
    embedding_width: int

    def __init__(self, tower: VisionTower, embedding_width: int) -> None:
        self.tower = tower
        self.embedding_width = embedding_width

    @classmethod
    @abstractmethod
    def not_covered(cls, tower: VisionTower) -> str:
        """Why this family cannot serve a tower, as a clause; empty where it can."""

    @abstractmethod
    def encode(
        self, images: Float[Tensor, "B 3 size size"], features: Sequence[str] = ()
    ) -> EncodedBatch:
        """Run normalised images through the tower, without gradients.

        Args:
            features: names of further features (``pre``, ``layers``, ``norm2``, ``patches:K``).
        """

    def maps(self) -> dict[str, np.ndarray]:
        """The content of ``decomposition.npz``: what turns contexts into contributions."""
        return {}


def adapter_for(tower: VisionTower, embedding_width: int) -> Adapter:
    """The adapter of the first family that covers a tower.

    Where only the last family does, the reasons of the others stand in what the encoder lacks.
    """
    reasons: list[str] = []
    for place in FAMILIES:
        module, _, name = place.partition(":")
        family: type[Adapter] = getattr(import_module(module), name)
        reason = family.not_covered(tower)
        if not reason:
            adapter = family(tower, embedding_width)
            if not adapter.gives.heads and reasons:
                known = [reason for reason in reasons if not reason.startswith(UNRELATED)]
                adapter.gives = adapter.gives.without("heads", (known or [_kind(tower)])[-1])
            return adapter
        reasons.append(reason)
    raise AssertionError("the last family covers every tower")


UNRELATED = "its image tower is no"
"""How a family's reason begins where the tower is of another family altogether."""


def _kind(tower: nn.Module) -> str:
    if reason := getattr(tower, "why_no_heads", ""):
        return str(reason)
    trunk = getattr(tower, "trunk", tower)
    return f"its image tower is a {type(trunk).__name__}, no sum over attention heads"


def no_heads(images: Tensor) -> tuple[Tensor, Tensor]:
    """Empty ``heads`` and neutral ``ln_post`` of a batch."""
    batch = len(images)
    neutral = torch.tensor([0.0, 1.0], device=images.device).repeat(batch, 1)
    return torch.zeros((0, 0, batch, 0), device=images.device), neutral


def array(value: Tensor) -> np.ndarray:
    """A parameter in float64, for maps that are multiplied out before they are stored."""
    values: np.ndarray = value.detach().cpu().double().numpy()
    return values


def statistics(values: Float[Tensor, "*B width"], eps: float) -> Float[Tensor, "*B 2"]:
    """Mean and standard deviation that a layer norm uses for each vector."""
    variance, mean = torch.var_mean(values.float(), dim=-1, correction=0)
    return torch.stack([mean, (variance + eps).sqrt()], dim=-1)
