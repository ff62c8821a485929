"""Image towers of timm as encoders, without a text tower: ``timm:NAME``, or ``timm:NAME@STAGE`` for
the output of one of its stages.

``--pretrained`` takes a tag of timm (fetched from the hub) or a file of weights. DINOv3's class
token is used, as its authors do (timm would average). Stages are numbered as timm numbers them
(``model.feature_info``, from 0); a stage's output is averaged over positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aigi_core.arguments import did_you_mean
from aigi_core.clip._open_clip import timm
from aigi_core.clip.checkpoints import HUB_TIMEOUT
from aigi_core.clip.encoder import Encoder, activations, digest_weights
from aigi_core.clip.open_clip_models import quiet
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.clip.towers import Adapter, adapter_for
from aigi_core.clip.weights import State, read_weights
from aigi_core.errors import AigiError, HubError
from aigi_core.statements import counted

PREFIX = "timm:"
CLASS_TOKEN_TRUNKS = ("_dinov3",)
"""Models whose published use reads the class token where timm's default averages."""
NO_TEXTS = "models of timm have no text tower"
STAGE = "@"


def refuse_unknown(model: str, pretrained: str | None) -> None:
    """Raise AigiError for a name that is no model's, with the nearest ones; weights, and tags that
    only the hub may know, are not looked for.
    """
    base = model.removeprefix(PREFIX).partition(STAGE)[0].partition(".")[0]
    if base not in (known := timm.list_models()):
        meant = did_you_mean(base, known, 3)
        raise AigiError(f"timm has no model {base!r}{meant} timm.list_models() lists all.")


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
    refuse_unknown(model, pretrained)
    name, at, stage = model.removeprefix(PREFIX).partition(STAGE)
    base, _, own_tag = name.partition(".")
    file = Path(pretrained) if pretrained and Path(pretrained).is_file() else None
    tag = own_tag or (pretrained if pretrained and file is None else "")
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        trunk = build(f"{base}.{tag}" if tag else base, hub=bool(tag) and file is None)
    record = tag or f"untrained (seed {seed})"
    if file is not None:
        put_weights(trunk, read_weights(file).state, file, model)
        record = file.name
    model = f"{PREFIX}{base}{at}{stage}"
    tower = up_to_stage(trunk, stage, model) if at else trunk
    return as_encoder(tower, model, record, device, precision)


def as_encoder(
    tower: nn.Module, model: str, pretrained: str, device: torch.device, precision: str
) -> Encoder:
    """A trunk with its weights in place, or a :class:`Stage` of one, as an encoder.

    Args:
        model, pretrained: for the record.
    """
    tower = tower.eval().requires_grad_(False)
    trunk = getattr(tower, "cut", tower)
    data = timm.data.config.resolve_model_data_config(trunk)  # type: ignore[no-untyped-call]
    adapter = adapter_for(tower.to(device), width_of(tower))
    if tower is trunk and not adapter.gives.heads:
        _refuse_many_vectors(adapter, data["input_size"], model)
    return Encoder(
        library=f"timm {timm.__version__}",
        model=model,
        pretrained=pretrained,
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


def width_of(tower: Any) -> int:
    """Components of what a trunk without its classifier, or a :class:`Stage`, gives of an image.

    Some families (MobileNetV3, GhostNet, HGNet, VGG, ...) have one more layer behind the averaged
    positions, whose width timm calls ``head_hidden_size``; ``num_features`` is that of positions.
    """
    return int(getattr(tower, "head_hidden_size", None) or tower.num_features)


def _refuse_many_vectors(adapter: Adapter, size: tuple[int, int, int], model: str) -> None:
    """Raise AigiError where the trunk gives no one vector of an image: those that were made to
    stand before a language model give one for each position.
    """
    with torch.inference_mode():
        black = torch.zeros(1, *size, device=next(adapter.tower.parameters()).device)
        shape = tuple(adapter.tower(black).shape)
    if shape != (1, adapter.embedding_width):
        raise AigiError(
            f"Expected one vector an image, of width {adapter.embedding_width}, but {model} gives"
            f" {' x '.join(map(str, shape[1:]))}: name one of its stages, {model}{STAGE}NUMBER,"
            " which is averaged over positions, or another model."
        )


class Stage(nn.Module):
    """A trunk cut after one of its stages, whose output is averaged over positions.

    Attributes:
        num_features: channels of that stage.
    """

    why_no_heads = "what is read is the average over one of its stages, no sum over attention heads"

    def __init__(self, trunk: Any, stage: int) -> None:
        super().__init__()
        self.num_features = int(trunk.feature_info[stage]["num_chs"])
        trunk.prune_intermediate_layers([stage], prune_norm=True, prune_head=True)
        self.cut, self.stage = trunk, stage

    def forward(self, images: Float[Tensor, "B 3 size size"]) -> Float[Tensor, "B num_features"]:
        """The mean over positions (class and register tokens, if any, aside)."""
        [output] = self.cut.forward_intermediates(
            images, indices=[self.stage], stop_early=True, intermediates_only=True
        )
        mean: Tensor = output.mean(dim=(-2, -1))
        return mean


def up_to_stage(trunk: Any, stage: str, model: str) -> Stage:
    """A trunk up to the stage of that number; AigiError where it has no such stage."""
    stages = getattr(trunk, "feature_info", None) or ()
    if not hasattr(trunk, "forward_intermediates") or not stages:
        raise AigiError(
            f"timm gives no outputs of single stages of {model}: leave out {STAGE}{stage}."
        )
    if not stage.isdecimal() or int(stage) >= len(stages):
        widths = ", ".join(str(one["num_chs"]) for one in stages)
        raise AigiError(
            f"{model} names the stage {stage!r}: it has {counted(len(stages), 'stage')}, numbered"
            f" from 0, of {widths} channels."
        )
    return Stage(trunk, int(stage))


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


def put_weights(tower: Any, state: State, file: Path, model: str) -> None:
    """Put the weights read from a file into a trunk without its classifier.

    Raises:
        AigiError: they do not fit; says which names.
    """
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
