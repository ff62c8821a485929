"""A tiny CLIP on disk, as ``local-dir:DIR`` takes it: real code paths, milliseconds a batch."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from aigi_core.clip._open_clip import open_clip

VISION = {"image_size": 32, "layers": 3, "width": 32, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give biases, norms and scales values of their own: initialised to 0 and 1 they would hide
    mistakes.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def make_tiny_clip(folder: Path, seed: int = 0, **vision: object) -> str:
    """Write a tiny model; returns what goes to ``--model``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"embed_dim": 24, "vision_cfg": VISION | vision, "text_cfg": TEXT}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = randomise(open_clip.CLIP(**config), seed)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    )
    return f"local-dir:{folder}"
