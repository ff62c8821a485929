"""A file of weights, as people have them, as a state dict with the names that a model wants.

Nothing is unpickled: torch files are read with ``weights_only``, TorchScript archives by torch's
own reader where the user agreed to it, for it runs their code. What is no file of weights is named
for what it is.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigi_core.clip.consent import require_archive_agreed
from aigi_core.errors import AigiError
from aigi_core.record import read_json
from aigi_core.statements import counted

State = dict[str, Tensor]
NESTED = ("state_dict", "model_state_dict", "model", "module", "model_ema", "ema")
"""Keys under which training programs put the state dict, asked in this order."""
PREFIXES = ("module.", "_orig_mod.", "model.", "clip.")
"""What distributed training, compilation and wrapping modules put before every name."""
NOT_WEIGHTS = re.compile(
    r"(^|\.)(input_resolution|context_length|vocab_size|attn_mask|position_ids)$"
)
"""Numbers and fixed masks that some files carry among the weights."""
INDEX = ".safetensors.index.json"
SHOWN = 6
QUICK_GELU, GELU = "QuickGELU", "GELU"


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file holds.

    Attributes:
        state: names without the wrapping of the program that wrote them.
        activation: ``QuickGELU`` or ``GELU`` where the file itself tells, else empty.
    """

    state: State
    activation: str = ""


def read_weights(file: Path) -> Weights:
    """Read a file of weights, or a sharded one by its index.

    Raises:
        AigiError: it is missing, cut off, something else, holds code, no tensors, or values that
            are no numbers; says which.
    """
    _refuse_other_files(file)
    activation = ""
    if file.name.endswith(INDEX):
        state: Any = _read_shards(file)
    elif _is_safetensors(file):
        state = _read_safetensors(file)
    elif _is_torchscript(file):
        require_archive_agreed(file)
        state, activation = _read_torchscript(file)
    else:
        state = _read_torch(file)
    tensors = _unwrapped(state, file)
    broken = [name for name, value in tensors.items() if not _finite(value)]
    if broken:
        raise AigiError(
            f"The weights {file.name} hold NaN or infinity in {_some(broken)}: the training that"
            " wrote them diverged or the file is damaged; take an earlier checkpoint, or fetch the"
            " file again."
        )
    return Weights(tensors, activation)


# Files


