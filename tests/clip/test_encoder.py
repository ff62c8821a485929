"""Loading: what a researcher gets wrong, activations that must follow the weights, and what
identifies weights.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from aigi_core.clip import checkpoints, open_clip_models
from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.consent import ConsentNeeded, archives_allowed
from aigi_core.clip.downloads import downloads_reported
from aigi_core.clip.encoder import digest_weights, load_encoder
from aigi_core.errors import AigiError, NotGivenError
from tests.tiny_clip import make_tiny_clip


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("ViT-B-15", "openai", "no model 'ViT-B-15': did you mean ViT-B-1"),
        ("ViT-B-32", "openia", "neither a weights file nor a pretrained tag of ViT-B-32 .*openai"),
        ("local-dir:/nowhere", None, "holds no open_clip model"),
        ("local-dir:/nowhere", "openai", "leave out --pretrained"),
    ],
)
def test_refusals_name_the_reason(model: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(AigiError, match=message) as caught:
        load_encoder(model, pretrained, device="cpu")
    assert "\n" not in str(caught.value)


def test_tokenizer_that_cannot_be_had(tmp_path: Path) -> None:
    model = make_tiny_clip(tmp_path)
    file = tmp_path / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    file.write_text(json.dumps(config))
    encoder = load_encoder(model, None, device="cpu")
    assert not encoder.gives.has("texts") and encoder.gives.has("heads")
    assert "tokenizer" in encoder.gives.lacks["texts"]
    with pytest.raises(NotGivenError, match="has no text tower: its tokenizer"):
        encoder.encode_texts(["a photo"])


def test_tower_with_norms_inside_the_attention_gives_its_embedding(tmp_path: Path) -> None:
    encoder = load_encoder(make_tiny_clip(tmp_path, qk_norm=True), None, device="cpu")
    assert not encoder.gives.heads
    assert "CustomResidualAttentionBlock" in encoder.gives.lacks["heads"]
    batch = encoder.encode_images(np.zeros((2, 32, 32, 3), np.uint8))
    assert batch.embedding.shape == (2, 24) and batch.heads.shape == (0, 0, 2, 0)


@pytest.mark.parametrize("model", ["ViT-L-14", "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"])
def test_hub_out_of_reach_fails_at_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[str] = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *a, **k: downloads.append(a) or ""
    )
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    remedy = "(ViT-L-14-quickgelu --pretrained FILE|local-dir:DIR)"
    with pytest.raises(AigiError, match=f"not on this machine.* give --model {remedy}"):
        load_encoder(model, None if model.startswith("hf") else "openai", device="cpu")
    assert downloads == []  # the client that retries for half a minute was never asked


def test_a_tokenizer_out_of_reach_leaves_the_images_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def retries(*_: Any, **__: Any) -> None:
        raise AssertionError("its client asks the hub for minutes")

    monkeypatch.setattr(open_clip_models, "find_spec", lambda name: True)  # transformers
    monkeypatch.setattr("open_clip.tokenizer.HFTokenizer", retries)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    text = {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP2"}
    checkpoint = SimpleNamespace(config={"text_cfg": text}, tokenizer="ViT-B-16-SigLIP2")
    tokenizer, reason = open_clip_models._tokenizer(checkpoint)  # type: ignore[arg-type]
    assert tokenizer is None
    assert "tokenizer timm/ViT-B-16-SigLIP2 are not on this machine" in reason


def test_a_download_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(repository: str, name: str, tqdm_class: Any = None) -> str:
        bar = (tqdm_class or tqdm)(total=8_000_000, disable=False)
        for _ in range(4):
            bar.update(2_000_000)
        bar.close()
        return str(tmp_path / name)

    for name, stub in (
        ("hf_hub_download", fetched),
        ("try_to_load_from_cache", lambda *a: None),
        ("get_hf_file_metadata", lambda *a, **k: None),
    ):
        monkeypatch.setattr(f"huggingface_hub.{name}", stub)
    heard: list[tuple[int, int]] = []
    with downloads_reported(lambda done, of: heard.append((done, of))):
        assert (
            checkpoints.hub_file("x", "a/b", ("w.safetensors",), "") == tmp_path / "w.safetensors"
        )
    assert heard == [(2, 8), (4, 8), (6, 8), (8, 8)]
    checkpoints.hub_file("x", "a/b", ("w.safetensors",), "")
    assert len(heard) == 4, "nobody waits any more"


def test_tag_brings_its_activation_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--model ViT-B-32 --pretrained openai`` must run QuickGELU, which open_clip alone would only
    warn about.
    """
    weights = tmp_path / "open_clip_model.safetensors"
    save_file(open_clip.create_model("ViT-B-32").state_dict(), weights)
    monkeypatch.setattr(checkpoints, "hub_file", lambda *_: weights)
    gelu = {
        tag: type(
            load_encoder("ViT-B-32", tag, device="cpu").tower.transformer.resblocks[0].mlp.gelu
        ).__name__
        for tag in ("openai", "laion2b_s34b_b79k")
    }
    assert gelu == {"openai": "QuickGELU", "laion2b_s34b_b79k": "GELU"}


