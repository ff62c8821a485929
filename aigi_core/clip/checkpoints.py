"""From a model's name and a pretrained tag, file or folder to a configuration and its weights.

Everything remote is fetched here, file by file, so that a hub out of reach is told from a damaged
file, and at once: open_clip itself retries for a minute, and falls back to random weights for some
sources.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.downloads import progress_bar
from aigi_core.clip.names import unknown_model
from aigi_core.clip.weights import INDEX
from aigi_core.errors import AigiError, HubError
from aigi_core.record import read_json
from aigi_core.statements import counted

HUB_TIMEOUT = 5.0
"""Seconds after which a model hub counts as out of reach."""
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
USUAL_NAMES = (
    *WEIGHTS_NAMES,
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    f"model{INDEX}",
    "pytorch_model.bin",
)
"""Names of weights in a folder that are taken where other files lie beside them."""
SUFFIXES = ("safetensors", "bin", "pt", "pth")
CONFIG, HUGGING_FACE_CONFIG = "open_clip_config.json", "config.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's configuration and weights are.

    Attributes:
        tokenizer: what open_clip's ``get_tokenizer`` takes; empty for CLIP's own.
        weights: None for untrained weights.
        config: open_clip's configuration of the model.
        settings: what is said beside it of preprocessing (and, by a tag, of the activation).
        record: model and pretrained, as they stand in a workspace; names no folder of this machine.
    """

    tokenizer: str
    weights: Path | None
    config: Mapping[str, Any] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    record: tuple[str, str] = ("", "")


def refuse_unknown(model: str, pretrained: str | None) -> None:
    """Raise AigiError for a name that is no model's, with the nearest ones, and for weights that
    are neither a file nor a tag of it; weights are not looked for.
    """
    scheme = model.partition(":")[0]
    if scheme == "hf-hub" and pretrained is not None:
        raise AigiError(
            f"The model {model} brings its own weights: leave out --pretrained {pretrained}."
        )
    if scheme in ("hf-hub", "local-dir"):
        return
    if open_clip.get_model_config(model) is not None:
        known = pretrained is None or open_clip.get_pretrained_cfg(model, pretrained)
        if not (known or Path(str(pretrained)).is_file()):
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
            raise AigiError(
                f"{pretrained!r} is neither a weights file nor a pretrained tag of {model} (its"
                f" tags: {tags})."
            )
        return
    raise unknown_model(model, open_clip.list_models())


def find_checkpoint(model: str, pretrained: str | None, seed: int = 0) -> Checkpoint:
    """Find, or fetch, configuration and weights; arguments and errors as in
    :func:`aigi_core.clip.encoder.load_encoder`.
    """
    refuse_unknown(model, pretrained)
    scheme, _, rest = model.partition(":")
    if scheme == "hf-hub":
        return _from_hub(rest)
    if scheme == "local-dir":
        return _from_folder(Path(rest), pretrained)
    config = open_clip.get_model_config(model)
    if pretrained is None:
        return Checkpoint(model, None, config, record=(model, f"untrained (seed {seed})"))
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        weights = _from_tag(model, pretrained, tag)
        return Checkpoint(model, weights, config, dict(tag), record=(model, pretrained))
    file = Path(pretrained)
    return Checkpoint(model, file, config, record=(model, file.name))


# Folders


def _from_folder(folder: Path, pretrained: str | None) -> Checkpoint:
    folder = _revision_of(folder)
    ours, theirs = folder / CONFIG, folder / HUGGING_FACE_CONFIG
    if pretrained is not None and not (folder / Path(pretrained).name).is_file():
        raise AigiError(
            f"The model local-dir:{folder} brings its own weights, and {pretrained!r} is none of"
            f" its files: leave out --pretrained {pretrained}, or name a file of that folder."
        )
    files = _weights_in(folder)
    if not (files and (ours.is_file() or theirs.is_file())):
        raise AigiError(
            f"The folder {folder} holds no open_clip model: it needs {CONFIG} (or the {theirs.name}"
            " that save_pretrained of transformers writes) and weights."
        )
    weights = folder / Path(pretrained).name if pretrained else _the_one(files, folder)
    usual = weights.name in USUAL_NAMES
    record = (f"local-dir:{folder.name}", "" if usual else weights.name)
    if ours.is_file():
        described = _json(ours)
        config = described.get("model_cfg")
        if not isinstance(config, Mapping) or not {"embed_dim", "vision_cfg"} <= set(config):
            raise AigiError(
                f"{ours} describes no model of open_clip: it needs 'model_cfg' with 'embed_dim' and"
                " 'vision_cfg'."
            )
        settings = described.get("preprocess_cfg") or {}
        return Checkpoint(f"local-dir:{folder}", weights, config, settings, record)
    config, settings = hugging_face_config(_json(theirs), theirs)
    tokenizer = f"local-dir:{folder}" if "custom_text" in config else ""
    return Checkpoint(tokenizer, weights, config, settings, record)


