"""From a decoded image to the pixels an encoder sees: a value that can be written down, compared
and digested.

Needs Pillow and NumPy only, so the processes that read images load no torch. Bit-identical to
open_clip's own transform for the same settings, which the tests hold it to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aigi_core.errors import AigiError
from aigi_core.perturb import parse_ops

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
RESIZE_MODES = ("shortest", "squash")
LONGEST_SIDES = 32
"""An image longer than so many times its width is cut to its middle before it is resized: a strip
of one pixel by 100,000 would otherwise be blown up to gigabytes, of which the crop keeps one
square."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop and normalisation of one encoder.

    A further step (a canonical re-encoding, say) is a new field here whose default is left out of
    :meth:`describe`: then it enters the digest of those workspaces that use it and leaves all
    others valid.

    Attributes:
        size: side of the square the encoder sees, in pixels.
        mean, std: per channel, on the scale 0..1; applied by the encoder, on its device.
        interpolation: a key of :data:`FILTERS`.
        resize_mode: ``shortest`` (shorter side to ``size``, then centre crop) or ``squash``.
        steps: operations of ``aigi_core.perturb`` applied to the whole image first, in order, in
            their canonical
            spelling: a common re-encoding of all images (``("short:256", "jpeg:90")``), or a
                perturbation.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("interpolation", self.interpolation, tuple(FILTERS)),
            ("resize_mode", self.resize_mode, RESIZE_MODES),
        ):
            if value not in known:
                raise AigiError(
                    f"Preprocessing with {name} {value!r} is not covered: it must be"
                    f" {' or '.join(known)}."
                )

    @classmethod
    def from_open_clip(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """From open_clip's ``preprocess_cfg``; raises AigiError for a model whose input is not a
        square.
        """
        size = settings["size"]
        sides = {size} if isinstance(size, int) else set(size)
        if len(sides) != 1:
            raise AigiError(
                f"Preprocessing to {size} pixels is not covered: the encoder's input must be a"
                " square."
            )
        interpolation = (
            "bicubic" if settings["interpolation"] == "random" else settings["interpolation"]
        )
        mean, std = (tuple(float(value) for value in settings[name]) for name in ("mean", "std"))
        return cls(sides.pop(), mean, std, interpolation, settings["resize_mode"])  # type: ignore[arg-type]

    def describe(self) -> dict[str, Any]:
        """A JSON-serialisable description, equal for equal preprocessing."""
        described = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        if not self.steps:
            del described["steps"]
        return described

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Preprocessing:
        """The value that :meth:`describe` described; raises AigiError where a field is missing or
        unknown.
        """
        fields: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in description.items()
        }
        try:
            return cls(**fields)
        except TypeError as error:
            raise AigiError(
                f"The preprocessing {dict(description)} is not one of this version ({error})."
            ) from error

    def after(self, steps: Iterable[str]) -> Preprocessing:
        """The same preprocessing with further operations before it; raises AigiError for an unknown
        one.
        """
        return replace(self, steps=(*(str(op) for op in parse_ops(steps)), *self.steps))

    @property
    def sha256(self) -> str:
        """Digest of :meth:`describe`, in hex."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def pixels(self, image: Image.Image, key: str = "") -> UInt8[np.ndarray, "size size 3"]:
        """Resize and crop an RGB image; ``key`` (its content hash) seeds the random part of a step,
        if one has any.
        """
        for op in parse_ops(self.steps) if self.steps else ():
            image = op(image, key)
        resample = FILTERS[self.interpolation]
        if self.resize_mode == "squash":
            image = image.resize((self.size, self.size), resample)
        else:
            limit = LONGEST_SIDES * min(image.size)
            image = _centre_crop(image, min(image.width, limit), min(image.height, limit))
            short = min(image.size)
            # One side is exactly `size` and the other is rounded down, as torchvision does it.
            width, height = (
                self.size if side == short else self.size * side // short for side in image.size
            )
            if (width, height) != image.size:
                image = image.resize((width, height), resample)
            image = _centre_crop(image, self.size, self.size)
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _centre_crop(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
