"""What becomes of a term of the residual stream, with every statistic of the library's own forward
pass held fixed: standard deviations of norms and attention of the pool. The code under test is not
run here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Run:
    """One forward pass of a timm trunk (alone or as open_clip's tower), seen through hooks."""

    embedding: Tensor
    start: Tensor
    final: Tensor
    """The stream before the first block and after the last."""
    contexts: list[Tensor]
    """Input of each attention's inner norm (where it has none: of its output projection)."""
    attended: list[Tensor]
    """What each layer's attention added to the stream."""
    mlps: list[Tensor]


@torch.inference_mode()
def run(tower: Any, trunk: Any, images: Tensor) -> Run:
    contexts: list[Tensor] = []
    before: list[Tensor] = []
    middle: list[Tensor] = []
    after: list[Tensor] = []
    handles = []
    for block in trunk.blocks:
        post_norm = type(block).__name__ == "EvaBlockPostNorm"
        second = block.mlp if post_norm else block.norm2
        for module, hook in (
            (block.attn.norm, lambda _, x: contexts.append(x[0])),
            (block, lambda _, x: before.append(x[0])),
            (second, lambda _, x: middle.append(x[0])),
        ):
            handles.append(module.register_forward_pre_hook(hook))
        handles.append(block.register_forward_hook(lambda _, __, y: after.append(y)))
    embedding = tower(images)
    for handle in handles:
        handle.remove()
    attended = [m - b for m, b in zip(middle, before, strict=True)]
    mlps = [a - m for a, m in zip(after, middle, strict=True)]
    return Run(embedding, before[0], after[-1], contexts, attended, mlps)


def std(values: Tensor, norm: nn.LayerNorm) -> Tensor:
    return torch.sqrt(values.var(-1, keepdim=True, correction=0) + norm.eps)


def through(norm: nn.LayerNorm, term: Tensor, scale: Tensor) -> Tensor:
    return (term - term.mean(-1, keepdim=True)) / scale * norm.weight


def head_term(block: Any, contexts: Tensor, head: int | None) -> Tensor:
    """What one head (or, for None, all of them) adds to the stream at every token, biases aside."""
    attention = block.attn
    kept = contexts
    if head is not None:
        size = contexts.shape[-1] // attention.num_heads
        kept = torch.zeros_like(contexts)
        columns = slice(head * size, (head + 1) * size)
        kept[..., columns] = contexts[..., columns]
    if isinstance(attention.norm, nn.LayerNorm):
        kept = through(attention.norm, kept, std(contexts, attention.norm))
        whole = attention.norm(contexts)
    else:
        whole = contexts
    term = kept @ attention.proj.weight.T
    if type(block).__name__ == "EvaBlockPostNorm":
        term = through(block.norm1, term, std(attention.proj(whole), block.norm1))
    if getattr(block, "gamma_1", None) is not None:
        term = term * block.gamma_1
    elif hasattr(getattr(block, "ls1", None), "gamma"):
        term = term * block.ls1.gamma
    return term


def end_of(tower: Any, trunk: Any, final: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """From a term of the final stream to the joint space; and what comes from no term: biases, and
    the MLP of an attention pool.
    """
    norm_after = isinstance(trunk.fc_norm, nn.LayerNorm)
    norm = trunk.fc_norm if norm_after else trunk.norm
    around = () if tower is trunk else tower.head
    linears = [m for m in (trunk.head, *around) if isinstance(m, nn.Linear)]

    def project(vector: Tensor) -> Tensor:
        for linear in linears:
            vector = vector @ linear.weight.T
        return vector

    def constant(vector: Tensor) -> Tensor:
        for linear in linears:
            vector = linear(vector)
        return vector

    prefix = trunk.num_prefix_tokens
    pool = trunk.attn_pool

    def plain(tokens: Tensor) -> Tensor:
        return tokens[:, 0] if trunk.global_pool == "token" else tokens[:, prefix:].mean(dim=1)

    if pool is None and norm_after:
        scale = std(plain(final), norm)
        return lambda term: project(through(norm, plain(term), scale)), constant(norm.bias)
    scale = std(final, norm)
    if pool is None:
        return lambda term: project(plain(through(norm, term, scale))), constant(norm.bias)
    skip = 0 if getattr(trunk, "pool_include_prefix", True) else prefix
    tokens = norm(final)[:, skip:]
    batch, count, width = tokens.shape

    def split(values: Tensor) -> Tensor:
        return values.view(len(values), -1, pool.num_heads, pool.head_dim).transpose(1, 2)

    keys, _ = pool.kv(tokens).split(width, dim=-1)
    query = pool.q_norm(split(pool.q(pool.latent)))
    attention = torch.softmax(query @ pool.k_norm(split(keys)).mT * pool.scale, dim=-1)

    def pooled(values: Tensor) -> Tensor:
        out = (attention.expand(batch, -1, -1, -1) @ split(values)).transpose(1, 2)
        return out.reshape(batch, -1) @ pool.proj.weight.T

    value_weight = pool.kv.weight[width:]

    def end(term: Tensor) -> Tensor:
        return project(pooled(through(norm, term, scale)[:, skip:] @ value_weight.T))

    biases = (norm.bias @ value_weight.T + pool.kv.bias[width:]).expand(batch, count, -1)
    vector = pooled(tokens @ value_weight.T + pool.kv.bias[width:]) + pool.proj.bias
    extra = 0 if pool.mlp is None else pool.mlp(pool.norm(vector))
    return end, constant(pooled(biases) + pool.proj.bias + extra)
