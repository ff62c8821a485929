"""open_clip's own vision transformer: class token, average or CoCa's attention pooling.

The blocks' attention is run here rather than in ``nn.MultiheadAttention``, whose per-head contexts
never surface: one in-projection, one scaled_dot_product_attention, one out-projection, the contexts
read on the way. Where only the class token reaches the embedding, the last block's query,
out-projection and MLP are computed for that token alone.

A head's output is ``W_O z``: linear in its context ``z``. What follows (LayerScale, the final layer
norm with the image's own mean and standard deviation, the projection) is linear too, so ``z`` and
those two numbers keep a head's contribution exactly (Gandelsman et al. 2024, extended by layer norm
and biases; docs/heads.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from aigi_core.capabilities import AVERAGE, CLASS_TOKEN, POOLED, Capabilities
from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.towers import (
    UNRELATED,
    Adapter,
    EncodedBatch,
    VisionTower,
    array,
    statistics,
)
from aigi_core.clip.towers.pooling import centred, pool_maps, token_weights, weighted_contexts
from aigi_core.clip.towers.tokens import TokenFeatures

NOT_CLASS_TOKEN = "its embedding is not read at the class token alone"


class OpenClipVit(Adapter):
    """``open_clip.transformer.VisionTransformer`` with plain attention blocks."""

    family = "open_clip vision transformer"

    def __init__(self, tower: VisionTower, embedding_width: int) -> None:
        super().__init__(tower, embedding_width)
        blocks = tower.transformer.resblocks
        self.layers = len(blocks)
        self.heads = int(blocks[0].attn.num_heads)
        self.width = int(tower.conv1.weight.shape[0])
        self.pool = tower.attn_pool
        pooled = 1 if self.pool is None else int(self.pool.attn.num_heads)
        self.head_width = pooled * self.width // self.heads
        if self.pool is not None:
            self.gives = Capabilities(
                POOLED, dict.fromkeys(("evidence", "pre", "layers", "patches"), NOT_CLASS_TOKEN)
            )
        elif tower.pool_type == "avg":
            self.gives = Capabilities(AVERAGE, {"evidence": NOT_CLASS_TOKEN})
        else:
            self.gives = Capabilities(CLASS_TOKEN)

    @classmethod
    def not_covered(cls, tower: VisionTower) -> str:
        transformer = open_clip.transformer
        if not isinstance(tower, transformer.VisionTransformer):
            return f"{UNRELATED} vision transformer of open_clip"
        if tower.attn_pool is not None and tower.attn_pool_contrastive is not None:
            return f"its attention pooling is of the type {tower.attn_pool_type!r}"
        if tower.pool_type != "tok" and (tower.pool_type != "avg" or tower.attn_pool is not None):
            return f"its pool type is {tower.pool_type!r}"
        if not (isinstance(tower.ln_post, nn.LayerNorm) and tower.ln_post.elementwise_affine):
            return f"its final norm is a {type(tower.ln_post).__name__}, not an affine layer norm"
        for block in tower.transformer.resblocks:
            if type(block) is not transformer.ResidualAttentionBlock:
                return (
                    f"its blocks are of type {type(block).__name__} (norms or scales inside the"
                    " attention)"
                )
            attention = block.attn
            if type(attention) is not nn.MultiheadAttention or attention.in_proj_weight is None:
                return f"its attention is of type {type(attention).__name__}"
            if attention.bias_k is not None or attention.add_zero_attn:
                return "its attention adds keys of its own"
        return ""

    @property
    def _class_token(self) -> bool:
        return self.pool is None and self.tower.pool_type == "tok"

    def encode(
        self, images: Float[Tensor, "B 3 size size"], features: Sequence[str] = ()
    ) -> EncodedBatch:
        """See :meth:`Adapter.encode`. Autocast, where wanted, is the caller's; the residual stream
        and all that follows the blocks stay in float32.
        """
        tower, blocks = self.tower, self.tower.transformer.resblocks
        wanted = TokenFeatures(features, 1)
        norm_first = self.pool is not None or (
            tower.pool_type == "avg" and not tower.final_ln_after_pool
        )
        with torch.inference_mode():
            stream = tower._embeds(images).float()
            contexts = []
            for block in blocks:
                last = self._class_token and block is blocks[-1] and not wanted.patches
                step = run_block(block, stream, stream[:, :1] if last else stream)
                if self._class_token:
                    contexts.append(step.context[:, :, 0])
                elif norm_first:  # weights are known only after the last block
                    contexts.append(step.context.transpose(1, 2).flatten(2))
                else:
                    contexts.append(step.context[:, :, 1:].float().mean(dim=2))
                stream = step.stream
                wanted.after_block(step.normed, stream)
            with torch.autocast(images.device.type, enabled=False):
                wanted.after_blocks(stream)
                final, heads, ln_post = self._pooled(stream.float(), contexts, norm_first)
                wanted.before_projection(final)
                embedding = final if tower.proj is None else final @ tower.proj.float()
        return EncodedBatch(embedding, heads, ln_post, wanted.features)

    def _pooled(
        self, stream: Tensor, contexts: list[Tensor], norm_first: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features before the projection, weighted contexts, and statistics of the final norm."""
        norm = self.tower.ln_post
        if not norm_first:
            vector = stream[:, 0] if self._class_token else stream[:, 1:].mean(dim=1)
            heads = torch.stack(contexts).transpose(1, 2).float()
            return norm(vector), heads, statistics(vector, norm.eps)
        if self.pool is None:
            std = statistics(stream, norm.eps)[:, 1:, 1]
            weights = 1 / (std[:, None] * std.shape[1])
            heads = weighted_contexts([c[:, 1:] for c in contexts], weights, self.heads)
            neutral = torch.tensor([0.0, 1.0], device=stream.device).repeat(len(stream), 1)
            return norm(stream)[:, 1:].mean(dim=1), heads, neutral
        pool = self.pool
        weights = (
            token_weights(
                pool.ln_k(stream),
                pool.ln_q(pool.query)[:1],
                *_projections(pool.attn)[:4],
                pool_heads=pool.attn.num_heads,
            )
            / statistics(stream, pool.ln_k.eps)[:, None, :, 1]
        )
        heads = weighted_contexts(contexts, weights, self.heads)
        vector = pool(stream)[:, 0]
        return norm(vector), heads, statistics(vector, norm.eps)

    def maps(self) -> dict[str, np.ndarray]:
        """``head_maps`` [layers, heads, head_width, d] (see
        :class:`aigi_core.heads.Decomposition`) or their two factors, and ``beta`` [d]:
        the final norm's bias through the projection. Computed in float64, stored as float32.
        """
        tower = self.tower
        width = tower.ln_post.weight.shape[0]
        proj = np.eye(width) if tower.proj is None else array(tower.proj)
        after = array(tower.ln_post.weight)[:, None] * proj
        # Centring the input of a linear map is centring the map over its input axis.
        after = centred(after, axis=0)
        beta = (array(tower.ln_post.bias) @ proj).astype(np.float32)
        outs = []
        for block in tower.transformer.resblocks:
            # [width out, width in], heads side by side along the input
            out = array(block.attn.out_proj.weight)
            if hasattr(block.ls_1, "gamma"):
                out = array(block.ls_1.gamma)[:, None] * out
            outs.append(out.T)
        if self.pool is not None:
            values = _projections(self.pool.attn)[4]
            return pool_maps(
                outs,
                self.heads,
                gain=array(self.pool.ln_k.weight),
                values=array(values),
                out=array(self.pool.attn.out_proj.weight),
                pool_heads=self.pool.attn.num_heads,
                after=after,
            ) | {"beta": beta}
        maps = [(out @ after).reshape(self.heads, -1, after.shape[1]) for out in outs]
        return {"head_maps": np.stack(maps).astype(np.float32), "beta": beta}


