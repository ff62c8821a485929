"""The same numbers on a GPU: every family of towers against the CPU, memory that does not suffice,
encoding that is interrupted, fine-tuning that goes on. Skipped where there is no CUDA.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aigi_core.clip.finetune as tuning
from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.encoder import Encoder, exact_convolutions, load_encoder
from aigi_core.clip.finetune import Cut, Detector, Settings
from aigi_core.clip.towers import Adapter
from aigi_core.head_maps import complete
from aigi_core.heads import Decomposition
from precompute.encode import pipeline
from tests.clip.finetuning import Held, a_detector, images
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
from tests.tiny_clip import make_tiny_clip

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def heads_of(adapter: Adapter, batch: Any) -> np.ndarray:
    """[layers x heads, B, d] contributions."""
    exact = Decomposition(
        batch.heads.cpu().numpy(),
        batch.ln_post.cpu().numpy(),
        batch.embedding.cpu().numpy(),
        **complete(adapter.maps(), adapter.embedding_width),
    )
    return np.stack(
        [
            exact.contribution(layer, head)
            for layer in range(adapter.layers)
            for head in range(adapter.heads)
        ]
    )


@torch.inference_mode()
def check(adapter: Adapter, size: int) -> None:
    pixels = pictures(size)
    expected = adapter.encode(pixels)
    expected_heads = heads_of(adapter, expected)
    adapter.tower.cuda()
    with exact_convolutions(torch.device("cuda")):
        result = adapter.encode(pixels.cuda())
    assert result.embedding.is_cuda
    assert relative(result.embedding.cpu(), expected.embedding) < 1e-5
    assert relative(heads_of(adapter, result), expected_heads) < 1e-5
    for dtype, most in ((torch.float16, 0.01), (torch.bfloat16, 0.06)):
        with torch.autocast("cuda", dtype):
            low = adapter.encode(pixels.cuda())
        assert low.embedding.dtype == low.heads.dtype == torch.float32
        assert 0 < relative(low.embedding.cpu(), expected.embedding) < most
        assert relative(heads_of(adapter, low), expected_heads) < most


@pytest.mark.parametrize("name", FAMILIES)
def test_towers_of_open_clip(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 if name in ("MobileCLIP-B", "ViTamin") else 48
    check(ready(of_open_clip(name, monkeypatch, size, 16), 24)[0], size)


@pytest.mark.parametrize("name", TRUNKS)
def test_trunks_of_timm(name: str) -> None:
    check(ready(of_timm(name), 32)[0], 48)


@pytest.mark.parametrize("variant", VARIANTS)
def test_open_clips_own_tower(variant: str) -> None:
    options, _ = VARIANTS[variant]
    tower = open_clip.transformer.VisionTransformer(32, 8, 32, 3, 4, 4.0, output_dim=24, **options)
    check(ready(tower, 24)[0], 32)


@pytest.fixture
def encoders(tmp_path: Path) -> tuple[Encoder, Encoder]:
    model = make_tiny_clip(tmp_path / "tiny")
    return load_encoder(model, None, "cpu"), load_encoder(model, None, "cuda", "fp32")


def test_an_encoder_loaded_on_each_gives_the_same(encoders: tuple[Encoder, Encoder]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    on_cpu, on_gpu = (e.encode_images(pixels, ("pre", "layers")) for e in encoders)
    assert relative(on_gpu.embedding.cpu(), on_cpu.embedding) < 1e-5
    assert relative(on_gpu.heads.cpu(), on_cpu.heads) < 1e-5
    for name, value in on_cpu.extras.items():
        assert relative(on_gpu.extras[name].cpu(), value) < 1e-5
    texts = ["a photo", "a painting"]
    assert relative(encoders[1].encode_texts(texts), encoders[0].encode_texts(texts)) < 1e-5


def test_memory_that_does_not_suffice_halves_the_batch() -> None:
    encoder = load_encoder("ViT-B-32", None, "cuda", "fp32")
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((2 << 30) / whole)
    try:
        batch = pipeline.largest_batch(encoder, 8192)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert 8 <= batch < 8192


@pytest.mark.parametrize("mode", ["head", "last", "lora", "full"])
def test_fine_tuning_goes_on_where_it_was_stopped(
    mode: str, encoders: tuple[Encoder, Encoder], tmp_path: Path
) -> None:
    if mode == "lora":
        pytest.importorskip("peft")
    settings = Settings(mode, epochs=4, lr=1e-3, batch_size=5, patience=9)
    curves = {}

    def trained(encoder: Encoder, file: str, stop_after: int | None = None) -> Detector:
        detector, epochs = a_detector(encoder, settings), 0
        source = Held(Cut(encoder, settings), encoder)

        def show(line: str) -> None:
            nonlocal epochs
            epochs += 1
            if epochs == stop_after:
                raise KeyboardInterrupt

        with torch.random.fork_rng(devices=[0]):
            state = tuning.fit(
                detector,
                source,
                images(),
                settings,
                checkpoint=tmp_path / f"{file}.safetensors",
                identity={},
                show=show,
            )
        curves[file] = state.val_losses
        return detector

    on_cpu, on_gpu = encoders
    trained(on_cpu, "cpu")
    straight = trained(on_gpu, "straight").trained()
    with pytest.raises(KeyboardInterrupt):
        trained(on_gpu, "resumed", stop_after=2)
    resumed = trained(on_gpu, "resumed").trained()
    assert np.allclose(curves["straight"], curves["cpu"], rtol=0.1)  # bf16 while it trains
    assert np.allclose(curves["resumed"], curves["straight"], rtol=1e-3)
    for name, tensor in resumed.items():
        assert tensor.is_cuda
        torch.testing.assert_close(tensor, straight[name], rtol=1e-2, atol=1e-3)
