"""Every other image tower: convolutional, hierarchical, or with parts that are not linear in the
heads. Its embedding is all that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from aigi_core.capabilities import Capabilities
from aigi_core.clip.towers import Adapter, EncodedBatch, VisionTower, no_heads

REASON = "only the embedding is read from an image tower of this family"


class EmbeddingOnly(Adapter):
    """Any module from images to embeddings."""

    family = "embedding only"

    def __init__(self, tower: VisionTower, embedding_width: int) -> None:
        super().__init__(tower, embedding_width)
        self.gives = Capabilities(
            "", dict.fromkeys(("heads", "evidence", "pre", "layers", "patches"), REASON)
        )

    @classmethod
    def not_covered(cls, tower: VisionTower) -> str:
        return ""

    def encode(
        self, images: Float[Tensor, "B 3 size size"], features: Sequence[str] = ()
    ) -> EncodedBatch:
        del features
        with torch.inference_mode():
            output = self.tower(images)
            # CoCa's tower gives the tokens for its captions beside the embedding.
            embedding = output[0] if isinstance(output, tuple) else output
        heads, ln_post = no_heads(images)
        return EncodedBatch(embedding.float(), heads, ln_post)
