"""Small towers of every family with random weights, and pictures for them."""

from typing import Any

import numpy as np
import pytest
import torch

from aigi_core.capabilities import AVERAGE, CLASS_TOKEN, POOLED
from aigi_core.clip._open_clip import open_clip, timm
from aigi_core.clip.towers import Adapter, adapter_for
from tests.tiny_clip import randomise

SMALL = {"embed_dim": 32, "depth": 3, "num_heads": 4}
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "SigLIP": ("vit_base_patch16_siglip_224", {"pool": "map", "proj": "none"}, POOLED),
    "SigLIP 2": ("vit_base_patch32_siglip_256", {"pool": "map", "proj": "none"}, POOLED),
    "PE": ("vit_pe_core_base_patch16_224", {"pool": "map", "proj": ""}, POOLED),
    "MobileCLIP-B": ("vit_base_mci_224", {"pool": "token", "proj": ""}, CLASS_TOKEN),
    "EVA02": ("eva02_base_patch16_clip_224", {"pool": "token", "proj": ""}, CLASS_TOKEN),
    "EVA02-E": ("eva02_enormous_patch14_clip_224", {"pool": "token", "proj": ""}, CLASS_TOKEN),
    "EVA01": ("eva_giant_patch14_clip_224", {"pool": "token", "proj": ""}, CLASS_TOKEN),
    "ViTamin": ("vitamin_small_224", {"pool": "avg", "proj": "linear"}, AVERAGE),
    "linear head": ("eva02_base_patch16_clip_224", {"pool": "avg", "proj": "linear"}, AVERAGE),
}
TRUNKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "DINOv2": ("vit_small_patch14_dinov2", {}, CLASS_TOKEN),
    "DINOv2 registers": ("vit_small_patch14_reg4_dinov2", {}, CLASS_TOKEN),
    "DINOv3": ("vit_small_patch16_dinov3", {"global_pool": "token"}, CLASS_TOKEN),
    "DINOv3 averaged": ("vit_small_patch16_dinov3", {"global_pool": "avg"}, AVERAGE),
    "averaged, norm after": ("vit_base_patch16_224", {"global_pool": "avg"}, AVERAGE),
    "averaged, norm before": (
        "vit_base_patch16_224",
        {"global_pool": "avg", "fc_norm": False},
        AVERAGE,
    ),
    "SigLIP alone": ("vit_base_patch16_siglip_224", {}, POOLED),
}
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    "CLIPA": ({"pool_type": "avg", "final_ln_after_pool": True}, AVERAGE),
    "averaged after the norm": ({"pool_type": "avg"}, AVERAGE),
    "CoCa": ({"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5}, POOLED),
    "class token": ({}, CLASS_TOKEN),
    "class token, QuickGELU": ({"act_layer": open_clip.transformer.QuickGELU}, CLASS_TOKEN),
    "LayerScale": ({"pool_type": "avg", "ls_init_value": 0.5}, AVERAGE),
}


def of_open_clip(name: str, monkeypatch: pytest.MonkeyPatch, size: int, patch: int) -> Any:
    """open_clip's tower around a timm trunk of its class, small."""
    original, (trunk, options, _) = timm.create_model, FAMILIES[name]
    sizes = SMALL | {"img_size": size, "patch_size": patch}
    if name in ("MobileCLIP-B", "ViTamin"):  # their stems are as wide as the published models'
        sizes = {"img_size": size, "depth": 2}

    def small(model: str, **kwargs: Any) -> Any:
        return original(model, **(kwargs | sizes))

    monkeypatch.setattr(open_clip.timm_model.timm, "create_model", small)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.timm_model.TimmModel(
            trunk, embed_dim=24, image_size=size, proj_bias=True, **options
        )


def of_timm(name: str, size: int = 48, patch: int = 16) -> Any:
    trunk, options, _ = TRUNKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model(
            trunk, num_classes=0, img_size=size, patch_size=patch, **SMALL, **options
        )


def ready(tower: Any, width: int) -> tuple[Adapter, Any]:
    tower = randomise(tower.eval().requires_grad_(False), seed=1)
    generator = torch.Generator().manual_seed(3)
    for parameter in tower.parameters():  # as initialised, attention would hardly matter
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    return adapter_for(tower, width), getattr(tower, "trunk", tower)


def pictures(size: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def relative(result: Any, expected: Any) -> float:
    result, expected = np.asarray(result), np.asarray(expected)
    return float(np.linalg.norm(result - expected) / np.linalg.norm(expected))
