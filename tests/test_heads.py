"""Exactness: heads + MLPs + embedding are the model's own embedding.

The oracle (see :mod:`tests.clip.oracle`) takes one head at a time by zeroing the other heads'
columns of the out-projection.
"""

import numpy as np
import pytest
import torch

from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.errors import AigiError
from aigi_core.heads import Decomposition
from aigi_core.workspace import Workspace
from tests.clip.oracle import all_but_heads, recording, through_ln_post
from tests.tiny_clip import make_tiny_clip, randomise

IMAGES = {"ViT-B-32": 2, "ViT-B-16": 1, "ViT-L-14": 1}


@pytest.fixture(scope="module", params=IMAGES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    loaded = load_encoder(request.param, None, device="cpu", seed=1)
    randomise(loaded.tower, seed=2)
    return loaded


def some_images(encoder: Encoder) -> torch.Tensor:
    rng = np.random.default_rng(3)
    size = encoder.preprocessing.size
    return encoder.normalise(
        rng.integers(0, 256, (IMAGES.get(encoder.model, 2), size, size, 3), dtype=np.uint8)
    )


def relative(result: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(result - expected) / np.linalg.norm(expected))


def as_decomposition(encoder: Encoder, batch, dtype: type) -> Decomposition:
    heads = batch.heads.numpy().astype(dtype)
    return Decomposition(
        heads, batch.ln_post.numpy(), batch.embedding.numpy(), **encoder.decomposition()
    )


@torch.inference_mode()
def test_heads_mlps_and_embedding_are_encode_image(encoder: Encoder) -> None:
    tower, images = encoder.tower, some_images(encoder)
    with recording(tower) as seen:
        expected = tower(images).double().numpy()
    blocks = tower.transformer.resblocks
    final = seen[f"transformer.resblocks.{len(blocks) - 1}"][:, 0]
    rest = all_but_heads(tower, seen)

    batch = encoder.adapter.encode(images)
    assert relative(batch.embedding.numpy(), expected) < 1e-5
    exact = as_decomposition(encoder, batch, np.float32)
    assert relative(exact.sum_of_heads() + rest, expected) < 1e-5
    assert relative(exact.remainder(), rest) < 1e-5
    cached = as_decomposition(encoder, batch, np.float16)
    assert relative(cached.sum_of_heads() + rest, expected) < 2e-3
    # The heads must matter for this to be a test: left out, the sum is far from the embedding.
    assert relative(rest, expected) > 0.05

    rng = np.random.default_rng(0)
    for layer in {0, len(blocks) - 1, *rng.integers(0, len(blocks), 3).tolist()}:
        head = int(rng.integers(encoder.heads))
        alone = one_head(
            blocks[layer], head, seen[f"transformer.resblocks.{layer}.ln_1"], encoder.head_width
        )
        oracle = through_ln_post(tower, alone, final)
        assert relative(exact.contribution(layer, head), oracle) < 1e-5
        assert relative(cached.contribution(layer, head), oracle) < 2e-3


def one_head(block, head: int, normed: torch.Tensor, head_width: int) -> torch.Tensor:
    """One head's term at the class token, by open_clip's own attention with the other heads'
    columns at zero.
    """
    weight, bias = block.attn.out_proj.weight.clone(), block.attn.out_proj.bias.clone()
    try:
        block.attn.out_proj.weight.zero_()
        columns = slice(head * head_width, (head + 1) * head_width)
        block.attn.out_proj.weight[:, columns] = weight[:, columns]
        block.attn.out_proj.bias.zero_()
        return block.ls_1(block.attention(normed))[:, 0]
    finally:
        block.attn.out_proj.weight.copy_(weight)
        block.attn.out_proj.bias.copy_(bias)


@pytest.mark.parametrize(
    "variant",
    [
        {"ls_init_value": 0.5},
        {"no_ln_pre": True, "ls_init_value": 1.0},
        {"final_ln_after_pool": True},
        {"act_kwargs": {"approximate": "tanh"}},
        {"layers": 1},
        {"output_tokens": True},
        {"patch_dropout": 0.5},
    ],
    ids=str,
)
def test_variants_of_the_tower(variant: dict, tmp_path) -> None:
    encoder = load_encoder(make_tiny_clip(tmp_path, **variant), None, device="cpu")
    tower, images = encoder.tower, some_images(encoder)
    with torch.inference_mode(), recording(tower) as seen:
        expected = tower(images)
        expected = expected[0] if isinstance(expected, tuple) else expected
        blocks = tower.transformer.resblocks
        terms = [
            one_head(block, head, seen[f"transformer.resblocks.{i}.ln_1"], encoder.head_width)
            for i, block in enumerate(blocks)
            for head in range(encoder.heads)
        ]
        final = seen[f"transformer.resblocks.{len(blocks) - 1}"][:, 0]
        oracle = sum(through_ln_post(tower, term, final) for term in terms)
    batch = encoder.adapter.encode(images)
    assert relative(batch.embedding.numpy(), expected.double().numpy()) < 1e-5
    assert relative(as_decomposition(encoder, batch, np.float32).sum_of_heads(), oracle) < 1e-5


def test_blocks_and_rows_do_not_change_the_sum(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    decomposition = Decomposition.of(synthetic)
    whole = decomposition.sum_of_heads()
    by_head = sum(
        decomposition.contribution(layer, head) for layer in range(2) for head in range(3)
    )
    assert np.allclose(whole, by_head, atol=1e-5)
    assert np.allclose(decomposition.remainder() + whole, synthetic.embeddings, atol=1e-6)
    rows = np.array([5, 0, 77, 5])
    monkeypatch.setattr("aigi_core.heads.BLOCK_VALUES", 100)
    assert np.allclose(decomposition.sum_of_heads(), whole, atol=1e-5)
    assert np.allclose(decomposition.sum_of_heads(rows), whole[rows], atol=1e-5)
    assert np.allclose(
        decomposition.remainder(slice(10, 20)), (synthetic.embeddings - whole)[10:20], atol=1e-5
    )
    two = list(decomposition.contributions([(0, 1), (1, 2)], rows))
    assert np.allclose(two[1], decomposition.contribution(1, 2)[rows])


@pytest.mark.parametrize("head", [(2, 0), (0, 3), (-1, 0)])
def test_unknown_head(synthetic: Workspace, head: tuple[int, int]) -> None:
    with pytest.raises(AigiError, match="layers are 0 to 1, heads 0 to 2"):
        Decomposition.of(synthetic).contribution(*head)