def _revision_of(folder: Path) -> Path:
    """The one revision that a repository's folder in the hub's cache holds; else the folder.

    Raises:
        AigiError: several revisions.
    """
    revisions = sorted(path for path in (folder / "snapshots").glob("*") if path.is_dir())
    if len(revisions) > 1:
        raise AigiError(
            f"The folder {folder} holds {counted(len(revisions), 'revision')} of one repository:"
            f" say which, such as --model local-dir:{revisions[0]}."
        )
    return revisions[0] if revisions else folder


def _weights_in(folder: Path) -> list[Path]:
    files = {path for kind in SUFFIXES for path in folder.glob(f"*.{kind}")}
    indices = list(folder.glob(f"*{INDEX}"))
    for index in indices:  # its parts are no weights by themselves
        names = _json(index).get("weight_map")
        if isinstance(names, Mapping):
            files -= {folder / str(name) for name in names.values()}
    return sorted({*files, *indices})


def _the_one(files: list[Path], folder: Path) -> Path:
    """The file to take; AigiError where several could be meant."""
    usual = [file for name in USUAL_NAMES for file in files if file.name == name]
    if not usual and len(files) > 1:
        raise AigiError(
            f"The folder {folder} holds several weights"
            f" ({', '.join(file.name for file in files)}): say which with --pretrained, such as"
            f" --model local-dir:{folder} --pretrained {files[0].name}."
        )
    taken = (usual or files)[0]
    if len(files) > 1:
        log.warning("Of the weights in %s, %s is taken.", folder, taken.name)
    return taken


def _json(file: Path) -> dict[str, Any]:
    try:
        described = read_json(file)
    except (OSError, ValueError) as error:
        raise AigiError(f"{file} cannot be read as JSON ({error}): fetch it again.") from error
    if not isinstance(described, dict):
        raise AigiError(f"{file} describes no model: fetch it again.")
    return described


def hugging_face_config(
    described: Mapping[str, Any], file: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """open_clip's configuration of a CLIPModel or SiglipModel that transformers saved, and what is
    said of preprocessing.

    Raises:
        AigiError: another kind of model, or one whose sizes open_clip cannot build.
    """
    kind = str(described.get("model_type"))
    vision, text = described.get("vision_config", {}), described.get("text_config", {})
    try:
        if kind == "clip":
            return _clip_config(described, vision, text), _preprocessor(file)
        if kind in ("siglip", "siglip2"):
            return _siglip_config(vision), _preprocessor(file)
    except KeyError as error:
        raise AigiError(
            f"{file} lacks {error}: save the model with save_pretrained again."
        ) from error
    raise AigiError(
        f"{file} describes a model of the type {kind!r}: of transformers' models, CLIPModel and"
        " SiglipModel can be read; others as open_clip or timm publish them."
    )


CLIP_VISION = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 32,
    "image_size": 224,
    "hidden_act": "quick_gelu",
}
CLIP_TEXT = {
    "hidden_size": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "hidden_act": "quick_gelu",
}
"""What transformers leaves out of a saved configuration where it is the default."""


def _clip_config(
    described: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any]
) -> dict[str, Any]:
    v: dict[str, Any] = CLIP_VISION | dict(vision)
    t: dict[str, Any] = CLIP_TEXT | dict(text)
    for side in (v, t):
        side.setdefault("intermediate_size", 4 * side["hidden_size"])
    if v["hidden_act"] != t["hidden_act"] or v["hidden_act"] not in ("quick_gelu", "gelu"):
        raise AigiError(
            f"The model's activations are {v['hidden_act']!r} for images and {t['hidden_act']!r}"
            " for texts: open_clip runs both with gelu, or both with quick_gelu."
        )
    eps = float(v.get("layer_norm_eps", 1e-5))
    return {
        "embed_dim": int(described.get("projection_dim", 512)),
        "quick_gelu": v["hidden_act"] == "quick_gelu",
        "vision_cfg": {
            "image_size": v["image_size"],
            "layers": v["num_hidden_layers"],
            "width": v["hidden_size"],
            "head_width": v["hidden_size"] // v["num_attention_heads"],
            "mlp_ratio": v["intermediate_size"] / v["hidden_size"],
            "patch_size": v["patch_size"],
            **({} if eps == 1e-5 else {"norm_kwargs": {"eps": eps}}),
        },
        "text_cfg": {
            "context_length": t["max_position_embeddings"],
            "vocab_size": t["vocab_size"],
            "width": t["hidden_size"],
            "heads": t["num_attention_heads"],
            "layers": t["num_hidden_layers"],
            "mlp_ratio": t["intermediate_size"] / t["hidden_size"],
        },
    }


