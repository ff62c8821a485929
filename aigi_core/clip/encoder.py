"""Encoders by name: an image tower whose heads can be read, its preprocessing and its text tower,
as one value.

``load_encoder("ViT-L-14", "openai")`` takes a model and a pretrained tag of open_clip, a weights
file in place of the tag, ``hf-hub:OWNER/REPO`` or ``local-dir:DIR``. An encoder that is not
open_clip's is one line in
:data:`NAMED` and one module with ``load(pretrained, device, precision) -> Encoder``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.capture import (
    EncodedBatch,
    VisionTower,
    capture,
    check_supported,
    decomposition_maps,
)
from aigi_core.clip.checkpoints import find_checkpoint, load_clip
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError

NAMED: dict[str, str] = {"demo": "aigi_core.clip.demo.encoder"}
"""Encoders that are not open_clip's: name -> module, imported on first use, with a function
``load(pretrained: str | None, device: torch.device, precision: str) -> Encoder``. Device and
precision arrive resolved (never "auto"); such a loader builds its tower as an
``open_clip.transformer.VisionTransformer``, calls
:func:`check_supported` and returns an :class:`Encoder` whose ``text`` may be any function into the
joint space."""

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TEXTS_A_BATCH = 256


@dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen image encoder with its text tower.

    Attributes:
        library, model, pretrained: what was loaded, for the record.
        tower: the image tower, in eval mode, on ``device``, weights in float32.
        preprocessing: what turns a decoded image into ``pixels``.
        text: texts to joint-space rows [T, d], not normalised.
        tokenizer: the text tower's tokenizer; its type depends on the library.
        weights_sha256: see :func:`digest_weights`; equal for equal weights, wherever they came
            from.
        precision: a key of :data:`PRECISIONS`; other than fp32, the blocks run under autocast.

    Example:
        >>> encoder = load_encoder("ViT-B-32", None)  # doctest: +SKIP
        >>> pixels = encoder.preprocessing.pixels(image)[None]  # doctest: +SKIP
        >>> batch = encoder.encode_images(pixels)  # doctest: +SKIP
    """

    library: str
    model: str
    pretrained: str
    tower: VisionTower = field(repr=False)
    preprocessing: Preprocessing
    text: Callable[[Sequence[str]], Float32[np.ndarray, "T d"]] = field(repr=False)
    tokenizer: Any = field(repr=False)
    weights_sha256: str
    device: torch.device
    precision: str

    @property
    def layers(self) -> int:
        return len(self.tower.transformer.resblocks)

    @property
    def heads(self) -> int:
        """Attention heads a layer."""
        return int(self.tower.transformer.resblocks[0].attn.num_heads)

    @property
    def width(self) -> int:
        return int(self.tower.ln_post.weight.shape[0])

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def embedding_width(self) -> int:
        return self.width if self.tower.proj is None else int(self.tower.proj.shape[1])

    def describe(self) -> dict[str, Any]:
        """The ``encoder`` entry of ``workspace.json``."""
        return {
            "library": self.library,
            "model": self.model,
            "pretrained": self.pretrained,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.describe(),
            "preprocessing_sha256": self.preprocessing.sha256,
            "layers": self.layers,
            "heads": self.heads,
            "head_width": self.head_width,
            "width": self.width,
            "embedding_width": self.embedding_width,
            "precision": self.precision,
        }

    def normalise(
        self, pixels: UInt8[np.ndarray, "B size size 3"]
    ) -> Float[Tensor, "B 3 size size"]:
        """Pixels of ``preprocessing.pixels``, moved to the device and brought to the tower's
        scale.
        """
        images = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        images = images.to(self.device).permute(0, 3, 1, 2).contiguous().float().div_(255)
        scale = (self.preprocessing.mean, self.preprocessing.std)
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in scale)
        return images.sub_(mean).div_(std)

    def encode_images(self, pixels: UInt8[np.ndarray, "B size size 3"]) -> EncodedBatch:
        """One forward pass over a batch of preprocessed images; results stay on the device."""
        dtype = PRECISIONS[self.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            return capture(self.tower, self.normalise(pixels))

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "T d"]:
        """Texts in the joint space, not normalised."""
        if not texts:
            return np.zeros((0, self.embedding_width), np.float32)
        return self.text(texts)

    def decomposition(self) -> dict[str, np.ndarray]:
        """The content of ``decomposition.npz``: see
        :func:`aigi_core.clip.capture.decomposition_maps`.
        """
        return decomposition_maps(self.tower)


