"""open_clip's models as encoders: built from their configuration, weights put in place by name.

open_clip itself would resample weights of another image size or text length without a word, cut
the list of names that do not fit, and refuse a model whose text tower wants further packages; here
each of these is said, and the image tower serves without its text tower.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.checkpoints import CONFIG, Checkpoint, find_checkpoint, hub_file
from aigi_core.clip.encoder import TEXTS_A_BATCH, Encoder, activations, digest_weights
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.clip.prompts import TextTower
from aigi_core.clip.towers import adapter_for
from aigi_core.clip.weights import QUICK_GELU, State, read_weights, with_open_clip_names
from aigi_core.errors import AigiError
from aigi_core.statements import counted

IMAGE = "visual."
TEXT_NAMES = (
    "text_projection",
    "positional_embedding",
    "token_embedding",
    "transformer",
    "ln_final",
)
SCALES = ("logit_scale", "logit_bias")
TEXT_EXTRA = "requirements-text.txt"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
"""What transformers saves of a tokenizer; the first holds its vocabulary."""
SHOWN = 40
"""Names listed where weights do not fit: enough to see the pattern, few enough to read."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Model:
    """A model with its weights in place.

    Attributes:
        tower: the image tower.
        whole: the model with its text tower; None where that cannot be had.
        why_no_texts: why not, as a clause.
        state: its weights, by open_clip's names.
    """

    tower: Any
    whole: Any
    why_no_texts: str
    state: State


def load(
    model: str,
    pretrained: str | None,
    device: torch.device,
    precision: str,
    seed: int = 0,
    activation: str = "",
) -> Encoder:
    """An encoder of open_clip; arguments and errors as in
    :func:`aigi_core.clip.encoder.load_encoder`.
    """
    checkpoint = find_checkpoint(model, pretrained, seed)
    built = load_model(checkpoint, seed, activation)
    tokenizer, why_no_texts = None, built.why_no_texts
    if not why_no_texts:
        tokenizer, why_no_texts = _tokenizer(checkpoint)
    settings: dict[str, Any] = {
        "activation": activations(built.tower),
        "attention": "scaled dot product",
    }
    if not why_no_texts:
        settings["text_length"] = int(built.whole.context_length)
    tower = built.tower.to(device)
    whole = None if built.whole is None else built.whole.to(device)

    def forward(texts: Sequence[str]) -> Tensor:
        assert tokenizer is not None and whole is not None
        rows: Tensor = whole.encode_text(tokenizer(list(texts)).to(device))
        return rows

    @torch.inference_mode()
    def encode_texts(texts: Sequence[str]) -> Float32[np.ndarray, "T d"]:
        batches = (texts[i : i + TEXTS_A_BATCH] for i in range(0, len(texts), TEXTS_A_BATCH))
        return np.concatenate([forward(batch).float().cpu().numpy() for batch in batches])

    return Encoder(
        library=f"open_clip {open_clip.__version__}",
        model=checkpoint.record[0],
        pretrained=checkpoint.record[1],
        adapter=adapter_for(tower, int(checkpoint.config["embed_dim"])),
        preprocessing=_preprocessing(checkpoint, tower),
        text=None if why_no_texts else encode_texts,
        text_tower=None if why_no_texts else TextTower(_token_embedding(whole), forward),
        tokenizer=tokenizer,
        weights_sha256=digest_weights(built.state),
        device=device,
        precision=precision,
        why_no_texts=why_no_texts,
        settings=settings,
    )


def _token_embedding(whole: Any) -> nn.Module:
    """The module that gives ids of tokens their vectors: open_clip's, or of a transformer of
    Hugging Face."""
    tower = whole if hasattr(whole, "token_embedding") else whole.text
    if hasattr(tower, "token_embedding"):
        embedding: nn.Module = tower.token_embedding
    else:
        embedding = tower.transformer.get_input_embeddings()
    return embedding