def _siglip_config(vision: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "patch_size": 16, "image_size": 224}
    v = sizes | dict(vision)
    names = {(768, 12): "base", (1024, 24): "large", (1152, 27): "so400m"}
    name = names.get((v["hidden_size"], v["num_hidden_layers"]), "none")
    trunk = f"vit_{name}_patch{v['patch_size']}_siglip_{v['image_size']}"
    for model in open_clip.list_models():
        config: dict[str, Any] = open_clip.get_model_config(model)
        if config["vision_cfg"].get("timm_model_name") == trunk and "SigLIP2" not in model:
            if v.get("hidden_act", "gelu_pytorch_tanh") != "gelu":
                log.warning(
                    "The image tower of %s runs with its own activation, the folder's configuration"
                    " says %s: features differ in the third digit where these are not the same.",
                    model,
                    v.get("hidden_act", "gelu_pytorch_tanh"),
                )
            return config
    raise AigiError(
        f"There is no SigLIP of width {v['hidden_size']},"
        f" {counted(v['num_hidden_layers'], 'layer')}, patch"
        f" {v['patch_size']} and {v['image_size']} pixels in open_clip: give --model the name of"
        " open_clip's configuration and --pretrained the weights file."
    )


def _preprocessor(config: Path) -> dict[str, Any]:
    """What ``preprocessor_config.json`` beside a configuration says, in open_clip's words."""
    file = config.with_name("preprocessor_config.json")
    if not file.is_file():
        return {}
    recorded = _json(file)
    settings: dict[str, Any] = {}
    for theirs, ours in (("image_mean", "mean"), ("image_std", "std")):
        if theirs in recorded:
            settings[ours] = tuple(recorded[theirs])
    filters = {2: "bilinear", 3: "bicubic"}
    if recorded.get("resample") in filters:
        settings["interpolation"] = filters[recorded["resample"]]
    if recorded.get("do_center_crop") is False or "shortest_edge" not in (
        recorded.get("size") or {}
    ):
        settings["resize_mode"] = "squash" if recorded.get("size") else "shortest"
    return settings


# The hub


def _from_hub(repository: str) -> Checkpoint:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    model = f"hf-hub:{repository}"
    try:
        validate_repo_id(repository)
        owner, _, name = repository.partition("/")
        sound = bool(owner and name)
    except HFValidationError:
        sound = False
    if not sound:
        raise AigiError(
            f"{model!r} names no repository of the model hub: write hf-hub:OWNER/REPO, such as"
            " hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K."
        )
    instead = (
        f"download all files of https://huggingface.co/{repository} elsewhere into a folder DIR and"
        " give --model local-dir:DIR"
    )
    what = f"weights of {model}"
    config = hub_file(what, repository, (CONFIG,), instead)
    weights = hub_file(what, repository, WEIGHTS_NAMES, instead)
    checkpoint = _from_folder(config.parent, weights.name)
    return Checkpoint(
        checkpoint.tokenizer, weights, checkpoint.config, checkpoint.settings, (model, "")
    )


def _from_tag(model: str, pretrained: str, tag: Mapping[str, Any]) -> Path:
    repository, _, file = str(tag["hf_hub"]).rpartition("/")
    name = model
    quick = f"{model}-quickgelu"
    if tag.get("quick_gelu") and not open_clip.get_model_config(model).get("quick_gelu"):
        name = quick if quick in open_clip.list_models() else model
    names = (file,) if file else WEIGHTS_NAMES
    instead = (
        f"download {names[0]} of https://huggingface.co/{repository} elsewhere and give --model"
        f" {name} --pretrained FILE"
    )
    return hub_file(f"weights of {model} {pretrained}", repository, names, instead)


def hub_file(what: str, repository: str, names: Iterable[str], instead: str) -> Path:
    """The first of these files that the hub has, from its cache or downloaded; AigiError where it
    is out of reach, with what to do ``instead``.
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
            return Path(hf_hub_download(repository, name, tqdm_class=progress_bar()))
        except EntryNotFoundError as error:
            last = error
        except Exception as error:
            last = error
            break
    reason = " ".join(str(last).split())[:160]
    raise HubError(
        f"The {what} are not on this machine and the model hub did not give them"
        f" ({reason}): {instead}."
    ) from last
