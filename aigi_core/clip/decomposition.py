"""What each attention head put into an image's embedding, from the cache of a workspace: NumPy, no
torch.

The direct contribution of head (l, h) to the joint embedding of image i is

    heads[l, h, i] @ head_maps[l, h] / ln_post[i, 1]

(Gandelsman et al. 2024; paper.md, decision 10). All heads together and the remainder (MLPs, output
biases, patch and position embedding, final bias) are the model's own embedding exactly, up to the
cache's fp16.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float32, Int

from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace

Rows: TypeAlias = "Int[np.ndarray, ' n'] | slice | None"
"""Rows of the workspace's arrays; None stands for all of them."""
BLOCK_VALUES = 1 << 23
"""Context values held in float32 at once while all heads are summed: 32 MiB, whatever the number of
images.
"""


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The cached contexts of N images with the maps that take them to the joint space.

    Attributes:
        heads: class-token contexts before the output projection; usually a memory map, read in
            blocks.
        ln_post: mean and standard deviation of the final layer norm's input.
        embeddings: the model's own embeddings, not normalised.
        head_maps, beta: content of ``decomposition.npz``; ``beta`` is part of the remainder.

    Example:
        >>> decomposition = Decomposition.of(Workspace.open("assets/demo"))  # doctest: +SKIP
        >>> decomposition.contribution(9, 3, rows)  # doctest: +SKIP
    """

    heads: Float[np.ndarray, "layers heads N head_width"]
    ln_post: Float32[np.ndarray, "N 2"]
    embeddings: Float32[np.ndarray, "N d"]
    head_maps: Float32[np.ndarray, "layers heads head_width d"]
    beta: Float32[np.ndarray, " d"]

    @classmethod
    def of(cls, workspace: Workspace) -> Decomposition:
        """Of an opened workspace; arrays stay memory maps."""
        maps = workspace.decomposition
        return cls(
            workspace.heads,
            workspace.ln_post,
            workspace.embeddings,
            maps["head_maps"],
            maps["beta"],
        )

    def context(
        self, layer: int, head: int, rows: Rows = None
    ) -> Float32[np.ndarray, "n head_width"]:
        """A head's contexts, divided by each image's standard deviation: linear coordinates of its
        contribution.

        Raises:
            AigiError: there is no such head.
        """
        layers, heads = self.heads.shape[:2]
        if not (0 <= layer < layers and 0 <= head < heads):
            raise AigiError(
                f"There is no head ({layer}, {head}): layers are 0..{layers - 1}, heads"
                f" 0..{heads - 1}."
            )
        chosen = slice(None) if rows is None else rows
        scale: np.ndarray = (
            self.heads[layer, head, chosen].astype(np.float32) / self.ln_post[chosen, 1:]
        )
        return scale

    def contribution(self, layer: int, head: int, rows: Rows = None) -> Float32[np.ndarray, "n d"]:
        """One head's direct contribution to the joint embeddings of these images; AigiError for an
        unknown head.
        """
        product: np.ndarray = self.context(layer, head, rows) @ self.head_maps[layer, head]
        return product

    def contributions(
        self, which: Iterable[tuple[int, int]], rows: Rows = None
    ) -> Iterator[Float32[np.ndarray, "n d"]]:
        """The contributions of several (layer, head), one at a time."""
        return (self.contribution(layer, head, rows) for layer, head in which)

    def sum_of_heads(self, rows: Rows = None) -> Float32[np.ndarray, "n d"]:
        """All heads' contributions, summed; memory beyond the result does not grow with the number
        of images.
        """
        index = np.arange(len(self.embeddings))[slice(None) if rows is None else rows]
        layers, heads, _, head_width = self.heads.shape
        maps = self.head_maps.reshape(layers * heads * head_width, -1)
        total = np.empty((len(index), maps.shape[1]), np.float32)
        step = max(1, BLOCK_VALUES // maps.shape[0])
        for start in range(0, len(index), step):
            block = index[start : start + step]
            contexts = (
                self.heads[:, :, block]
                .astype(np.float32)
                .transpose(2, 0, 1, 3)
                .reshape(len(block), -1)
            )
            total[start : start + step] = contexts @ maps / self.ln_post[block, 1:]
        return total

    def remainder(self, rows: Rows = None) -> Float32[np.ndarray, "n d"]:
        """What no head contributed directly: MLPs, output biases, patch and position embedding,
        final bias.
        """
        rest: np.ndarray = self.embeddings[
            slice(None) if rows is None else rows
        ] - self.sum_of_heads(rows)
        return rest
