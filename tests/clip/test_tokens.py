"""Exactness over tokens: the terms are the model's own embedding, and what a head took from a token
is what it attended to.

The oracle is open_clip's own forward pass and ``nn.MultiheadAttention``'s own attention weights.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.clip.tokens import TokenTerms, token_terms
from aigi_core.errors import AigiError
from aigi_core.explain.reading import Reading
from aigi_core.inspection.parts import Parts
from tests.tiny_clip import make_tiny_clip, randomise


@pytest.fixture(scope="module", params=["demo", "ViT-B-16"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    try:
        loaded = load_encoder(request.param, None, device="cpu", seed=1)
    except (
        AigiError
    ) as error:  # the demo encoder's wheels: only where a package index can be reached
        pytest.skip(str(error))
    if request.param != "demo":
        randomise(loaded.tower, seed=2)
    return loaded


def some_pixels(encoder: Encoder, seed: int = 3) -> np.ndarray:
    size = encoder.preprocessing.size
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((-(-size // 8), -(-size // 8), 1), np.uint8))[:size, :size]


def own_embedding(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        result = encoder.tower(encoder.normalise(pixels[None]))
    return (result[0] if isinstance(result, tuple) else result)[0].double().numpy()


def whole(terms: TokenTerms, decomposition: dict[str, np.ndarray]) -> np.ndarray:
    heads = np.einsum(
        "lhk,lhkd->d", terms.contexts.sum(axis=2, dtype=np.float64), decomposition["head_maps"]
    )
    return heads / terms.ln_post[1] + terms.rest.sum(axis=0, dtype=np.float64)


def test_parts_add_up_to_the_logit(encoder: Encoder) -> None:
    """The promise of the page: bias + layers x heads x patches + the rest = the logit, to 1e-3, on
    logits of size 10.
    """
    pixels = some_pixels(encoder)
    embedding = own_embedding(encoder, pixels)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(len(embedding)) * 10
    head_weights = {(0, 1): rng.standard_normal(len(embedding)) * 10}
    decomposition = encoder.decomposition()
    parts = Parts.of_tokens(token_terms(encoder, pixels), decomposition)
    length = np.linalg.norm(embedding)
    batch = encoder.encode_images(pixels[None])
    one_head = (
        batch.heads[0, 1, 0].double().numpy()
        @ decomposition["head_maps"][0, 1]
        / float(batch.ln_post[0, 1])
    )
    expected = {
        "embedding": (Reading(0.7, weights), 0.7 + weights @ embedding / length),
        "unnormalised": (Reading(-0.2, weights, normalised=False), -0.2 + weights @ embedding),
        "heads": (
            Reading(0.1, 0 * weights, head_weights),
            0.1 + one_head @ head_weights[0, 1] / length,
        ),
    }
    for name, (reading, logit) in expected.items():
        result = parts.evidence(reading)
        assert result.logit == pytest.approx(logit, abs=1e-3), name
        assert result.kinds()["evidence"].sum() == pytest.approx(logit, abs=1e-3), name
        assert result.table()["evidence"].sum() == pytest.approx(logit, abs=1e-3), name
    result = parts.evidence(expected["embedding"][0])
    assert result.patches.shape == tuple(encoder.tower.grid_size)
    assert np.abs(result.patches).sum() > 0.1, "patches must matter for this to be a test"
    total = result.patches.sum() + result.class_token + result.rest.sum() + result.bias
    assert total == pytest.approx(result.logit, abs=1e-9)


def test_terms_are_the_embedding_and_heads_those_of_the_cache(encoder: Encoder) -> None:
    pixels = some_pixels(encoder, 4)
    terms, batch = token_terms(encoder, pixels), encoder.encode_images(pixels[None])
    expected = own_embedding(encoder, pixels)
    assert (
        np.abs(whole(terms, encoder.decomposition()) - expected).max()
        < 1e-5 * np.abs(expected).max() + 1e-6
    )
    np.testing.assert_allclose(
        terms.embedding, batch.embedding[0], atol=1e-5 * np.abs(expected).max() + 1e-6
    )
    scale = float(batch.heads.abs().max())
    np.testing.assert_allclose(terms.contexts.sum(axis=2), batch.heads[:, :, 0], atol=1e-5 * scale)
    assert len(terms.names) == len(terms.rest) == encoder.layers + 3


def test_a_heads_share_of_a_token_is_attention_times_value(encoder: Encoder) -> None:
    pixels, blocks = some_pixels(encoder, 5), encoder.tower.transformer.resblocks
    seen: list[torch.Tensor] = []
    chosen = [0, len(blocks) // 2, len(blocks) - 1]
    hooks = [
        blocks[i].ln_1.register_forward_hook(lambda _, __, out: seen.append(out)) for i in chosen
    ]
    with torch.inference_mode():
        encoder.tower(encoder.normalise(pixels[None]))
        for hook in hooks:
            hook.remove()
        terms = token_terms(encoder, pixels)
        for layer, normed in zip(chosen, seen, strict=True):
            attention, width = blocks[layer].attn, encoder.width
            weights = attention(
                normed, normed, normed, need_weights=True, average_attn_weights=False
            )[1][0, :, 0]
            value = (
                normed[0] @ attention.in_proj_weight[2 * width :].T
                + attention.in_proj_bias[2 * width :]
            )
            value = value.view(len(value), encoder.heads, -1).transpose(0, 1)
            expected = (weights[:, :, None] * value).numpy()
            np.testing.assert_allclose(
                terms.contexts[layer], expected, atol=2e-6 + 1e-5 * np.abs(expected).max()
            )


@pytest.mark.parametrize(
    "variant",
    [{"ls_init_value": 0.5}, {"no_ln_pre": True}, {"layers": 1}, {"patch_dropout": 0.5}],
    ids=str,
)
def test_variants_of_the_tower(variant: dict, tmp_path: Path) -> None:
    encoder = load_encoder(make_tiny_clip(tmp_path, **variant), None, device="cpu")
    pixels = some_pixels(encoder)
    expected = own_embedding(encoder, pixels)
    result = whole(token_terms(encoder, pixels), encoder.decomposition())
    assert np.abs(result - expected).max() < 1e-5 * np.abs(expected).max() + 1e-6