def load_model(checkpoint: Checkpoint, seed: int = 0, activation: str = "") -> Model:
    """Build a model on the CPU, in eval mode, without gradients, and put its weights in place.

    Args:
        activation: ``QuickGELU`` or ``GELU``, where it is known from elsewhere (a workspace's
            record); empty takes what the tag, the file or the configuration says.

    Raises:
        AigiError: weights that cannot be read or do not fit.
    """
    weights = None if checkpoint.weights is None else read_weights(checkpoint.weights)
    quick = bool(checkpoint.config.get("quick_gelu"))
    known = activation or (weights.activation if weights else "")
    if checkpoint.settings.get("quick_gelu") and not activation:
        known = QUICK_GELU
    is_timm = bool(checkpoint.config["vision_cfg"].get("timm_model_name"))
    if known and not is_timm:
        if weights is not None and quick and known != QUICK_GELU and not activation:
            log.warning(
                f"The weights {checkpoint.weights} were made with GELU, the configuration of"
                f" {checkpoint.record[0]} says QuickGELU: they are run with GELU."
            )
        quick = known == QUICK_GELU
    elif weights is not None and not quick and not is_timm and not checkpoint.settings:
        folder = checkpoint.record[0].startswith("local-dir:")
        log.warning(
            f"{checkpoint.weights.name if checkpoint.weights else 'The model'} is run with GELU,"
            f" the activation of {checkpoint.record[0]}; weights trained with QuickGELU, such as"
            " OpenAI's, need "
            + (
                f"'quick_gelu': true beside 'embed_dim' in its {CONFIG}."
                if folder
                else f"the model {checkpoint.record[0]}-quickgelu."
            )
        )
    config = deepcopy(dict(checkpoint.config)) | {"quick_gelu": quick}
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        tower, whole, why = build(config)
    if weights is not None:
        state = fitted(
            with_open_clip_names(weights.state), tower, whole, checkpoint, weights_file(checkpoint)
        )
        target = whole if whole is not None and not _image_only(state) else tower
        if target is tower:
            why = why or "its weights file holds the image tower only"
            whole = None
            tower.load_state_dict({name.removeprefix(IMAGE): v for name, v in state.items()})
        else:
            whole.load_state_dict(state)
    kept = {f"{IMAGE}{k}": v for k, v in tower.state_dict().items()}
    for module in (tower, whole):
        if module is not None:
            module.eval().requires_grad_(False)
    return Model(tower, whole, why, whole.state_dict() if whole is not None else kept)


def weights_file(checkpoint: Checkpoint) -> Path:
    """The file that the weights come from."""
    assert checkpoint.weights is not None
    return checkpoint.weights


def build(config: Mapping[str, Any]) -> tuple[Any, Any, str]:
    """Image tower, whole model and, where that is None, why it has no text tower, untrained."""
    cfg = deepcopy(dict(config))
    vision, text = cfg["vision_cfg"], cfg.get("text_cfg", {})
    if vision.get("timm_model_name"):
        vision["timm_model_pretrained"] = False
    if text.get("hf_model_name"):
        text["hf_model_pretrained"] = False
    custom = bool(cfg.pop("custom_text", False)) or bool(text.get("hf_model_name"))
    why = ""
    if not text:
        why = "its configuration has none"
    elif text.get("hf_model_name") and find_spec("transformers") is None:
        why = f"it needs the package transformers (pip install -r {TEXT_EXTRA})"
    if not why:
        kind = open_clip.CoCa if custom and "multimodal_cfg" in cfg else open_clip.CustomTextCLIP
        try:
            whole = (kind if custom else open_clip.CLIP)(**cfg)
            return whole.visual, whole, ""
        except Exception as error:  # a text tower may want files from a hub
            why = f"it could not be built ({' '.join(str(error).split())[:160]})"
    tower = open_clip.model._build_vision_tower(
        cfg["embed_dim"], vision, bool(cfg.get("quick_gelu"))
    )
    return tower, None, why


def fitted(
    state: State, tower: nn.Module, whole: nn.Module | None, checkpoint: Checkpoint, file: Path
) -> State:
    """A state dict with exactly the names and shapes that a model (or its image tower) wants.

    Raises:
        AigiError: what does not fit, by name; for an image size or text length other than the
            model's, which model fits.
    """
    model: Any = whole if whole is not None else nn.Module()
    state = dict(open_clip.convert.convert_state_dict(model, state))
    own = {f"{IMAGE}{k}": v for k, v in tower.state_dict().items()}
    if not any(name.startswith(IMAGE) for name in state):
        bare = {f"{IMAGE}{name}": value for name, value in state.items()}
        if len(set(bare) & set(own)) * 2 > len(own):
            state = bare
    wanted: Mapping[str, Tensor] = own if whole is None else whole.state_dict()
    state = _text_names(state, wanted)
    for name in SCALES:
        if name in wanted:
            value = state.get(name, torch.zeros_like(wanted[name]) if name == SCALES[1] else None)
            if value is not None and value.numel() == 1:
                state[name] = value.reshape(wanted[name].shape)
        else:
            state.pop(name, None)
    if whole is None or _image_only(state):
        state = {name: value for name, value in state.items() if name.startswith(IMAGE)}
        wanted = own
    _require_fit(state, wanted, checkpoint, file)
    return state


def _image_only(state: Mapping[str, Tensor]) -> bool:
    return not any(name for name in state if not name.startswith(IMAGE) and name not in SCALES)


def _text_names(state: State, wanted: Mapping[str, Tensor]) -> State:
    """The text tower's names with or without ``text.``, as the model wants them."""
    nested = any(name.startswith("text.") for name in wanted)
    if nested and "positional_embedding" in state:
        return {
            f"text.{name}" if name.startswith(TEXT_NAMES) else name: value
            for name, value in state.items()
        }
    if not nested and any(name.startswith("text.") for name in state):
        return {name.removeprefix("text."): value for name, value in state.items()}
    return state


