"""Encoders by name: an image tower, what it can give, its preprocessing and its text tower if it
has one, as one value.

``load_encoder("ViT-L-14", "openai")`` takes a model and a pretrained tag of open_clip, a weights
file in place of the tag, ``timm:NAME``, ``hf-hub:OWNER/REPO`` or ``local-dir:DIR``. A source of
encoders is one line in :data:`NAMED` and one module with a function ``load``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from aigi_core.capabilities import Capabilities
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.clip.prompts import TextTower
from aigi_core.clip.towers import Adapter, EncodedBatch, VisionTower
from aigi_core.commands import DEMO, DEMO_EFFICIENTNET
from aigi_core.errors import AigiError
from aigi_core.head_maps import complete

OPEN_CLIP = "aigi_core.clip.open_clip_models"
NAMED: dict[str, str] = {
    DEMO: "aigi_core.clip.demo.encoder",
    DEMO_EFFICIENTNET: "aigi_core.clip.demo.efficientnet",
    "timm:": "aigi_core.clip.timm_models",
}
"""Encoders that are not open_clip's: name, or beginning of names that ends in a colon -> module,
imported on first use, with a function ``load(model, pretrained, device, precision, seed,
activation) -> Encoder`` (the arguments of :func:`load_encoder`; device and precision arrive
resolved, never "auto"). Such a loader returns an :class:`Encoder` whose adapter is
:func:`aigi_core.clip.towers.adapter_for` of its tower, and whose ``text`` may be any function into
the joint space, or None."""
NONLINEAR = re.compile(r"(GELU|ReLU|SiLU|Swish|Sigmoid|Tanh)")

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TEXTS_A_BATCH = 256


@dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen image encoder, with its text tower where it has one.

    Attributes:
        library, model, pretrained: what was loaded, for the record.
        adapter: the image tower, in eval mode, on ``device``, weights in float32, with what can be
            read from it.
        preprocessing: what turns a decoded image into ``pixels``.
        text: texts to joint-space rows [T, d], not normalised; None where there is no text tower.
        tokenizer: the text tower's tokenizer; its type depends on the library.
        why_no_texts: why there is no text tower, as a clause.
        text_tower: the text tower, for learning what stands before a text; None as ``text``.
        settings: what changes features beside weights and preprocessing, by name: the activation,
            the length of texts, how attention is computed.
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
    adapter: Adapter = field(repr=False)
    preprocessing: Preprocessing
    text: Callable[[Sequence[str]], Float32[np.ndarray, "T d"]] | None = field(repr=False)
    tokenizer: Any = field(repr=False)
    weights_sha256: str
    device: torch.device
    precision: str
    why_no_texts: str = ""
    text_tower: TextTower | None = field(default=None, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tower(self) -> VisionTower:
        """The library's own module."""
        return self.adapter.tower

    @property
    def gives(self) -> Capabilities:
        """What this encoder can give."""
        gives = self.adapter.gives
        if self.text is None:
            return gives.without("texts", self.why_no_texts or "none comes with it")
        return gives

    @property
    def layers(self) -> int:
        """Layers with heads; 0 where the encoder has none."""
        return self.adapter.layers

    @property
    def heads(self) -> int:
        """Attention heads a layer; 0 where the encoder has none."""
        return self.adapter.heads

    @property
    def width(self) -> int:
        """Of the tower's tokens; 0 where it has none."""
        return self.adapter.width

    @property
    def head_width(self) -> int:
        """Of a head's cached context."""
        return self.adapter.head_width

    @property
    def embedding_width(self) -> int:
        """Components of the joint space."""
        return self.adapter.embedding_width

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
            "settings": dict(self.settings),
            "gives": self.gives.describe(),
        }

    def normalise(
        self, pixels: UInt8[np.ndarray, "B size size 3"]
    ) -> Float[Tensor, "B 3 size size"]:
        """Pixels of ``preprocessing.pixels``, moved to the device and brought to the tower's
        scale.
        """
        images = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        if self.device.type == "cuda":
            images = images.pin_memory().to(self.device, non_blocking=True)
        images = images.to(self.device).permute(0, 3, 1, 2).contiguous().float().div_(255)
        scale = (self.preprocessing.mean, self.preprocessing.std)
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in scale)
        return images.sub_(mean).div_(std)

    def encode_images(
        self, pixels: UInt8[np.ndarray, "B size size 3"], features: Sequence[str] = ()
    ) -> EncodedBatch:
        """One forward pass over a batch of preprocessed images; results stay on the device.

        Args:
            features: further features (see :class:`aigi_core.clip.towers.tokens.TokenFeatures`).
        """
        dtype = PRECISIONS[self.precision]
        with (
            exact_convolutions(self.device),
            torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32),
        ):
            return self.adapter.encode(self.normalise(pixels), features)

    def encode_texts(self, texts: Sequence[str]) -> Float32[np.ndarray, "T d"]:
        """Texts in the joint space, not normalised; NotGivenError where there is no text tower."""
        self.gives.require("texts", self.model)
        assert self.text is not None
        if not texts:
            return np.zeros((0, self.embedding_width), np.float32)
        return self.text(texts)

    def decomposition(self) -> dict[str, Any]:
        """The fixed maps, as :attr:`aigi_core.workspace.Workspace.decomposition` gives them."""
        return complete(self.adapter.maps(), self.embedding_width)