def _refuse_other_files(file: Path) -> None:
    if not file.is_file():
        raise AigiError(f"There is no file of weights at {file}: check the path.")
    with file.open("rb") as stream:
        head = stream.read(512)
    start = head.lstrip().lower()
    if not head:
        raise AigiError(f"The file {file} is empty: fetch the weights again.")
    if head.startswith(b"version https://git-lfs"):
        raise AigiError(
            f"The file {file} is a Git LFS pointer, which names the weights and does not hold them:"
            " run 'git lfs pull' in its folder, or download the file itself."
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise AigiError(
            f"The file {file} is a web page, saved in place of the weights: download the file"
            " itself (on a model hub, the address with /resolve/ and not /blob/)."
        )


def _cut_off(file: Path, expected: str) -> AigiError:
    return AigiError(
        f"The file {file} is cut off ({expected}): its download was interrupted; fetch it again."
    )


def _is_safetensors(file: Path) -> bool:
    """By its content, whatever its name: eight bytes of length, then a JSON object."""
    with file.open("rb") as stream:
        head = stream.read(9)
    return file.suffix == ".safetensors" or head[8:9] == b"{"


def _read_safetensors(file: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    size = file.stat().st_size
    with file.open("rb") as stream:
        header_size = int.from_bytes(stream.read(8), "little")
        header = stream.read(header_size) if header_size < 1 << 28 else b""
    try:
        described = read_json(header)
        ends = [e["data_offsets"][1] for n, e in described.items() if n != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if header_size < 1 << 28 and size < 8 + header_size:
            raise _cut_off(file, f"its header alone has {counted(header_size, 'byte')}") from error
        raise AigiError(
            f"The file {file} is no safetensors file, though its name or beginning says so: fetch"
            " it again, or give it its right name."
        ) from error
    expected = 8 + header_size + max(ends, default=0)
    if size < expected:
        raise _cut_off(file, f"it should have {counted(expected, 'byte')} and has {size:,}")
    try:
        state: State = load_file(file)
    except (SafetensorError, OSError) as error:
        raise AigiError(
            f"The file {file} cannot be read ({_line(error)}): fetch it again."
        ) from error
    return state


def _read_shards(index: Path) -> State:
    try:
        names = read_json(index)["weight_map"]
        shards = sorted(set(names.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AigiError(
            f"{index} is no index of sharded weights ({_line(error)}): fetch it again."
        ) from error
    if any(not isinstance(shard, str) or Path(shard).name != shard for shard in shards):
        raise AigiError(f"{index} names files outside its folder: it is not used.")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise AigiError(
            f"Of the {counted(len(shards), 'part')} that {index.name} names, {_some(missing)} are"
            " missing in"
            f" {index.parent}: put all parts beside it."
        )
    state: State = {}
    for shard in shards:
        state |= _read_safetensors(index.parent / shard)
    lost = sorted(set(names) - set(state))
    if lost:
        raise AigiError(
            f"The parts of {index.name} lack {_some(lost)}, which it names: fetch the parts again."
        )
    return state


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # no archive, or a damaged one: whoever reads it says so
        return False


def _read_torchscript(file: Path) -> tuple[State, str]:
    try:
        module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
        activation = torchscript_activation(file)
    except Exception as error:  # torch and zipfile raise many kinds for damaged archives
        raise AigiError(
            f"The TorchScript archive {file} cannot be read ({_line(error)}): fetch it again."
        ) from error
    return dict(module.state_dict()), activation


def torchscript_activation(file: Path) -> str:
    """The activation of a TorchScript CLIP, read from the code in its archive; empty where it shows
    neither.

    QuickGELU multiplies by the sigmoid of 1.702 times its input (OpenAI's CLIP); GELU is torch's.
    """
    with zipfile.ZipFile(file) as archive:
        code = [
            archive.read(n).decode("utf-8", "replace") for n in archive.namelist() if ".py" in n
        ]
    text = "\n".join(code)
    quick, plain = "1.702" in text, re.search(r"torch\.gelu\(|functional\.gelu", text)
    if quick == bool(plain):
        return ""
    return QUICK_GELU if quick else GELU


def _read_torch(file: Path) -> Any:
    with file.open("rb") as stream:
        is_zip = stream.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(file):
        raise _cut_off(file, "the end of its archive is missing")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are no weights
        text = str(error)
        held = re.search(r"(?:Unsupported global: GLOBAL|GLOBAL) ([\w.]+)", text)
        if held:
            raise AigiError(
                f"The file {file} holds an object of {held[1]} and not tensors alone; to read it"
                " would run code that it brings, so it is not read: where you trust it, load it in"
                " the program that wrote it and save its state dict"
                " (torch.save(model.state_dict(), 'weights.pt'))."
            ) from error
        if isinstance(error, EOFError) or "unexpected EOF" in text or "PytorchStreamReader" in text:
            raise _cut_off(file, _line(error)[:120]) from error
        # Of what it cannot read torch says that it may hold objects, whatever the file is.
        unknown = "weights_only" in text or "Weights only" in text
        why = "it holds no tensors by name" if unknown else _line(error)[:160]
        raise AigiError(
            f"The file {file} is no file of weights that torch can read ({why}):"
            " give a .safetensors file, or a .pt file that holds a state dict."
        ) from error


# From what is in the file to a state dict


def _unwrapped(state: Any, file: Path) -> State:
    for _ in range(3):
        if not isinstance(state, Mapping):
            raise AigiError(
                f"The file {file} holds a {type(state).__name__} and not a state dict: save"
                " model.state_dict()."
            )
        inside = next((state[key] for key in NESTED if isinstance(state.get(key), Mapping)), None)
        if inside is None:
            break
        state = inside
    tensors = {
        str(name): value
        for name, value in state.items()
        if isinstance(value, Tensor) and not NOT_WEIGHTS.search(str(name))
    }
    if not tensors:
        raise AigiError(
            f"The file {file} holds no tensors (its keys: {_some(map(str, state)) or 'none'}): give"
            " a file with a state dict."
        )
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


# Names of other libraries


@dataclass(frozen=True)
class KeyMap:
    """How one library's names and layouts become open_clip's.

    Attributes:
        written_by: for messages.
        marks: a state dict with a name that begins so is of this library.
        convert: from its names to ``visual.…`` and the names of the text tower; what has no
            counterpart keeps its name, and is then named as left over.
    """

    written_by: str
    marks: tuple[str, ...]
    convert: Callable[[State], State]


def _renamed(state: State, rules: Iterable[tuple[str, str]]) -> State:
    out: State = {}
    compiled = [(re.compile(pattern), target) for pattern, target in rules]
    for name, value in state.items():
        new = name
        for pattern, target in compiled:
            if pattern.match(name):
                new = pattern.sub(target, name)
                break
        out[new] = value
    return out


def _joined(state: State, pattern: str, target: str) -> State:
    """Three matrices (or biases) of query, key and value become one, one below the other.

    ``pattern`` holds ``{}`` for the name of the part and groups for the rest; ``target`` is what
    the joint one is called, with the same groups.
    """
    out = dict(state)
    first = re.compile(pattern.format("q"))
    for name in state:
        if match := first.fullmatch(name):
            parts = [name[: match.start("part")] + p + name[match.end("part") :] for p in "qkv"]
            if all(part in state for part in parts):
                joint = torch.cat([state[part] for part in parts])
                out[first.sub(target, name)] = joint
                for part in parts:
                    del out[part]
    return out


_CLIP_BLOCK = (
    (r"layer_norm1\.", "ln_1."),
    (r"layer_norm2\.", "ln_2."),
    (r"self_attn\.out_proj\.", "attn.out_proj."),
    (r"mlp\.fc1\.", "mlp.c_fc."),
    (r"mlp\.fc2\.", "mlp.c_proj."),
)


def from_hugging_face_clip(state: State) -> State:
    """``transformers.CLIPModel`` to open_clip's ``CLIP``: query, key and value joined, the
    projections transposed, ``pre_layrnorm`` spelled as the library spells it.
    """
    for side in ("vision_model", "text_model"):
        for kind in ("weight", "bias"):
            state = _joined(
                state,
                rf"{side}\.encoder\.layers\.(\d+)\.self_attn\.(?P<part>{{}})_proj\.{kind}",
                rf"{side}.encoder.layers.\1.attn.in_proj_{kind}",
            )
    rules = [
        (r"vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
        (r"vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
        (r"vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
        (r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),
        (r"vision_model\.post_layernorm\.", "visual.ln_post."),
        (r"text_model\.embeddings\.token_embedding\.", "token_embedding."),
        (r"text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
        (r"text_model\.final_layer_norm\.", "ln_final."),
    ]
    for side, ours in (("vision_model", "visual."), ("text_model", "")):
        layer = rf"{side}\.encoder\.layers\.(\d+)\."
        block = rf"{ours}transformer.resblocks.\1."
        rules += [(layer + theirs, block + name) for theirs, name in _CLIP_BLOCK]
        rules.append((layer + r"attn\.", block + "attn."))
    state = _renamed(state, rules)
    for theirs, ours in (
        ("visual_projection.weight", "visual.proj"),
        ("text_projection.weight", "text_projection"),
    ):
        if theirs in state:
            state[ours] = state.pop(theirs).T.contiguous()
    return state


def from_hugging_face_siglip(state: State) -> State:
    """``transformers.SiglipModel`` to open_clip's ``CustomTextCLIP`` with a timm image tower:
    query, key and value joined, the pool's query apart from its key and value.
    """
    for kind in ("weight", "bias"):
        for side, ours in (("vision_model", "attn.qkv."), ("text_model", "attn.in_proj_")):
            state = _joined(
                state,
                rf"{side}\.encoder\.layers\.(\d+)\.self_attn\.(?P<part>{{}})_proj\.{kind}",
                rf"{side}.encoder.layers.\1.{ours}{kind}",
            )
        pool = f"vision_model.head.attention.in_proj_{kind}"
        if pool in state:
            joint = state.pop(pool)
            third = len(joint) // 3
            state[f"visual.trunk.attn_pool.q.{kind}"] = joint[:third].clone()
            state[f"visual.trunk.attn_pool.kv.{kind}"] = joint[third:].clone()
    trunk, block = "visual.trunk.", r"visual.trunk.blocks.\1."
    layer = r"vision_model\.encoder\.layers\.(\d+)\."
    text_layer = r"text_model\.encoder\.layers\.(\d+)\."
    text_block = r"text.transformer.resblocks.\1."
    rules = [
        (r"vision_model\.embeddings\.patch_embedding\.", trunk + "patch_embed.proj."),
        (r"vision_model\.embeddings\.position_embedding\.weight$", trunk + "pos_embed"),
        (r"vision_model\.post_layernorm\.", trunk + "norm."),
        (r"vision_model\.head\.probe$", trunk + "attn_pool.latent"),
        (r"vision_model\.head\.layernorm\.", trunk + "attn_pool.norm."),
        (r"vision_model\.head\.attention\.out_proj\.", trunk + "attn_pool.proj."),
        (r"vision_model\.head\.mlp\.", trunk + "attn_pool.mlp."),
        (layer + r"layer_norm1\.", block + "norm1."),
        (layer + r"layer_norm2\.", block + "norm2."),
        (layer + r"self_attn\.out_proj\.", block + "attn.proj."),
        (layer + r"attn\.", block + "attn."),
        (layer + r"mlp\.", block + "mlp."),
        (r"text_model\.embeddings\.token_embedding\.", "text.token_embedding."),
        (r"text_model\.embeddings\.position_embedding\.weight$", "text.positional_embedding"),
        (r"text_model\.final_layer_norm\.", "text.ln_final."),
        (r"text_model\.head\.", "text.text_projection."),
        (text_layer + r"attn\.", text_block + "attn."),
        *((text_layer + theirs, text_block + name) for theirs, name in _CLIP_BLOCK),
    ]
    state = _renamed(state, rules)
    positions = state.get("visual.trunk.pos_embed")
    if positions is not None and positions.ndim == 2:
        state["visual.trunk.pos_embed"] = positions[None]
    return state


KEY_MAPS = (
    KeyMap(
        "transformers.SiglipModel",
        ("vision_model.head.", "text_model.head."),
        from_hugging_face_siglip,
    ),
    KeyMap("transformers.CLIPModel", ("vision_model.", "text_model."), from_hugging_face_clip),
)
"""Every library whose names are understood, the more particular marks first."""


def with_open_clip_names(state: State) -> State:
    """A state dict under open_clip's names, whichever library of :data:`KEY_MAPS` wrote it."""
    for known in KEY_MAPS:
        if any(name.startswith(mark) for name in state for mark in known.marks):
            return known.convert(dict(state))
    return state