def _require_fit(
    state: State, wanted: Mapping[str, Tensor], checkpoint: Checkpoint, file: Path
) -> None:
    missing = [name for name in wanted if name not in state]
    left_over = [name for name in state if name not in wanted]
    shapes = {
        name: (list(state[name].shape), list(wanted[name].shape))
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    }
    if not (missing or left_over or shapes):
        return
    model = checkpoint.record[0]
    positions = [name for name in shapes if name.rsplit(".", 1)[-1] in POSITIONS]
    if shapes and len(positions) == len(shapes) and not missing and not left_over:
        raise AigiError(_other_size(shapes, checkpoint, file))
    parts = []
    if shapes:
        listed = [f"{n} {have} for {want}" for n, (have, want) in shapes.items()]
        parts.append(f"{len(shapes)} of other shapes: {_listed(listed)}")
    if missing:
        parts.append(f"{len(missing)} missing: {_listed(missing)}")
    if left_over:
        parts.append(f"{len(left_over)} that the model does not have: {_listed(left_over)}")
    raise AigiError(
        f"The weights {file} do not fit the model {model!r} ({'; '.join(parts)}): give a weights"
        " file of exactly this model, or name the model that they are of."
    )


POSITIONS = ("positional_embedding", "pos_embed")


def _other_size(
    shapes: Mapping[str, tuple[list[int], list[int]]], checkpoint: Checkpoint, file: Path
) -> str:
    model, config = checkpoint.record[0], checkpoint.config
    differences = []
    for name, (have, want) in shapes.items():
        rows, own = max(have[:-1]), max(want[:-1])
        if name.startswith(IMAGE):
            patch = int(config["vision_cfg"].get("patch_size", 16))
            sides = [f"{int((n - n % 2) ** 0.5) * patch} pixels" for n in (rows, own)]
            differences.append(
                f"images of {sides[0]} ({counted(rows, 'position')}), the model takes {sides[1]}"
            )
        else:
            differences.append(f"texts of {counted(rows, 'token')}, the model takes {own}")
    fitting = [n for n in _same_but_size(config) if n != model]
    hint = f"give --model one of {', '.join(fitting)}" if fitting else "give the model they are of"
    return (
        f"The weights {file} are for {' and '.join(differences)}: they are not resampled, since"
        f" that would change every feature; {hint}."
    )


def _same_but_size(config: Mapping[str, Any]) -> list[str]:
    """Models of open_clip with the same towers but for image size and text length."""

    def kind(cfg: Mapping[str, Any]) -> Any:
        vision = {k: v for k, v in cfg["vision_cfg"].items() if k != "image_size"}
        text = {k: v for k, v in cfg.get("text_cfg", {}).items() if k != "context_length"}
        return cfg["embed_dim"], vision, text, bool(cfg.get("quick_gelu"))

    wanted = kind(config)
    return [
        name for name in open_clip.list_models() if kind(open_clip.get_model_config(name)) == wanted
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _tokenizer(checkpoint: Checkpoint) -> tuple[Any, str]:
    text = checkpoint.config.get("text_cfg", {})
    hub_name = text.get("hf_tokenizer_name", "")
    if hub_name and find_spec("transformers") is None:
        need = f"its tokenizer needs the package transformers (pip install -r {TEXT_EXTRA})"
        return None, need
    length = text.get("context_length", 77)
    try:
        if not checkpoint.tokenizer:
            return open_clip.SimpleTokenizer(context_length=length), ""
        if not hub_name:
            return open_clip.get_tokenizer(checkpoint.tokenizer), ""
        return open_clip.tokenizer.HFTokenizer(
            _tokenizer_files(checkpoint, hub_name),
            context_length=length,
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        ), ""
    except Exception as error:  # Hugging Face tokenizers want packages and files of their own
        reason = " ".join(str(error).split())[:200]
        return None, f"its tokenizer could not be loaded ({reason})"


def _tokenizer_files(checkpoint: Checkpoint, hub_name: str) -> str:
    """Where a tokenizer's files lie: in the model's own folder, in one that its configuration
    names, or on the hub by name (open_clip would look into the model's folder alone).

    Raises:
        HubError: they are on this machine nowhere, and the hub does not give them.
    """
    scheme, _, rest = checkpoint.tokenizer.partition(":")
    for folder in (Path(rest) if scheme == "local-dir" else None, Path(hub_name)):
        if folder is not None and any((folder / name).is_file() for name in TOKENIZER_FILES):
            return str(folder)
    # Its own client retries for minutes offline, so the hub is asked once before.
    what, beside = f"files of the tokenizer {hub_name}", " beside the weights"
    where = beside if scheme == "local-dir" else ""
    instead = f"texts need them (download {', '.join(TOKENIZER_FILES)} of it{where})"
    hub_file(what, hub_name, ("tokenizer_config.json", "config.json"), instead)
    return hub_name


def _preprocessing(checkpoint: Checkpoint, tower: Any) -> Preprocessing:
    defaults = open_clip.transform.PreprocessCfg().__dict__
    recorded = {k: v for k, v in checkpoint.settings.items() if k in defaults and v is not None}
    size = getattr(tower, "image_size", None)
    return Preprocessing.from_open_clip(
        defaults | ({} if size is None else {"size": size}) | recorded
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without open_clip's log of what it looks for: what matters of it is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