def exact_convolutions(device: torch.device) -> AbstractContextManager[Any]:
    """On CUDA, torch rounds the inputs of convolutions in fp32 to ten bits of mantissa (TF32)
    unless it is told not to; embeddings would differ from a CPU's by 4e-4.
    """
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags


def load_encoder(
    model: str,
    pretrained: str | None,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
    activation: str = "",
) -> Encoder:
    """Load an encoder, on the device and ready to run.

    Args:
        model: a name of :data:`NAMED`, a model of open_clip, ``timm:NAME``, ``hf-hub:OWNER/REPO``
            or ``local-dir:DIR`` (a folder with open_clip's configuration, or what
            ``save_pretrained`` of transformers wrote).
        pretrained: a tag of that model, or a weights file; None gives untrained weights (for
            tests).
        device: ``auto`` (CUDA, else MPS, else CPU) or a torch device.
        precision: ``auto`` (fp16 on CUDA, else fp32), ``fp32``, ``fp16`` or ``bf16``. The heads are
            stored in fp16 either way. MPS is supported by the code but was never run by its
            authors.
        seed: of the untrained weights.
        activation: ``QuickGELU`` or ``GELU`` where it is known that the weights want it; empty
            takes what the tag, the file or the configuration says.

    Raises:
        AigiError: unknown model, tag or device; weights that are missing, damaged, of another model
            or out of reach (says so within seconds, and that a file can be given instead).
    """
    chosen = resolve_device(device)
    kind = resolve_precision(precision, chosen)
    encoder: Encoder = import_module(source_of(model) or OPEN_CLIP).load(
        model, pretrained, chosen, kind, seed, activation
    )
    return encoder


def refuse_unknown(model: str, pretrained: str | None) -> None:
    """Raise AigiError for a name, or a tag or file of weights, that no source of encoders knows,
    before weights are looked for; a source that cannot tell without them says nothing.
    """
    source = import_module(source_of(model) or "aigi_core.clip.checkpoints")
    getattr(source, "refuse_unknown", lambda *_: None)(model, pretrained)


def source_of(model: str) -> str:
    """The module of :data:`NAMED` that loads a model; empty for open_clip's."""
    scheme, colon, _ = model.partition(":")
    return NAMED.get(f"{scheme}:" if colon else model, "")


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
    refuse_unknown_precision(name)
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    return name


def refuse_unknown_precision(name: str) -> None:
    """Raise AigiError for what is neither ``auto`` nor a key of :data:`PRECISIONS`."""
    if name not in ("auto", *PRECISIONS):
        raise AigiError(f"The precision {name!r} is unknown: use auto, {', '.join(PRECISIONS)}.")


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


def activations(tower: nn.Module) -> str:
    """The nonlinearities of a tower, as torch writes them: ``QuickGELU()``, ``GELU(approximate=
    'none')``.
    """
    kinds = {
        repr(module)
        for module in tower.modules()
        if not any(True for _ in module.children()) and NONLINEAR.search(type(module).__name__)
    }
    return ", ".join(sorted(kinds)) or "none of its own"
