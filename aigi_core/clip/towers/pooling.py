"""Attention pooling: how much each token weighs in the pooled vector, and the maps that follow.

With the pool's attention fixed for an image, the vector that it gives is linear in the tokens, so
each head of each layer has an exact share of it. Pool head ``g`` gives token ``t`` the weight
``a[g, t]``; the norm before the pool divides by the token's standard deviation ``s[t]``. A head's
cached context is therefore one vector a pool head, ``sum over t of a[g, t] / s[t] * context[t]``,
side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def token_weights(
    tokens: Float[Tensor, "B T width"],
    query: Float[Tensor, "1 query_width"],
    query_weight: Tensor,
    query_bias: Tensor | None,
    key_weight: Tensor,
    key_bias: Tensor | None,
    *,
    pool_heads: int,
) -> Float[Tensor, "B pool_heads T"]:
    """Attention of one query over normed tokens, as ``nn.MultiheadAttention`` computes it."""
    q = F.linear(query, query_weight, query_bias).view(pool_heads, -1)
    k = F.linear(tokens, key_weight, key_bias)
    k = k.view(*k.shape[:2], pool_heads, -1)
    return torch.softmax(torch.einsum("gk,btgk->bgt", q, k) * q.shape[-1] ** -0.5, dim=-1)


def weighted_contexts(
    contexts: Sequence[Float[Tensor, "B T heads*head_width"]],
    weights: Float[Tensor, "B pool_heads T"],
    heads: int,
) -> Float[Tensor, "layers heads B pool_heads*head_width"]:
    """Each layer's contexts summed over the tokens, one sum a pool head.

    A layer at a time: all of them in one product would first be copied into another order, which
    on a GPU takes longer than the tower itself.
    """
    sums = torch.stack([torch.bmm(weights, layer.float()) for layer in contexts])
    by_head = sums.view(*sums.shape[:3], heads, -1)
    return by_head.permute(0, 3, 1, 2, 4).flatten(-2)


def centred(values: np.ndarray, axis: int) -> np.ndarray:
    """Minus the mean along an axis: what a layer norm's subtraction of the mean makes of a map."""
    result: np.ndarray = values - values.mean(axis=axis, keepdims=True)
    return result


def pool_maps(
    outs: Sequence[Float[np.ndarray, "attention_width width"]],
    heads: int,
    *,
    gain: Float[np.ndarray, " width"],
    values: Float[np.ndarray, "pool_width width"],
    out: Float[np.ndarray, "pooled pool_width"],
    pool_heads: int,
    after: Float[np.ndarray, "pooled d"],
) -> dict[str, np.ndarray]:
    """The two factors of the heads' maps (see
    :class:`aigi_core.heads.FactoredMaps`): ``head_out`` [layers, heads, head_width,
    width] and ``pool_maps`` [pool_heads, width, d], in float32.

    Args:
        outs: for each layer, what turns its heads' contexts, side by side, into the stream.
        gain: of the norm before the pool.
        values, out: the pool's value and output projections, [out, in] as torch keeps them.
        after: from the pooled vector to the joint space.
    """
    head_out = np.stack([(centred(o, axis=1) * gain).reshape(heads, -1, len(gain)) for o in outs])
    by_head = values.reshape(pool_heads, -1, values.shape[1])
    back = out.T.reshape(pool_heads, -1, out.shape[0])
    pool = np.einsum("gkw,gkp,pd->gwd", by_head, back, after, optimize=True)
    return {"head_out": head_out.astype(np.float32), "pool_maps": pool.astype(np.float32)}
