"""Previews of images: a ThumbHash of about 24 bytes (https://evanw.github.io/thumbhash), written at
ingest and shown where neither file nor address is at hand.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from aigi_core.errors import AigiError

_PREVIEW_SIDE = 32
_PREVIEW_SAMPLES = 4
"""Pixels of the picture, each way, that a preview's pixel is the mean of: the hash holds seven
cosines each way, and a mean of all pixels would take a fifth of the time of decoding them."""

_LUM_YELLOW_RED = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, -1.0], [1.0, -1.0, 0.0]])


def preview_hash(image: Image.Image) -> str:
    """ThumbHash of an RGB picture, base64 (32 to 36 characters)."""
    scale = _PREVIEW_SIDE / max(image.size)
    # The hash holds up to seven cosines a direction: on fewer pixels than that they alias into
    # bright stripes.
    width, height = (max(8, round(side * scale)) for side in image.size)
    samples = (width * _PREVIEW_SAMPLES, height * _PREVIEW_SAMPLES)
    small = image.resize(samples, Image.Resampling.NEAREST).reduce(_PREVIEW_SAMPLES)
    return base64.b64encode(_thumb_hash(np.asarray(small))).decode("ascii")


def _thumb_hash(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode an opaque ThumbHash (https://evanw.github.io/thumbhash).

    Done here because the package thumbhash 0.1.2 takes five times as long as decoding the picture.
    A flat channel has its waves in the middle, where the package writes rounding errors that
    nothing shows.
    """
    height, width = pixels.shape[:2]
    channels = _LUM_YELLOW_RED @ np.moveaxis(pixels, -1, 0).reshape(3, -1)
    waves = _cosines(height) @ channels.reshape(3, height, width) @ _cosines(width).T
    waves /= 255 * width * height
    lx = max(1, round(7 * width / max(width, height)))
    ly = max(1, round(7 * height / max(width, height)))
    shapes = [(max(3, lx), max(3, ly)), (3, 3), (3, 3)]
    parts = [waves[i][_kept(*shape)].tolist() for i, shape in enumerate(shapes)]
    (lum, yellow, red), scales = waves[:, 0, 0].tolist(), [max(map(abs, p)) for p in parts]
    levels = [round(most * scale) for most, scale in zip((31, 63, 63), scales, strict=True)]
    low = round(63 * lum) | round(31.5 + 31.5 * yellow) << 6 | round(31.5 + 31.5 * red) << 12
    low |= levels[0] << 18
    landscape = width > height
    high = (ly if landscape else lx) | levels[1] << 3 | levels[2] << 9 | landscape << 15
    code = bytearray(low.to_bytes(3, "little") + high.to_bytes(2, "little"))
    nibbles = [
        round(15 * (0.5 + 0.5 / scale * wave)) if scale > 1e-9 else 8
        for part, scale in zip(parts, scales, strict=True)
        for wave in part
    ]
    nibbles += [0] * (len(nibbles) % 2)
    code += bytes(a | b << 4 for a, b in zip(nibbles[::2], nibbles[1::2], strict=True))
    return bytes(code)


@cache
def _kept(nx: int, ny: int) -> tuple[list[int], list[int]]:
    """Rows and columns of the waves that a hash holds, without the mean."""
    both = [(cy, cx) for cy in range(ny) for cx in range(nx) if cx * ny < nx * (ny - cy)][1:]
    return [cy for cy, _ in both], [cx for _, cx in both]


@cache
def _cosines(n: int) -> Float[np.ndarray, "7 n"]:
    return np.cos(np.pi / n * np.outer(np.arange(7), np.arange(n) + 0.5))


def preview_data_uri(preview_hash: str) -> str:
    """A PNG data URI of at most 32 x 32 pixels from a ThumbHash in base64.

    Raises:
        AigiError: the text is not such a hash.
    """
    try:
        picture = Image.fromarray(_thumbhash_pixels(base64.b64decode(preview_hash, validate=True)))
    except (ValueError, IndexError) as error:
        raise AigiError(
            f"Expected a ThumbHash in base64, got {preview_hash!r}: run ingest again."
        ) from error
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


