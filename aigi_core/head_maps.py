"""The fixed maps that turn heads' contexts into contributions to the embedding, as
``decomposition.npz`` holds them: one map a head, or the two factors of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from aigi_core.errors import AigiError


@dataclass(frozen=True, eq=False)
class FactoredMaps:
    """Maps of an encoder with attention pooling, each multiplied out only when it is asked for.

    A context holds one vector of a layer's head for each head of the pool, side by side; all maps
    expanded would take a gigabyte (SigLIP SO400M), the factors take 160 MB.

    Attributes:
        head_out: from a layer's head to the tokens, after the norm before the pool.
        pool_maps: from tokens through each head of the pool to the joint space.
    """

    head_out: Float32[np.ndarray, "layers heads width_in width"]
    pool_maps: Float32[np.ndarray, "pool_heads width d"]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(layers, heads, head_width, d)`` of the maps multiplied out."""
        layers, heads, width_in, _ = self.head_out.shape
        return layers, heads, len(self.pool_maps) * width_in, self.pool_maps.shape[2]

    def __getitem__(self, head: Any) -> Float32[np.ndarray, "head_width d"]:
        """The map of one head (layer, index)."""
        out = self.head_out[head]
        if out.ndim != 2:
            raise IndexError(f"Maps are multiplied out one head at a time, not {head!r}.")
        maps: np.ndarray = np.einsum("kw,gwd->gkd", out, self.pool_maps, optimize=True)
        return maps.reshape(-1, maps.shape[2])

    def __matmul__(self, weights: Float[np.ndarray, " d"]) -> Float[np.ndarray, "l h head_width"]:
        """All maps times one direction of the joint space."""
        per_pool = self.pool_maps @ weights  # [pool_heads, width]
        maps: np.ndarray = np.moveaxis(self.head_out @ per_pool.T, -1, 2)
        return maps.reshape(*maps.shape[:2], -1)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        del copy
        layers, heads = self.head_out.shape[:2]
        whole = np.stack([[self[layer, h] for h in range(heads)] for layer in range(layers)])
        return whole if dtype is None else whole.astype(dtype)

    def sums(self, contexts: Float[np.ndarray, "l h n head_width"]) -> Float[np.ndarray, "n d"]:
        """Contributions of all heads to n images, summed, the standard deviation aside."""
        pooled = len(self.pool_maps)
        total: np.ndarray = np.zeros((contexts.shape[2], self.pool_maps.shape[2]), np.float32)
        for g in range(pooled):
            width_in = self.head_out.shape[2]
            part = contexts[..., g * width_in : (g + 1) * width_in]
            tokens = np.einsum("lhnk,lhkw->nw", part, self.head_out, optimize=True)
            total += tokens @ self.pool_maps[g]
        return total


def complete(arrays: Mapping[str, np.ndarray], d: int) -> dict[str, Any]:
    """``head_maps`` and ``beta`` from the content of ``decomposition.npz`` (none for an encoder
    without heads).

    Raises:
        AigiError: neither maps nor their factors are among them.
    """
    if not arrays:
        return {"head_maps": np.zeros((0, 0, 0, d), np.float32), "beta": np.zeros(d, np.float32)}
    if "head_maps" in arrays:
        return dict(arrays)
    if {"head_out", "pool_maps"} <= set(arrays):
        maps = FactoredMaps(arrays["head_out"], arrays["pool_maps"])
        return {"head_maps": maps, "beta": arrays["beta"]}
    raise AigiError(
        "decomposition.npz holds neither head_maps nor their factors head_out and pool_maps (it has"
        f" {', '.join(arrays) or 'nothing'}): encode the workspace again."
    )