def test_weights_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clip = tiny_under_a_built_in_name(tmp_path, monkeypatch)
    file = tmp_path / "weights.safetensors"
    save_file(clip.state_dict(), file)
    encoder = load_encoder("tiny", str(file), device="cpu")
    assert (
        encoder.describe()["pretrained"] == "weights.safetensors"
    )  # no folder of this machine in a workspace
    assert encoder.weights_sha256 == digest_weights(clip.state_dict())
    assert "tiny-quickgelu" in caplog.text
    torch.save({"state_dict": clip.state_dict()}, tmp_path / "weights.pt")
    assert (
        load_encoder("tiny", str(tmp_path / "weights.pt"), device="cpu").weights_sha256
        == encoder.weights_sha256
    )


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("quick", [True, False])
def test_torchscript_archives_tell_their_activation(
    quick: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's own .pt is TorchScript with QuickGELU; others are not."""
    clip = tiny_under_a_built_in_name(tmp_path, monkeypatch, quick)
    monkeypatch.delitem(open_clip.factory._MODEL_CONFIGS["tiny"], "quick_gelu", raising=False)
    file = tmp_path / "ViT-tiny.pt"
    torch.jit.save(torch.jit.script(clip), file)
    with pytest.raises(ConsentNeeded, match="runs the code that it brings"):
        load_encoder("tiny", str(file), device="cpu")
    with archives_allowed(True):
        encoder = load_encoder("tiny", str(file), device="cpu")
    assert encoder.weights_sha256 == digest_weights(clip.state_dict())
    name = "QuickGELU" if quick else "GELU"
    assert type(encoder.tower.transformer.resblocks[0].mlp.gelu).__name__ == name
    assert encoder.settings["activation"].startswith(name)


def tiny_under_a_built_in_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool = False
) -> torch.nn.Module:
    folder = tmp_path / "model"
    make_tiny_clip(folder)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    config["quick_gelu"] = quick
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", config)
    clip = open_clip.CLIP(**config).eval()
    clip.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    return clip


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x04K\x01."])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_damaged_file(
    content: bytes, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_under_a_built_in_name(tmp_path, monkeypatch)
    (tmp_path / f"w.{suffix}").write_bytes(content)
    with pytest.raises(AigiError, match=r"w\..* (is empty|is no|cut off|holds)"):
        load_encoder("tiny", str(tmp_path / f"w.{suffix}"), device="cpu")


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_under_a_built_in_name(tmp_path, monkeypatch)
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "w.pt")
    with pytest.raises(AigiError, match="would run code"):
        load_encoder("tiny", str(tmp_path / "w.pt"), device="cpu")
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.file),)


def test_other_model_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_under_a_built_in_name(tmp_path, monkeypatch)
    save_file(
        {name: value for name, value in clip.state_dict().items() if "ln_post" not in name},
        tmp_path / "w.pt",
    )
    (tmp_path / "w.pt").rename(tmp_path / "w.safetensors")
    with pytest.raises(AigiError, match="ln_post"):
        load_encoder("tiny", str(tmp_path / "w.safetensors"), device="cpu")


def test_untrained_weights_follow_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_under_a_built_in_name(tmp_path, monkeypatch)
    state = torch.random.get_rng_state()
    one, same, other = (load_encoder("tiny", None, device="cpu", seed=seed) for seed in (4, 4, 5))
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256
    assert one.pretrained == "untrained (seed 4)"
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's randomness is left alone


def test_describes_and_encodes(tmp_path: Path) -> None:
    encoder = load_encoder(make_tiny_clip(tmp_path / "tiny"), None)
    described = json.loads(json.dumps(encoder.describe()))
    assert described["model"] == "local-dir:tiny"
    assert {
        name: described[name]
        for name in ("layers", "heads", "head_width", "width", "embedding_width")
    } == {"layers": 3, "heads": 4, "head_width": 8, "width": 32, "embedding_width": 24}
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    batch = encoder.encode_images(pixels)
    assert batch.embedding.shape == (5, 24)
    assert batch.heads.shape == (3, 4, 5, 8)
    assert batch.ln_post.shape == (5, 2)
    texts = encoder.encode_texts([f"a photo of {i}" for i in range(300)])
    assert texts.shape == (300, 24)
    assert np.allclose(texts[299], encoder.encode_texts(["a photo of 299"])[0], atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, 24)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_stays_near(precision: str, tmp_path: Path) -> None:
    model = make_tiny_clip(tmp_path / "tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    full, low = (
        load_encoder(model, None, "cpu", kind).encode_images(pixels) for kind in ("fp32", precision)
    )
    assert low.embedding.dtype == low.heads.dtype == torch.float32
    error = (low.embedding - full.embedding).norm() / full.embedding.norm()
    assert 0 < error < 0.05


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("tpu", "auto", "device 'tpu' is not available"),
        ("cuda:99", "auto", "'cuda:99' is not available"),
        ("cpu", "fp8", "precision 'fp8' is unknown"),
    ],
)
def test_device_and_precision(device: str, precision: str, message: str) -> None:
    with pytest.raises(AigiError, match=message):
        load_encoder("ViT-B-32", None, device, precision)


def test_the_number_of_threads_is_no_part_of_an_encoder(tmp_path: Path) -> None:
    """Sums are cut differently by one and two threads: embeddings differ in the last digits at
    most, far below what precision (half of it in fp16) already leaves open, so that the number of
    threads need not be recorded.
    """
    encoder = load_encoder(make_tiny_clip(tmp_path / "tiny"), None, "cpu", "fp32")
    size = encoder.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), dtype=np.uint8)
    before, result = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            result.append(encoder.encode_images(pixels).embedding.numpy())
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(result[0], result[1], rtol=1e-5, atol=1e-5)