class PreviewLevels(NamedTuple):
    """A preview's numbers as they are stored, for comparing two.

    Attributes:
        shape: what must be equal for two to be compared: orientation and numbers of waves.
        means: levels of the mean colours and of the scales, 0 to 31 or 63.
        waves: level of each wave, 0 to 15, in units of its channel's scale.
        scale: level of the scale of brightness, 0 to 31: how much there is to see.
    """

    shape: tuple[int, int]
    means: tuple[int, ...]
    waves: tuple[int, ...]
    scale: int


def preview_levels(preview_hash: str) -> PreviewLevels:
    """The levels that a ThumbHash in base64 holds."""
    code = base64.b64decode(preview_hash)
    low, high = int.from_bytes(code[:3], "little"), code[3] | code[4] << 8
    scale = low >> 18 & 31
    means = (low & 63, low >> 6 & 63, low >> 12 & 63, scale, high >> 3 & 63, high >> 9 & 63)
    waves = tuple(nibble for byte in code[5:] for nibble in (byte & 15, byte >> 4))
    return PreviewLevels((high & 7 | high >> 15 << 3, len(waves)), means, waves, scale)


def _thumbhash_pixels(code: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an opaque ThumbHash (https://evanw.github.io/thumbhash).

    Done here because the decoder of the package that encodes, thumbhash 0.1.2, never clears its
    cosine tables, so that every pixel takes the first one's colour, and prints the aspect ratio on
    each call.
    """
    low, high = int.from_bytes(code[:3], "little"), code[3] | code[4] << 8
    if low >> 23:
        raise ValueError("transparent ThumbHashes are not written here")
    landscape, short = bool(high >> 15), high & 7
    lx, ly = (7, short) if landscape else (short, 7)
    if short == 0:
        raise ValueError("no ThumbHash")
    nibbles = iter([nibble for byte in code[5:] for nibble in (byte & 15, byte >> 4)])
    width, height = (
        (32, max(1, round(32 * ly / lx))) if landscape else (max(1, round(32 * lx / ly)), 32)
    )

    def channel(mean: float, nx: int, ny: int, scale: float) -> Float[np.ndarray, "h w"]:
        weights = np.zeros((ny, nx))
        for cy in range(ny):
            for cx in range(0 if cy else 1, nx):
                if cx * ny < nx * (ny - cy):
                    nibble = next(nibbles, None)
                    if nibble is None:
                        raise ValueError("the ThumbHash ends early")
                    weights[cy, cx] = (
                        2 * (nibble / 7.5 - 1) * scale
                    )  # the format's own smoothing: 2, not 4, off the axes
        cos_x = np.cos(np.pi / width * np.outer(np.arange(nx), np.arange(width) + 0.5))
        cos_y = np.cos(np.pi / height * np.outer(np.arange(ny), np.arange(height) + 0.5))
        pixels: np.ndarray = mean + cos_y.T @ weights @ cos_x
        return pixels

    lum = channel((low & 63) / 63, max(3, lx), max(3, ly), (low >> 18 & 31) / 31)
    yellow_blue = channel((low >> 6 & 63) / 31.5 - 1, 3, 3, (high >> 3 & 63) / 63 * 1.25)
    red_green = channel((low >> 12 & 63) / 31.5 - 1, 3, 3, (high >> 9 & 63) / 63 * 1.25)
    blue = lum - 2 / 3 * yellow_blue
    red = (3 * lum - blue + red_green) / 2
    rgb: UInt8[np.ndarray, "h w 3"] = (
        (255 * np.stack([red, red - red_green, blue], axis=-1))
        .round()
        .clip(0, 255)
        .astype(np.uint8)
    )
    return rgb
