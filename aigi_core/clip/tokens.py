"""One image's embedding as an exact sum over heads and the tokens they read, MLPs, biases and the
token it began with.

A head's context at the class token is a sum over source tokens of attention weight times value, and
all that follows is linear given the image's own layer-norm statistics, so each head's contribution
splits among the image's patches (Gandelsman et al. 2024, section 4). Every term here is computed in
the forward pass itself; none is what is left over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from aigi_core.clip.encoder import PRECISIONS, Encoder
from aigi_core.clip.towers.open_clip_vit import Step, run_block
from aigi_core.errors import AigiError
from aigi_core.statements import counted


@dataclass(frozen=True, eq=False)
class TokenTerms:
    """The embedding of one image, taken apart; the sum of all terms is the embedding.

    Attributes:
        contexts: attention weight of the class token times value, for each source token (0 is the
            class token itself, then the patches, row by row). Head (l, h) adds ``contexts[l,
            h].sum(0) @ head_maps[l, h] / ln_post[1]``.
        rest: all other terms, in the joint space.
        names: of the rest: ``MLP of layer l``, ``output biases``, ``class token and position``,
            ``final bias``.
        ln_post: mean and standard deviation that the final layer norm used.
        embedding: the model's own, not normalised.
        grid: rows and columns of patches.
    """

    contexts: Float32[np.ndarray, "layers heads tokens head_width"]
    rest: Float32[np.ndarray, "terms d"]
    names: tuple[str, ...]
    ln_post: Float32[np.ndarray, " 2"]
    embedding: Float32[np.ndarray, " d"]
    grid: tuple[int, int]


def token_terms(encoder: Encoder, pixels: UInt8[np.ndarray, "size size 3"]) -> TokenTerms:
    """One forward pass over one preprocessed image that keeps what each head took from each token.

    Raises:
        NotGivenError: the encoder gives no evidence of patches.
        AigiError: the tower has tokens besides the class token and one a patch.
    """
    encoder.gives.require("evidence", encoder.model)
    tower, dtype = encoder.tower, PRECISIONS[encoder.precision]
    with (
        torch.inference_mode(),
        torch.autocast(encoder.device.type, dtype, enabled=dtype is not torch.float32),
    ):
        blocks = tower.transformer.resblocks
        stream = tower._embeds(encoder.normalise(pixels[None])).float()
        rows, columns = (int(side) for side in tower.grid_size)
        if stream.shape[1] != 1 + rows * columns:
            raise AigiError(
                f"The model {encoder.model!r} reads {counted(stream.shape[1], 'token')}, expected"
                " one class"
                f" token and {rows} x {columns} patches: its evidence cannot be laid over an image."
            )
        written, contexts = [stream[0, 0]], []
        biases = torch.zeros_like(written[0])
        for block in blocks:
            step = run_block(block, stream, stream[:, :1] if block is blocks[-1] else stream)
            contexts.append(_by_source(step))
            written.append(step.mlp[0, 0].float())
            if block.attn.out_proj.bias is not None:
                biases = biases + block.ls_1(block.attn.out_proj.bias).float()
            stream = step.stream
        with torch.autocast(encoder.device.type, enabled=False):
            final = stream[0, 0].float()
            variance, mean = torch.var_mean(final, correction=0)
            std = (variance + tower.ln_post.eps).sqrt()
            terms = torch.stack([*written, biases])
            terms = (terms - terms.mean(dim=1, keepdim=True)) / std * tower.ln_post.weight
            terms = torch.cat([terms, tower.ln_post.bias[None]])
            embedding = tower.ln_post(final)
            if tower.proj is not None:
                terms, embedding = terms @ tower.proj.float(), embedding @ tower.proj.float()
    mlps = [f"MLP of layer {layer}" for layer in range(len(blocks))]
    return TokenTerms(
        contexts=torch.stack(contexts).cpu().numpy(),
        rest=terms.cpu().numpy(),
        names=("class token and position", *mlps, "output biases", "final bias"),
        ln_post=torch.stack([mean, std]).cpu().numpy(),
        embedding=embedding.cpu().numpy(),
        grid=(rows, columns),
    )


def _by_source(step: Step) -> torch.Tensor:
    """What the class token of one image took from each token: [heads, tokens, head_width]."""
    query = step.queries[0, :, 0].float()
    keys = step.keys[0].float()
    values = step.values[0].float()
    weights = torch.softmax(
        torch.einsum("hk,htk->ht", query, keys) * query.shape[-1] ** -0.5, dim=-1
    )
    return weights[:, :, None] * values
