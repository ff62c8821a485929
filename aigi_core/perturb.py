"""What happens to images on their way: JPEG, resizing, blur, noise, cropping, a palette, a
screenshot.

Pillow and NumPy only. An operation is written ``kind:value`` (``jpeg:50``, ``blur:2``), several
values share a kind (``jpeg:90,70``). It is a pure function of the image, its key (the content hash)
and the operation: random parts are seeded by both, so the same copy comes out on every run and
machine with the same Pillow.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from aigi_core.errors import AigiError

REFERENCE_SIDE = 256
"""Blur is measured in pixels of an image whose short side is this long, so that large images are
hit alike.
"""
MOST_PIXELS = 4096 * 4096
"""Scaling a sliver (10,000 x 1) to a given short side stops here instead of filling the memory."""


@dataclass(frozen=True)
class Kind:
    """One family of operations: what it does, which values make sense, how it is applied.

    Attributes:
        title: the operation in a word or two, for axes and lists; ``says`` is the whole of it.
        neutral: the value that (nearly) leaves an image as it is, where there is one.
    """

    title: str
    says: str
    unit: str
    low: float
    high: float
    apply: Callable[[Image.Image, float, np.random.Generator], Image.Image]
    whole: bool = False
    takes_value: bool = True
    random: bool = False
    neutral: float | None = None

    @property
    def name(self) -> str:
        """The operation without its strength, e.g. ``blur``."""
        return " ".join(self.title.removesuffix(" px").format(value="").split())

    @property
    def axis(self) -> str:
        """What its strength is called on an axis, with the unit, e.g. ``blur, px``."""
        return f"{self.name}, px" if self.title.endswith(" px") else self.name


@dataclass(frozen=True, order=True)
class Op:
    """One operation at one strength; ``str(op)`` is its canonical spelling, ``op.slug`` its
    directory name.
    """

    kind: str
    value: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:g}" if KINDS[self.kind].takes_value else self.kind

    @property
    def slug(self) -> str:
        return str(self).replace(":", "-")

    @property
    def title(self) -> str:
        """The operation in a word or two, e.g. ``JPEG 50``."""
        return KINDS[self.kind].title.format(value=f"{self.value:g}")

    @property
    def says(self) -> str:
        """The operation in plain words, e.g. ``JPEG at quality 50``."""
        return KINDS[self.kind].says.format(value=f"{self.value:g}")

    def __call__(self, image: Image.Image, key: str = "") -> Image.Image:
        """Apply to an RGB image.

        Args:
            image: any mode; converted to RGB first.
            key: what seeds the random parts: the image's content hash.
        """
        seed = int.from_bytes(hashlib.sha256(f"{key} {self}".encode()).digest()[:8], "little")
        return KINDS[self.kind].apply(image.convert("RGB"), self.value, np.random.default_rng(seed))


def parse_ops(specs: Iterable[str]) -> tuple[Op, ...]:
    """Read operations such as ``["jpeg:90,70", "resize:.5", "screenshot"]``, in the order given,
    each once.

    Raises:
        AigiError: unknown kind, a value missing, not a number or out of range; the sentence lists
            what is allowed.
    """
    ops: dict[Op, None] = {}
    for spec in specs:
        kind, _, values = spec.strip().partition(":")
        if kind not in KINDS:
            raise AigiError(
                f"There is no operation {kind!r} (in {spec!r}): expected one of {_usage()}."
            )
        rule = KINDS[kind]
        if not rule.takes_value:
            if values:
                raise AigiError(
                    f"The operation {kind!r} takes no value, got {values!r}: write {kind!r} alone."
                )
            ops[Op(kind)] = None
            continue
        if not values:
            raise AigiError(f"The operation {kind!r} needs a value: write {_usage(kind)}.")
        for text in values.split(","):
            ops[Op(kind, _value(kind, text))] = None
    if not ops:
        raise AigiError(f"No operation was given: expected at least one of {_usage()}.")
    return tuple(ops)


def parse_steps(text: str) -> tuple[Op, ...]:
    """Read a common re-encoding such as ``"jpeg:90,short:256"``: operations done one after the
    other, as written.

    Raises:
        AigiError: as :func:`parse_ops`, and for an operation with a random part, which would treat
            images unlike.
    """
    ops = tuple(op for part in text.split(",") for op in parse_ops([part]))
    for op in ops:
        if KINDS[op.kind].random:
            raise AigiError(
                f"{str(op)!r} has a random part, so it makes images unlike: use jpeg, short, resize"
                " or crop."
            )
    return ops


def _value(kind: str, text: str) -> float:
    rule = KINDS[kind]
    try:
        value = float(text)
    except ValueError:
        raise AigiError(
            f"{text!r} in '{kind}:{text}' is not a number: write {_usage(kind)}."
        ) from None
    if not rule.low <= value <= rule.high or (rule.whole and value != int(value)):
        raise AigiError(f"'{kind}:{text}' is out of range: write {_usage(kind)}.")
    return value


def _usage(kind: str = "") -> str:
    def one(name: str) -> str:
        rule = KINDS[name]
        if not rule.takes_value:
            return name
        return (
            f"{name}:{rule.unit} ({rule.low:g} to {rule.high:g}{', whole' if rule.whole else ''})"
        )

    return one(kind) if kind else ", ".join(map(one, KINDS))


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as a baseline JPEG file with 4:2:0 chroma, as most sites write it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def _scaled(image: Image.Image, factor: float, how: Image.Resampling) -> Image.Image:
    return image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))), how
    )


def _jpeg(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return Image.open(io.BytesIO(encode_jpeg(image, int(value)))).convert("RGB")


def _resize(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return _scaled(image, value, Image.Resampling.LANCZOS)


def _short(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    factor = min(value / min(image.size), (MOST_PIXELS / (image.width * image.height)) ** 0.5)
    return _scaled(image, factor, Image.Resampling.BICUBIC)


def _blur(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(value * min(image.size) / REFERENCE_SIDE))


def _noise(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    noisy = pixels + 255 * value * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _crop(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    width, height = max(1, round(image.width * value)), max(1, round(image.height * value))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _palette(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    """The image's own best colours (median cut), Floyd-Steinberg dithering: a GIF, or a PNG from a
    size optimiser.
    """
    colours = image.quantize(int(value))
    return image.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")


def _screenshot(image: Image.Image, value: float, rng: np.random.Generator) -> Image.Image:
    """Shown at a scale no one chose (0.6 to 1.2, bilinear), cut a little askew, sent on as JPEG
    85.
    """
    shown = _scaled(image, float(rng.uniform(0.6, 1.2)), Image.Resampling.BILINEAR)
    left, top, right, bottom = rng.uniform(0, 0.04, 4)
    box = (
        round(left * shown.width),
        round(top * shown.height),
        max(1, round((1 - right) * shown.width)),
        max(1, round((1 - bottom) * shown.height)),
    )
    return _jpeg(shown.crop(box), 85, rng)


KINDS: dict[str, Kind] = {
    "jpeg": Kind(
        "JPEG {value}", "JPEG at quality {value}", "QUALITY", 1, 100, _jpeg, whole=True, neutral=100
    ),
    "resize": Kind(
        "resize {value}", "shrunk to {value} of its sides", "FACTOR", 0.05, 1, _resize, neutral=1
    ),
    "short": Kind(
        "short side {value} px",
        "short side scaled to {value} px",
        "PIXELS",
        16,
        2048,
        _short,
        whole=True,
    ),
    "blur": Kind(
        "blur {value} px",
        "blurred (sigma {value} px at a short side of 256)",
        "SIGMA",
        0.1,
        20,
        _blur,
        neutral=0,
    ),
    "noise": Kind(
        "noise {value}",
        "Gaussian noise of {value} of the range",
        "SIGMA",
        0.001,
        0.5,
        _noise,
        random=True,
        neutral=0,
    ),
    "crop": Kind(
        "crop {value}", "centre crop of {value} of the sides", "FACTOR", 0.1, 1, _crop, neutral=1
    ),
    "palette": Kind(
        "{value} colours",
        "reduced to a palette of {value} colours, dithered",
        "COLOURS",
        2,
        256,
        _palette,
        whole=True,
    ),
    "screenshot": Kind(
        "screenshot",
        "screenshot-like: rescaled, cut, JPEG 85",
        "",
        0,
        0,
        _screenshot,
        takes_value=False,
        random=True,
    ),
}
"""Every kind of operation; a new one is one function and one entry here."""
