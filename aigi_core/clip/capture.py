"""One forward pass of a CLIP vision transformer that yields the embedding and what every attention
head put into it.

The blocks' attention is run here rather than in ``nn.MultiheadAttention``, whose per-head contexts
never surface: one in-projection, one scaled_dot_product_attention, one out-projection, the contexts
read on the way. In the last block only the class token reaches the embedding, so its query,
out-projection and MLP are computed for that token alone.

A head's output is ``W_O z``: linear in its context ``z``. What follows (LayerScale, the final layer
norm with the image's own mean and standard deviation, the projection) is linear too, so ``z`` and
those two numbers keep a head's contribution exactly (Gandelsman et al. 2024, extended by layer norm
and biases; paper.md, decision 10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from aigi_core.clip._open_clip import open_clip
from aigi_core.errors import AigiError

VisionTower: TypeAlias = Any
"""An ``open_clip.transformer.VisionTransformer`` that :func:`check_supported` accepts (open_clip
ships no types).
"""


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """What one forward pass yields, on the encoder's device, in float32.

    Attributes:
        embedding: the model's own image embedding in the joint space, not normalised.
        heads: every head's class-token context before the output projection.
        ln_post: mean and standard deviation (sqrt(variance + eps)) that the final layer norm used.
    """

    embedding: Float[Tensor, "B d"]
    heads: Float[Tensor, "layers heads B head_width"]
    ln_post: Float[Tensor, "B 2"]


def check_supported(tower: nn.Module, model: str) -> None:
    """Raise AigiError, by name and with the reason, for an image tower whose heads do not add up to
    the embedding.
    """
    reason = _unsupported(tower)
    if reason:
        raise AigiError(
            f"The model {model!r} cannot be decomposed into attention heads: {reason}. Use a CLIP"
            " vision transformer with a class token, such as ViT-B-16 or ViT-L-14."
        )


def _unsupported(tower: nn.Module) -> str | None:
    transformer = open_clip.transformer
    kind = type(tower).__name__
    if kind == "TimmModel":
        return f"its image tower comes from timm ({type(getattr(tower, 'trunk', tower)).__name__})"
    if kind == "ModifiedResNet":
        return "its image tower is a ResNet, which has no class token and one attention layer"
    if not isinstance(tower, transformer.VisionTransformer):
        return f"its image tower is a {kind}, not open_clip's VisionTransformer"
    if tower.attn_pool is not None:
        return (
            "it pools by attention (attentional pooling, as in CoCa), which is not linear in the"
            " heads' outputs"
        )
    if tower.pool_type != "tok":
        return f"its pool type is {tower.pool_type!r}: the embedding is not the class token"
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
    return None


def capture(tower: VisionTower, images: Float[Tensor, "B 3 size size"]) -> EncodedBatch:
    """Run normalised images through a supported image tower in eval mode, without gradients.

    Autocast, where wanted, is the caller's; the residual stream and all that follows the blocks
    stay in float32.
    """
    with torch.inference_mode():
        blocks = tower.transformer.resblocks
        stream = tower._embeds(images).float()
        contexts = []
        for block in blocks:
            step = run_block(block, stream, stream[:, :1] if block is blocks[-1] else stream)
            contexts.append(step.context[:, :, 0])
            stream = step.stream
        with torch.autocast(images.device.type, enabled=False):
            final = stream[:, 0].float()
            variance, mean = torch.var_mean(final, dim=-1, correction=0)
            ln_post = torch.stack([mean, (variance + tower.ln_post.eps).sqrt()], dim=-1)
            embedding = tower.ln_post(final)
            if tower.proj is not None:
                embedding = embedding @ tower.proj.float()
        heads = torch.stack(contexts).transpose(1, 2).float()
    return EncodedBatch(embedding, heads, ln_post)


class Step(NamedTuple):
    """What one residual block did for the first Q tokens, attending to all T.

    Attributes:
        queries, keys, values: of its attention.
        context: what each head read, before the output projection.
        mlp: what its MLP added (LayerScale included).
        stream: the residual stream after it.
    """

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
    mlp = block.ls_2(block.mlp(block.ln_2(updated)))
    return Step(q, k, v, context, mlp, updated + mlp)


def decomposition_maps(tower: VisionTower) -> dict[str, np.ndarray]:
    """The fixed linear maps from contexts to the joint space: the content of ``decomposition.npz``.

    Returns:
        ``head_maps`` [layers, heads, head_width, d]: W_O slice with LayerScale, centring over the
        width (the layer norm's subtraction of the mean), ln_post's gain and the projection, in one.
        ``beta`` [d]: ln_post's bias through the projection. Computed in float64, stored as float32.
    """

    def array(value: Tensor) -> np.ndarray:
        return value.detach().cpu().double().numpy()

    blocks = tower.transformer.resblocks
    width = tower.ln_post.weight.shape[0]
    proj = np.eye(width) if tower.proj is None else array(tower.proj)
    after = array(tower.ln_post.weight)[:, None] * proj
    after -= after.mean(
        axis=0
    )  # centring the input of a linear map is centring the map over its input axis
    maps = []
    for block in blocks:
        out = array(
            block.attn.out_proj.weight
        )  # [width out, width in], heads side by side along the input
        if hasattr(block.ls_1, "gamma"):
            out = array(block.ls_1.gamma)[:, None] * out
        maps.append((out.T @ after).reshape(block.attn.num_heads, -1, after.shape[1]))
    return {
        "head_maps": np.stack(maps).astype(np.float32),
        "beta": (array(tower.ln_post.bias) @ proj).astype(np.float32),
    }
