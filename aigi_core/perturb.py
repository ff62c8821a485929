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
class Perturbation:
    """One kind of operation, and all that the app, the jobs and the figures know of it.

    Attributes:
        title: the operation in a word or two with its ``{value}``, for lists.
        description: the whole of it in words, with its ``{value}``.
        unit: what a usage line calls its value.
        low, high: the range of values allowed.
        apply: function of an RGB image, a value and a generator of random numbers.
        axis: what its strength is called on an axis, with the unit.
        ladder: strengths that Inspect tries, from weak to strong; empty for an operation that is
            only a step of a common re-encoding.
        tested: strengths that ``python -m precompute perturb`` encodes where none are named.
        whole: values are whole numbers.
        takes_value: False for an operation that has no strength.
        random: it has a random part.
        neutral: the value that (nearly) leaves an image as it is, where there is one.
    """

    title: str
    description: str
    unit: str
    low: float
    high: float
    apply: Callable[[Image.Image, float, np.random.Generator], Image.Image]
    axis: str = ""
    ladder: tuple[float, ...] = ()
    tested: tuple[float, ...] = ()
    whole: bool = False
    takes_value: bool = True
    random: bool = False
    neutral: float | None = None

    @property
    def name(self) -> str:
        """The operation without its strength, e.g. ``blur``."""
        return " ".join(self.title.removesuffix(" px").format(value="").split())


@dataclass(frozen=True, order=True)
class Op:
    """One operation at one strength; ``str(op)`` is its canonical spelling, ``op.slug`` its
    directory name.
    """

    kind: str
    value: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:g}" if PERTURBATIONS[self.kind].takes_value else self.kind

    @property
    def slug(self) -> str:
        return str(self).replace(":", "-")

    @property
    def title(self) -> str:
        """The operation in a word or two, e.g. ``JPEG 50``."""
        return PERTURBATIONS[self.kind].title.format(value=f"{self.value:g}")

    @property
    def description(self) -> str:
        """The operation in plain words, e.g. ``JPEG at quality 50``."""
        return PERTURBATIONS[self.kind].description.format(value=f"{self.value:g}")

    def __call__(self, image: Image.Image, key: str = "") -> Image.Image:
        """Apply to an RGB image.

        Args:
            image: any mode; converted to RGB first.
            key: what seeds the random parts: the image's content hash.
        """
        seed = int.from_bytes(hashlib.sha256(f"{key} {self}".encode()).digest()[:8], "little")
        return PERTURBATIONS[self.kind].apply(
            image.convert("RGB"), self.value, np.random.default_rng(seed)
        )


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
        if kind not in PERTURBATIONS:
            raise AigiError(
                f"There is no operation {kind!r} (in {spec!r}): expected one of {_usage()}."
            )
        rule = PERTURBATIONS[kind]
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
        if PERTURBATIONS[op.kind].random:
            raise AigiError(
                f"{str(op)!r} has a random part, so it makes images unlike: use jpeg, short, resize"
                " or crop."
            )
    return ops


def _value(kind: str, text: str) -> float:
    rule = PERTURBATIONS[kind]
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
        rule = PERTURBATIONS[name]
        if not rule.takes_value:
            return name
        return (
            f"{name}:{rule.unit} ({rule.low:g} to {rule.high:g}{', whole' if rule.whole else ''})"
        )

    return one(kind) if kind else ", ".join(map(one, PERTURBATIONS))


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


PERTURBATIONS: dict[str, Perturbation] = {
    "jpeg": Perturbation(
        title="JPEG {value}",
        description="JPEG at quality {value}",
        unit="QUALITY",
        low=1,
        high=100,
        apply=_jpeg,
        axis="JPEG quality",
        ladder=(95, 90, 80, 70, 60, 50, 40, 30),
        tested=(90, 70, 50, 30),
        whole=True,
        neutral=100,
    ),
    "resize": Perturbation(
        title="resize {value}",
        description="shrunk to {value} of its sides",
        unit="FACTOR",
        low=0.05,
        high=1,
        apply=_resize,
        axis="resized to, of its sides",
        ladder=(0.9, 0.75, 0.5, 0.35, 0.25),
        tested=(0.5, 0.25),
        neutral=1,
    ),
    "short": Perturbation(
        title="short side {value} px",
        description="short side scaled to {value} px",
        unit="PIXELS",
        low=16,
        high=2048,
        apply=_short,
        axis="short side, px",
        whole=True,
    ),
    "blur": Perturbation(
        title="blur {value} px",
        description="blurred (sigma {value} px at a short side of 256)",
        unit="SIGMA",
        low=0.1,
        high=20,
        apply=_blur,
        axis="blur, sigma in px at a short side of 256",
        ladder=(0.5, 1.0, 2.0, 3.0),
        tested=(1.0, 2.0, 3.0),
        neutral=0,
    ),
    "noise": Perturbation(
        title="noise {value}",
        description="Gaussian noise of {value} of the range",
        unit="SIGMA",
        low=0.001,
        high=0.5,
        apply=_noise,
        axis="noise, of the range",
        ladder=(0.01, 0.02, 0.05, 0.1),
        tested=(0.02, 0.05),
        random=True,
        neutral=0,
    ),
    "crop": Perturbation(
        title="crop {value}",
        description="centre crop of {value} of the sides",
        unit="FACTOR",
        low=0.1,
        high=1,
        apply=_crop,
        axis="cropped to, of its sides",
        ladder=(0.95, 0.9, 0.8, 0.7, 0.6),
        tested=(0.8,),
        neutral=1,
    ),
    "palette": Perturbation(
        title="{value} colours",
        description="reduced to a palette of {value} colours, dithered",
        unit="COLOURS",
        low=2,
        high=256,
        apply=_palette,
        axis="colours",
        ladder=(256, 128, 64, 32),
        tested=(256,),
        whole=True,
    ),
    "screenshot": Perturbation(
        title="screenshot",
        description="screenshot-like: rescaled, cut, JPEG 85",
        unit="",
        low=0,
        high=0,
        apply=_screenshot,
        axis="screenshot-like",
        ladder=(0,),
        tested=(0,),
        takes_value=False,
        random=True,
    ),
}
"""Every kind of operation; a new one is one function and one entry here."""


def ladder() -> tuple[Op, ...]:
    """Every operation that Inspect tries, kind by kind, from weak to strong."""
    return tuple(Op(kind, value) for kind, rule in PERTURBATIONS.items() for value in rule.ladder)


def usual_ops() -> tuple[Op, ...]:
    """Operations whose copies are encoded where none are named."""
    return tuple(Op(kind, value) for kind, rule in PERTURBATIONS.items() for value in rule.tested)
