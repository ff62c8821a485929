"""Texts of SigLIP 2 and MetaCLIP 2 ("worldwide"), whose tokenizers are Hugging Face's: their files
in the model's folder, no hub. Needs transformers, which CI does not install.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from aigi_core.clip import open_clip_models
from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.text import count_cut, embed, whole_words
from tests.tiny_clip import VISION, randomise

WORDS = ("a", "photo", "of", "cat", "dog", "shoe", "painting")
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
LENGTH = 8
TEXT = {"width": 16, "heads": 2, "layers": 1, "context_length": LENGTH}
SIGLIP2 = TEXT | {
    "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
}
WORLDWIDE = TEXT | {
    "hf_tokenizer_name": "facebook/xlm-v-base",
    "pool_type": "eos",
    "eos_id": SPECIAL.index("<eos>"),
}
POOLED = {
    "image_size": 32,
    "timm_model_name": "test_vit",
    "timm_pool": "map",
    "timm_proj": "none",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "SigLIP 2": {"embed_dim": 64, "custom_text": True, "vision_cfg": POOLED, "text_cfg": SIGLIP2},
    "MetaCLIP 2": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": WORLDWIDE},
}


def write_tokenizer(folder: Path) -> int:
    """A small tokenizer of the published kind (pieces that begin with "▁"); its vocabulary's
    size.
    """
    letters = sorted(set("".join(WORDS)))
    pieces = [*SPECIAL, "▁", *(f"▁{word}" for word in WORDS), *letters]
    vocabulary = [
        (piece, -float(rank > 3) * (1 + len(piece) % 3)) for rank, piece in enumerate(pieces)
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=SPECIAL.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", SPECIAL.index("<eos>"))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return len(pieces)


def write_model(folder: Path, family: str) -> str:
    """A small model of the family with random weights and its tokenizer; what ``--model`` takes."""
    config = json.loads(json.dumps(CONFIGS[family]))
    config["text_cfg"]["vocab_size"] = write_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = randomise(open_clip_models.build(config)[1])
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    return f"local-dir:{folder}"


@pytest.mark.parametrize("family", CONFIGS)
def test_texts_from_a_folder(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")

    def asked(*_: Any) -> Path:
        raise AssertionError("the hub is not asked for what the folder holds")

    monkeypatch.setattr(open_clip_models, "hub_file", asked)
    encoder = load_encoder(write_model(tmp_path, family), None, device="cpu")
    assert encoder.gives.has("texts") and encoder.gives.heads
    texts = ["a photo of a cat", "a painting of a shoe", "dog"]
    rows = embed(encoder, texts)
    assert rows.shape == (3, encoder.embedding_width)
    cosines = rows.astype(np.float32) @ rows.T.astype(np.float32)
    assert np.allclose(np.diag(cosines), 1, atol=1e-2) and cosines[0, 1] < 0.999

    checkpoint = open_clip_models.find_checkpoint(f"local-dir:{tmp_path}", None)
    whole = open_clip_models.load_model(checkpoint).whole
    with torch.inference_mode():  # as the library itself reads the folder
        expected = whole.encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path}")(texts))
    np.testing.assert_allclose(encoder.encode_texts(texts), expected, atol=1e-6)

    words = whole_words(encoder.tokenizer)["text"].tolist()
    assert set(WORDS) <= set(words)
    long = " ".join(["cat"] * (LENGTH + 3))
    assert count_cut(encoder.tokenizer, [*texts, long]) == 1


@pytest.mark.parametrize("family", CONFIGS)
def test_without_transformers_the_message_names_the_extra(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip_models, "find_spec", lambda name: None)
    encoder = load_encoder(write_model(tmp_path, family), None, device="cpu")
    assert "pip install -r requirements-text.txt" in encoder.gives.lacks["texts"]
    pixels = np.zeros((1, encoder.preprocessing.size, encoder.preprocessing.size, 3), np.uint8)
    assert encoder.encode_images(pixels).embedding.shape == (1, encoder.embedding_width)


def test_a_folder_without_the_files_asks_the_hub_and_says_where_they_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def hub_file(what: str, repository: str, names: Any, instead: str) -> Path:
        asked.append(f"{what}: {instead}")
        return tmp_path

    monkeypatch.setattr(open_clip_models, "hub_file", hub_file)
    checkpoint: Any = SimpleNamespace(tokenizer=f"local-dir:{tmp_path}")
    name = "timm/ViT-B-16-SigLIP2"
    assert open_clip_models._tokenizer_files(checkpoint, name) == name
    assert name in asked[0] and "download tokenizer.json" in asked[0] and "beside" in asked[0]
    write_tokenizer(tmp_path)
    assert open_clip_models._tokenizer_files(checkpoint, name) == str(tmp_path)
    assert len(asked) == 1
