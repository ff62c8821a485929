"""Image towers of timm as encoders, without a text tower: ``timm:NAME``.

``--pretrained`` takes a tag of timm (fetched from the hub) or a file of weights. DINOv3's class
token is used, as its authors do (timm would average).
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch

from aigi_core.clip._open_clip import timm
from aigi_core.clip.checkpoints import HUB_TIMEOUT
from aigi_core.clip.encoder import Encoder, activations, digest_weights
from aigi_core.clip.open_clip_models import quiet
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.clip.towers import adapter_for
from aigi_core.clip.weights import read_weights
from aigi_core.errors import AigiError, HubError

PREFIX = "timm:"
CLASS_TOKEN_TRUNKS = ("_dinov3",)
"""Models whose published use reads the class token where timm's default averages."""
NO_TEXTS = "models of timm have no text tower"


def load(
    model: str,
    pretrained: str | None,
    device: torch.device,
    precision: str,
    seed: int = 0,
    activation: str = "",
) -> Encoder:
    """A timm model without its classifier; arguments and errors as in
    :func:`aigi_core.clip.encoder.load_encoder`.
    """
    del activation
    name = model.removeprefix(PREFIX)
    base, _, own_tag = name.partition(".")
    if base not in timm.list_models():
        near = difflib.get_close_matches(base, timm.list_models(), 3, 0.4)
        raise AigiError(
            f"timm has no model {base!r}; near it are {', '.join(near) or 'none'}: see"
            " timm.list_models()."
        )
    file = Path(pretrained) if pretrained and Path(pretrained).is_file() else None
    tag = own_tag or (pretrained if pretrained and file is None else "")
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        tower = build(f"{base}.{tag}" if tag else base, hub=bool(tag) and file is None)
    if file is not None:
        _put(tower, file, model)
        record = file.name
    else:
        record = tag or f"untrained (seed {seed})"
    tower = tower.eval().requires_grad_(False)
    data = timm.data.config.resolve_model_data_config(tower)  # type: ignore[no-untyped-call]
    width = int(tower.num_features)
    adapter = adapter_for(tower.to(device), width)
    return Encoder(
        library=f"timm {timm.__version__}",
        model=f"{PREFIX}{base}",
        pretrained=record,
        adapter=adapter,
        preprocessing=preprocessing(data),
        text=None,
        tokenizer=None,
        weights_sha256=digest_weights(tower.state_dict()),
        device=device,
        precision=precision,
        why_no_texts=NO_TEXTS,
        settings={"activation": activations(tower), "attention": "scaled dot product"},
    )


def build(name: str, hub: bool = False) -> Any:
    """A trunk without its classifier; weights from the hub where asked for.

    Raises:
        AigiError: the hub did not give them.
    """
    pool: dict[str, Any] = (
        {"global_pool": "token"} if any(t in name for t in CLASS_TOKEN_TRUNKS) else {}
    )
    try:
        if hub:
            _reach(name)
        return timm.create_model(name, pretrained=hub, num_classes=0, **pool)
    except Exception as error:  # timm and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise (HubError if hub else AigiError)(
            f"The model {PREFIX}{name} could not be had ({reason}): download its weights elsewhere"
            " and give the file to --pretrained, or check its tag (timm.list_pretrained())."
        ) from error


def _reach(name: str) -> None:
    """Ask the hub once, briefly: its client would retry for half a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    known = timm.get_pretrained_cfg(name)
    repository = known.hf_hub_id if known else ""
    if not repository:
        return
    repository = f"timm/{name}" if repository == "timm/" else repository
    if isinstance(try_to_load_from_cache(repository, "model.safetensors"), str):
        return
    get_hf_file_metadata(hf_hub_url(repository, "model.safetensors"), timeout=HUB_TIMEOUT)


def _put(tower: Any, file: Path, model: str) -> None:
    state = read_weights(file).state
    convert = getattr(
        __import__(type(tower).__module__, fromlist=["x"]), "checkpoint_filter_fn", None
    )
    wanted = tower.state_dict()
    if convert is not None and set(state) != set(wanted):
        state = convert(state, tower)
    classifier = tower.pretrained_cfg.get("classifier") or "head"
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    state = {n: v for n, v in state.items() if n in wanted or not n.startswith(names)}
    missing, left_over = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    shapes = sorted(n for n in wanted if n in state and wanted[n].shape != state[n].shape)
    if missing or left_over or shapes:
        raise AigiError(
            f"The weights {file} do not fit {model} (missing: {', '.join(missing) or 'none'};"
            f" unknown: {', '.join(left_over) or 'none'}; of other shapes:"
            f" {', '.join(shapes) or 'none'}): give a weights file of exactly this model."
        )
    tower.load_state_dict(state)


def preprocessing(data: dict[str, Any]) -> Preprocessing:
    """From timm's data configuration: the whole shorter side is kept (crop_pct 1), as open_clip
    does it.
    """
    return Preprocessing.from_open_clip(
        {
            "size": data["input_size"][1:],
            "mean": data["mean"],
            "std": data["std"],
            "interpolation": data["interpolation"],
            "resize_mode": "squash" if data.get("crop_mode") == "squash" else "shortest",
        }
    )
