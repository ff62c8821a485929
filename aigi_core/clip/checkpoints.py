"""From a model's name and a pretrained tag or file to an open_clip model with its weights in place.

Everything remote is fetched here, file by file, so that a hub out of reach is told from a damaged
file, and at
once: open_clip itself retries for a minute, and falls back to random weights for some sources.
"""

from __future__ import annotations

import difflib
import logging
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.capture import check_supported
from aigi_core.errors import AigiError

HUB_TIMEOUT = 5.0
"""Seconds after which a model hub counts as out of reach."""
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TORCHSCRIPT_NOTES = ("input_resolution", "context_length", "vocab_size", "attn_mask")
"""What TorchScript archives carry among the weights: numbers in OpenAI's, the text tower's fixed
mask in others.
"""
SCHEMES = ("hf-hub", "local-dir")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's configuration and weights are.

    Attributes:
        name: open_clip's name of the configuration (``local-dir:DIR`` where the weights lie beside
            it).
        weights: None for untrained weights.
        settings: what the pretrained tag says of preprocessing and activation.
        record: what stands in a workspace; names no folder of this machine.
    """

    name: str
    weights: Path | None
    settings: dict[str, Any] = field(default_factory=dict)
    record: tuple[str, str] = ("", "")


def find_checkpoint(model: str, pretrained: str | None, seed: int = 0) -> Checkpoint:
    """Find, or fetch, the weights; arguments and errors as in
    :func:`aigi_core.clip.encoder.load_encoder`.
    """
    scheme, _, rest = model.partition(":")
    if scheme in SCHEMES:
        if pretrained is not None:
            raise AigiError(
                f"The model {model} brings its own weights: leave out --pretrained {pretrained}."
            )
        return _from_hub(rest) if scheme == "hf-hub" else _from_folder(Path(rest))
    known = open_clip.list_models()
    if model not in known:
        near = difflib.get_close_matches(model, ["demo", *known], n=3, cutoff=0.3)
        raise AigiError(
            f"There is no model {model!r}; near it are {', '.join(near) or 'ViT-B-16, ViT-L-14'}."
        )
    config = open_clip.get_model_config(model)
    with torch.device("meta"), _quiet():  # refused before gigabytes are fetched
        check_supported(
            open_clip.model._build_vision_tower(config["embed_dim"], config["vision_cfg"]), model
        )
    if pretrained is None:
        return Checkpoint(model, None, record=(model, f"untrained (seed {seed})"))
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    return _from_tag(model, pretrained, tag) if tag else _from_file(model, pretrained)


def load_clip(checkpoint: Checkpoint, seed: int = 0) -> torch.nn.Module:
    """An open_clip model on the CPU, in eval mode, without gradients; raises AigiError for weights
    that do not fit.
    """
    weights = checkpoint.weights
    torchscript = weights is not None and _is_torchscript(weights)
    beside_config = checkpoint.name.startswith("local-dir:")
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        try:
            clip: torch.nn.Module = open_clip.create_model(
                checkpoint.name,
                pretrained=(
                    None if weights is None or torchscript or beside_config else str(weights)
                ),
                # A tag knows its activation (open_clip alone would only warn that ViT-L-14 openai
                # needs QuickGELU); and only OpenAI published CLIP as TorchScript, all of it with
                # QuickGELU.
                force_quick_gelu=torchscript or bool(checkpoint.settings.get("quick_gelu")),
                force_preprocess_cfg=checkpoint.settings,
                pretrained_text=False,
                require_pretrained=not (weights is None or torchscript),
            )
            if torchscript:
                clip.load_state_dict(_torchscript_state(str(weights)))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise AigiError(
                f"The weights {weights} could not be loaded into the model {checkpoint.name!r}"
                f" ({reason}): give a weights file of exactly this model (.safetensors, or .pt"
                " holding a state dict)."
            ) from error
    return clip.eval().requires_grad_(False)


def _from_hub(repository: str) -> Checkpoint:
    model = f"hf-hub:{repository}"
    config = _fetch(model, repository, ("open_clip_config.json",))
    weights = _fetch(model, repository, WEIGHTS_NAMES)
    return Checkpoint(f"local-dir:{config.parent}", weights, record=(model, ""))


def _from_folder(folder: Path) -> Checkpoint:
    found = sorted(
        path for kind in ("safetensors", "bin", "pth") for path in folder.glob(f"*.{kind}")
    )
    if not (found and (folder / "open_clip_config.json").is_file()):
        raise AigiError(
            f"The folder {folder} holds no open_clip model: it needs open_clip_config.json and"
            " weights."
        )
    return Checkpoint(f"local-dir:{folder}", found[0], record=(f"local-dir:{folder.name}", ""))


def _from_file(model: str, pretrained: str) -> Checkpoint:
    if not Path(pretrained).is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise AigiError(
            f"{pretrained!r} is neither a weights file nor a pretrained tag of {model} (its tags:"
            f" {tags})."
        )
    file = Path(pretrained)
    if not (open_clip.get_model_config(model).get("quick_gelu") or _is_torchscript(file)):
        log.warning(
            f"{file.name} is run with GELU, the activation of {model}; weights trained with"
            f" QuickGELU, such as OpenAI's, need the model {model}-quickgelu."
        )
    return Checkpoint(model, file, record=(model, file.name))


def _from_tag(model: str, pretrained: str, tag: dict[str, Any]) -> Checkpoint:
    repository, _, file = str(tag["hf_hub"]).rpartition("/")
    weights = _fetch(f"{model} {pretrained}", repository, (file,) if file else WEIGHTS_NAMES)
    return Checkpoint(model, weights, dict(tag), record=(model, pretrained))


def _fetch(what: str, repository: str, names: Iterable[str]) -> Path:
    """The first of these files that the hub has, from its cache or downloaded; AigiError where it
    is out of reach.
    """
    from huggingface_hub import (
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
        try_to_load_from_cache,
    )
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        cached = try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    last: Exception | None = None
    for name in names:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name), timeout=HUB_TIMEOUT)
            return Path(hf_hub_download(repository, name))
        except EntryNotFoundError as error:
            last = error
        except Exception as error:
            last = error
            break
    reason = " ".join(str(last).split())[:160]
    raise AigiError(
        f"The weights of {what} are not on this machine and the model hub did not give them"
        f" ({reason}): download https://huggingface.co/{repository} elsewhere and give the weights"
        " file to --pretrained."
    ) from last


def _is_torchscript(weights: Path) -> bool:
    if not zipfile.is_zipfile(weights):
        return False
    with zipfile.ZipFile(weights) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _torchscript_state(weights: str) -> dict[str, Tensor]:
    state = torch.jit.load(weights, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return {name: value for name, value in state.items() if name not in TORCHSCRIPT_NOTES}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's log of what it looks for: what matters of it is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
