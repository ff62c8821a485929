"""Every family of towers, small and with random weights: its heads and all that is not a head are
the library's own output.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.towers import Adapter
from aigi_core.head_maps import complete
from aigi_core.heads import Decomposition
from tests.clip.towers import frozen
from tests.clip.towers.small import (
    FAMILIES,
    TRUNKS,
    VARIANTS,
    of_open_clip,
    of_timm,
    pictures,
    ready,
    relative,
)


@torch.inference_mode()
def check(adapter: Adapter, trunk: Any, images: torch.Tensor, name: str = "") -> None:
    seen = frozen.run(adapter.tower, trunk, images)
    end, constant = frozen.end_of(adapter.tower, trunk, seen.final)
    heads = [
        frozen.head_term(block, contexts, None)
        for block, contexts in zip(trunk.blocks, seen.contexts, strict=True)
    ]
    biases = [a - h for a, h in zip(seen.attended, heads, strict=True)]
    for bias in biases if name != "EVA02-E" else ():  # there a norm follows the biases
        # The same at every token of every image, or a part of a head would be in it.
        assert float((bias - bias[:1, :1]).abs().max()) < 2e-5
    rest = end(seen.start + sum(seen.mlps) + sum(biases)) + constant
    expected = seen.embedding.numpy()
    assert relative(end(sum(heads)) + rest, expected) < 1e-5  # the oracle itself

    batch = adapter.encode(images)
    assert np.array_equal(batch.embedding.numpy(), expected)  # hooks leave the forward as it is
    exact = Decomposition(
        batch.heads.numpy(),
        batch.ln_post.numpy(),
        batch.embedding.numpy(),
        **complete(adapter.maps(), adapter.embedding_width),
    )
    assert batch.heads.shape == (
        adapter.layers,
        adapter.heads,
        len(images),
        adapter.head_width,
    )
    assert relative(exact.sum_of_heads() + np.asarray(rest), expected) < 1e-5
    assert relative(rest, expected) > 0.05  # the heads matter
    for layer, head in ((0, 1), (adapter.layers - 1, adapter.heads - 1)):
        oracle = end(frozen.head_term(trunk.blocks[layer], seen.contexts[layer], head))
        assert relative(exact.contribution(layer, head), oracle) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_towers_of_open_clip(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 if name in ("MobileCLIP-B", "ViTamin") else 48
    adapter, trunk = ready(of_open_clip(name, monkeypatch, size, 16), 24)
    assert adapter.family == "timm vision transformer"
    assert adapter.gives.heads == FAMILIES[name][2]
    check(adapter, trunk, pictures(size), name)


@pytest.mark.parametrize("name", TRUNKS)
def test_trunks_of_timm(name: str) -> None:
    adapter, trunk = ready(of_timm(name), 32)
    assert adapter.gives.heads == TRUNKS[name][2]
    check(adapter, trunk, pictures(48))


@pytest.mark.parametrize(("size", "patch"), [(224, 14), (336, 14), (384, 16), (224, 32)])
@pytest.mark.parametrize("name", ["SigLIP", "EVA02"])
def test_sizes(name: str, size: int, patch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, trunk = ready(of_open_clip(name, monkeypatch, size, patch), 24)
    check(adapter, trunk, pictures(size, 1))


def test_what_is_held_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, _ = ready(of_open_clip("SigLIP", monkeypatch, 48, 16), 24)
    features = ("pre", "layers", "norm2", "patches:4")
    whole = adapter.encode(pictures(48, 5), features)
    monkeypatch.setattr("aigi_core.clip.towers.timm_vit.HELD_VALUES", 2000)
    parts = adapter.encode(pictures(48, 5), features)
    assert torch.allclose(whole.heads, parts.heads, atol=1e-6)
    assert torch.allclose(whole.embedding, parts.embedding, atol=1e-6)
    shapes = {name: tuple(value.shape) for name, value in parts.extras.items()}
    assert shapes == {
        "pre": (5, 32),
        "layers": (3, 5, 32),
        "norm2": (3, 5, 32),
        "patches:4": (5, 4, 32),
    }
    for name, value in whole.extras.items():
        assert torch.allclose(value, parts.extras[name], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_open_clips_own_tower(variant: str) -> None:
    """Heads by taking them away: with every statistic frozen by hand, the tower without one head is
    the tower's output less that head's contribution.
    """
    options, kind = VARIANTS[variant]
    tower = open_clip.transformer.VisionTransformer(32, 8, 32, 3, 4, 4.0, output_dim=24, **options)
    adapter, _ = ready(tower, 24)
    assert adapter.gives.heads == kind and adapter.family == "open_clip vision transformer"
    images = pictures(32)
    with torch.inference_mode():
        expected = tower(images)
    batch = adapter.encode(images)
    assert relative(batch.embedding, expected) < 1e-5
    exact = Decomposition(
        batch.heads.numpy(),
        batch.ln_post.numpy(),
        batch.embedding.numpy(),
        **complete(adapter.maps(), 24),
    )
    oracle = linearised(tower, images)
    total = torch.zeros(3, 24, dtype=torch.float64)
    for layer in range(3):
        for head in range(4):
            result = exact.contribution(layer, head)
            wanted = oracle(layer, head)
            total += wanted
            assert relative(result, wanted) < 1e-5
    assert relative(exact.sum_of_heads(), total) < 1e-5
    assert relative(total, expected) > 0.05


def linearised(tower: Any, images: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
    """Contribution of a head, as the derivative of the tower's end along the head's own term: the
    end (final norm, pool, projection) with its statistics detached is linear, so the derivative is
    exact. Double precision.
    """
    tower = tower.double()
    images = images.double()
    terms: list[torch.Tensor] = []
    with torch.no_grad():
        stream = tower._embeds(images)
        for block in tower.transformer.resblocks:
            normed = block.ln_1(stream)
            width, heads = stream.shape[-1], block.attn.num_heads
            weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
            q, k, v = (
                part.view(*part.shape[:2], heads, -1).transpose(1, 2)
                for part in (normed @ weight.T + bias).split(width, dim=-1)
            )
            attention = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1)
            by_head = (attention @ v).transpose(1, 2)  # [B, T, heads, k]
            out = block.attn.out_proj.weight.view(width, heads, -1)
            terms.append(block.ls_1(torch.einsum("bthk,whk->bthw", by_head, out)))
            stream = block(stream)
    tower = tower.float()

    def contribution(layer: int, head: int) -> torch.Tensor:
        own = tower.double()
        try:
            return _end(own, stream, terms[layer][:, :, head])
        finally:
            own.float()

    return contribution


def _end(tower: Any, stream: torch.Tensor, term: torch.Tensor) -> torch.Tensor:
    def norm(module: Any, values: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
        return (values - values.mean(-1, keepdim=True)) / frozen.std(of, module) * module.weight

    with torch.no_grad():
        pool = tower.attn_pool
        if pool is not None:
            keys, mha = pool.ln_k(stream), pool.attn
            if mha.in_proj_weight is not None:
                wq, wk, wv = mha.in_proj_weight.chunk(3)
            else:
                wq, wk, wv = mha.q_proj_weight, mha.k_proj_weight, mha.v_proj_weight
            bq, bk, _ = mha.in_proj_bias.chunk(3)
            query = pool.ln_q(pool.query)[0] @ wq.T + bq
            q = query.view(mha.num_heads, -1)
            k = (keys @ wk.T + bk).view(*keys.shape[:2], mha.num_heads, -1)
            weights = torch.softmax(
                torch.einsum("gk,btgk->bgt", q, k) * q.shape[-1] ** -0.5, dim=-1
            )
            values = norm(pool.ln_k, term, stream) @ wv.T
            values = values.view(*values.shape[:2], mha.num_heads, -1)
            mixed = torch.einsum("bgt,btgk->bgk", weights, values).flatten(1)
            vector = mixed @ mha.out_proj.weight.T
            return norm(tower.ln_post, vector, pool(stream)[:, 0]) @ tower.proj

        def pooled(tokens: torch.Tensor) -> torch.Tensor:
            return tokens[:, 0] if tower.pool_type == "tok" else tokens[:, 1:].mean(dim=1)

        if tower.final_ln_after_pool or tower.pool_type == "tok":
            return norm(tower.ln_post, pooled(term), pooled(stream)) @ tower.proj
        return pooled(norm(tower.ln_post, term, stream)) @ tower.proj