def load_encoder(
    model: str, pretrained: str | None, device: str = "auto", precision: str = "auto", seed: int = 0
) -> Encoder:
    """Load an encoder, on the device and ready to run.

    Args:
        model: a name of :data:`NAMED`, a model of open_clip, ``hf-hub:OWNER/REPO`` or
            ``local-dir:DIR``.
        pretrained: a tag of open_clip for that model, or a weights file; None gives untrained
            weights (for tests).
        device: ``auto`` (CUDA, else MPS, else CPU) or a torch device.
        precision: ``auto`` (fp16 on CUDA, else fp32), ``fp32``, ``fp16`` or ``bf16``. The heads are
            stored in fp16 either way. MPS is supported by the code but was never run by its
            authors.
        seed: of the untrained weights.

    Raises:
        AigiError: unknown model, tag or device; weights that are missing, damaged, of another model
            or out of reach (says so within seconds, and that a file can be given instead); a model
            that cannot be decomposed.
    """
    chosen = resolve_device(device)
    kind = resolve_precision(precision, chosen)
    if model in NAMED:
        encoder: Encoder = import_module(NAMED[model]).load(pretrained, chosen, kind)
        return encoder
    return _load_open_clip(model, pretrained, chosen, kind, seed)


def resolve_device(name: str) -> torch.device:
    """A torch device from ``auto`` or its name; raises AigiError where it is not at hand."""
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise AigiError(
            f"The device {name!r} is not available ({reason}): use auto, cpu, cuda or mps."
        ) from error
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """A key of :data:`PRECISIONS`; ``auto`` is fp16 on CUDA (ten bits of mantissa, as CLIP was
    trained), else fp32.
    """
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name not in PRECISIONS:
        raise AigiError(f"The precision {name!r} is unknown: use auto, {', '.join(PRECISIONS)}.")
    return name


def digest_weights(state: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, over names, dtypes, shapes and bytes of a state dict, in the order of the
    names.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_open_clip(
    model: str, pretrained: str | None, device: torch.device, precision: str, seed: int
) -> Encoder:
    checkpoint = find_checkpoint(model, pretrained, seed)
    clip: Any = load_clip(checkpoint, seed)
    check_supported(clip.visual, model)
    try:
        tokenizer = open_clip.get_tokenizer(checkpoint.name)
    except Exception as error:  # Hugging Face tokenizers want packages and files of their own
        reason = " ".join(str(error).split())[:200]
        raise AigiError(
            f"The tokenizer of {model!r} could not be loaded ({reason}): use another model."
        ) from error
    weights_sha256 = digest_weights(clip.state_dict())
    clip = clip.to(device)

    @torch.inference_mode()
    def encode_texts(texts: Sequence[str]) -> Float32[np.ndarray, "T d"]:
        batches = (texts[i : i + TEXTS_A_BATCH] for i in range(0, len(texts), TEXTS_A_BATCH))
        rows = [
            clip.encode_text(tokenizer(list(batch)).to(device)).float().cpu().numpy()
            for batch in batches
        ]
        return np.concatenate(rows)

    return Encoder(
        library=f"open_clip {open_clip.__version__}",
        model=checkpoint.record[0],
        pretrained=checkpoint.record[1],
        tower=clip.visual,
        preprocessing=Preprocessing.from_open_clip(clip.visual.preprocess_cfg),
        text=encode_texts,
        tokenizer=tokenizer,
        weights_sha256=weights_sha256,
        device=device,
        precision=precision,
    )