def _projections(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Weights and biases of query and key, and the weight of the values: [out, in] each."""
    if attention.in_proj_weight is not None:
        q, k, v = attention.in_proj_weight.chunk(3)
    else:
        q, k, v = attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight
    biases = attention.in_proj_bias
    if biases is None:
        biases = torch.zeros(3 * len(q), device=q.device)
    return q, biases[: len(q)], k, biases[len(q) : 2 * len(q)], v


@dataclass(frozen=True, eq=False)
class Step:
    """What one residual block did for the first Q tokens, attending to all T.

    Attributes:
        normed: the input of its MLP, after its second norm.
        queries, keys, values: of its attention.
        context: what each head read, before the output projection.
        mlp: what its MLP added (LayerScale included).
        stream: the residual stream after it.
    """

    normed: Float[Tensor, "B Q width"]
    queries: Float[Tensor, "B heads Q head_width"]
    keys: Float[Tensor, "B heads T head_width"]
    values: Float[Tensor, "B heads T head_width"]
    context: Float[Tensor, "B heads Q head_width"]
    mlp: Float[Tensor, "B Q width"]
    stream: Float[Tensor, "B Q width"]


def run_block(
    block: Any, stream: Float[Tensor, "B T width"], queried: Float[Tensor, "B Q width"]
) -> Step:
    """One residual block for the first Q tokens of a stream, attending to all of it."""
    attention = block.attn
    batch, tokens, width = stream.shape
    queries, heads = queried.shape[1], attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    normed = block.ln_1(stream)
    if queries == tokens:
        projected = (
            F.linear(normed, weight, bias).view(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        )
        q, k, v = projected.unbind()
    else:
        q = F.linear(normed[:, :queries], weight[:width], None if bias is None else bias[:width])
        q = q.view(batch, queries, heads, -1).transpose(1, 2)
        projected = F.linear(normed, weight[width:], None if bias is None else bias[width:])
        k, v = projected.view(batch, tokens, 2, heads, -1).permute(2, 0, 3, 1, 4).unbind()
    context = F.scaled_dot_product_attention(q, k, v)
    out = attention.out_proj(context.transpose(1, 2).reshape(batch, queries, width))
    updated = queried + block.ls_1(out)
    normed_again = block.ln_2(updated)
    mlp = block.ls_2(block.mlp(normed_again))
    return Step(normed_again, q, k, v, context, mlp, updated + mlp)
