"""One way to turn a file into an upright RGB picture, and one way to show it; no torch.

Whatever reads an image (ingest, encode, an upload) calls :func:`load_rgb`, so that the same file is
treated alike everywhere. Files come from strangers: sizes are checked before pixels are decoded,
and only :data:`FORMATS` are read.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from aigi_core.archives import divide, read_member
from aigi_core.errors import AigiError
from aigi_core.image_files import (
    END_OF_IMAGE,
    MAX_PAGES,
    MAX_SCANS,
    JpegStructure,
    gif_frames,
    jpeg_structure,
    jpeg_with_more_data,
    kind_not_read,
    png_bytes_missing,
    tiff_pages,
    without_metadata,
)
from aigi_core.previews import preview_data_uri
from aigi_core.remote import as_path
from aigi_core.statements import counted

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, as Pillow names them; no others, since some of Pillow's run external
programs.
"""
MAX_PIXELS = 89_478_485
"""Largest width times height that is decoded (a quarter gigabyte of RGB; Pillow's own threshold of
suspicion).
"""
MAX_BYTES = 256 * 2**20
"""Largest file that is read."""

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_TIFF_METADATA = (
    700,
    33723,
    34665,
    34675,
    34853,
)  # XMP, IPTC, EXIF, ICC and GPS among a TIFF's own tags


class ImageError(AigiError):
    """A file that cannot be used as an image.

    Attributes:
        reason: ``missing``, ``not a regular file``, ``unreadable``, ``empty``, ``too large``, ``not
            an image``, ``truncated``, ``damaged`` or ``unsupported``; the message is the reason, a
            colon and the particulars.
    """

    def __init__(self, reason: str, particulars: str) -> None:
        super().__init__(reason, particulars)
        self.reason = reason

    def __str__(self) -> str:
        return ": ".join(self.args)


@dataclass(frozen=True)
class LoadedImage:
    """A decoded picture and what its file says.

    Attributes:
        image: upright, 8-bit RGB, at full size.
        width, height: pixels of the upright picture.
        format: as decoded (``JPEG``, ``MPO``, ``PNG``, ...), whatever the file is called.
        mode: as stored: Pillow's mode (``RGB``, ``P``, ``CMYK``, ``I;16``), or its raw mode where
            16 bits were cut.
        jpeg_quality: IJG scale 1 to 100 (see :func:`jpeg_quality`); NaN where the file is not a
            JPEG.
        has_metadata: EXIF, XMP, an ICC profile or PNG text is present.
        note: how an unusual file was handled, parts joined by ``; ``; empty for an ordinary one.
    """

    image: Image.Image
    width: int
    height: int
    format: str
    mode: str
    jpeg_quality: float
    has_metadata: bool
    note: str


def read_bytes(path: str | os.PathLike[str], offset: int = -1) -> bytes:
    """The content of a regular file, or of a member of an archive on the path
    (:mod:`aigi_core.archives`), of at most :data:`MAX_BYTES`; raises ImageError otherwise.

    Pipes, sockets and devices are refused without being opened: opening one can block for ever.

    Args:
        offset: where a member stands in its archive, as ingest recorded it; -1 looks it up.
    """
    path = as_path(path)
    try:
        if offset >= 0 and (within := divide(path)):  # told; without a look for a file of that name
            return read_member(*within, offset, limit=MAX_BYTES)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            if (within := divide(path)) is None:
                raise
            return read_member(*within, offset, limit=MAX_BYTES)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(
                "not a regular file", "a folder, pipe, socket or device stands in its place"
            )
        if status.st_size > MAX_BYTES:
            raise ImageError(
                "too large", f"{counted(status.st_size, 'byte')}, at most {MAX_BYTES:,} are read"
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        broken = "a symbolic link to nothing" if path.is_symlink() else "no such file"
        raise ImageError("missing", broken) from error
    except KeyError as error:
        raise ImageError("missing", "its archive holds no such member") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ImageError("unreadable", why) from error


def load_rgb(
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS
) -> LoadedImage:
    """Decode a file, or the bytes of one, to an upright 8-bit RGB picture.

    Of an animation or a multi-page file the first picture is taken; EXIF orientation is applied;
    transparency is laid on white; palettes are expanded; CMYK is converted without its colour
    profile (no profile is ever applied, as in CLIP's own preprocessing); 16 bits a channel are
    scaled to 8. What was done stands in ``note``.

    Raises:
        ImageError: the file is missing, unreadable, empty, too large, no image, truncated, damaged,
            or its pixels have no defined white (32-bit integers and floats, LAB).
    """
    content = source if isinstance(source, bytes) else read_bytes(source)
    if not content:
        raise ImageError("empty", "the file has no bytes")
    structure = jpeg_structure(content)
    notes: list[str] = []
    if structure is not None:
        if structure.scans > MAX_SCANS:
            raise ImageError("too large", f"more than the {MAX_SCANS} scans that are decoded")
        if not structure.ended:
            content += END_OF_IMAGE
            notes.append("no end marker")
    try:
        loaded = _opened(content, max_pixels)
    except ImageError as error:
        # Nothing that the pixels do not need may decide whether they are read.
        plain = without_metadata(content) if error.reason in ("damaged", "truncated") else None
        if plain is None:
            raise
        try:
            loaded = replace(_opened(plain, max_pixels), has_metadata=True)
        except ImageError:
            raise error from None
        notes.append("metadata that cannot be read passed over")
        content, structure = plain, structure and jpeg_structure(plain)
    if structure is not None and (why := _missing_data(content, structure, loaded)):
        raise ImageError("truncated", why)
    if loaded.format == "PNG" and _ends_plain(loaded) and png_bytes_missing(content):
        raise ImageError("truncated", "its compressed data ends before its last row")
    return replace(loaded, note="; ".join(filter(None, [loaded.note, *notes])))


def _missing_data(content: bytes, structure: JpegStructure, decoded: LoadedImage) -> str:
    """Why a JPEG's picture is incomplete although its decoder did not complain; empty if it is not.

    Where scan data ends early, the decoder fills the rest with mid-grey. More data behind the last
    scan changes the picture only then; that second decoding is done where it can make a difference:
    where the end marker was missing, there are several scans, or the last pixels are mid-grey.
    """
    if structure.coefficients_missing:
        return "some of its scans are missing"
    if structure.restarts_missing:
        return f"{structure.restarts_missing:,} of its restart intervals are missing"
    if structure.ended and structure.scans == 1 and not _ends_grey(decoded):
        return ""
    as_stored = decoded.mode == "RGB" and "turned upright" not in decoded.note
    before = np.asarray(decoded.image) if as_stored else _stored(content)
    after = _stored(jpeg_with_more_data(content, structure))
    if before is None or after is None:
        return ""
    changed = np.flatnonzero((before != after).any(axis=(1, 2)))
    if not len(changed):
        return ""
    return f"scan data ends at row {int(changed[0]):,} of {decoded.height:,}; the rest is missing"


def _stored(content: bytes) -> UInt8[np.ndarray, "h w channels"] | None:
    """Pixels of a JPEG as stored, neither turned nor converted; None where they cannot be had."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            pixels = np.asarray(image)
    except Exception:
        return None
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _ends_grey(decoded: LoadedImage) -> bool:
    """Whether the last pixel as stored may be what a decoder writes where it has no data,
    mid-grey; of a picture that was turned, any corner's."""
    if decoded.mode not in ("L", "RGB"):
        return True
    right, bottom = decoded.width - 1, decoded.height - 1
    places = [(right, bottom)]
    if "turned upright" in decoded.note:
        places += [(0, 0), (0, bottom), (right, 0)]
    corners: list[Any] = [decoded.image.getpixel(place) for place in places]
    # Neighbours bleed into it where colours are subsampled, into its brightness they do not; the
    # second decoding decides.
    return any(
        all(abs(value - 128) <= 40 for value in corner)
        and abs(0.299 * corner[0] + 0.587 * corner[1] + 0.114 * corner[2] - 128) <= 8
        for corner in corners
    )


def _ends_plain(decoded: LoadedImage) -> bool:
    """Whether some edge of the upright picture is of one colour, as it is where the decoder of a
    PNG had no data."""
    width, height = decoded.width, decoded.height
    boxes = (
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    )
    edges = (np.asarray(decoded.image.crop(box)).reshape(-1, 3) for box in boxes)
    return any(bool((edge == edge[0]).all()) for edge in edges)


def _opened(content: bytes, max_pixels: int) -> LoadedImage:
    try:
        with Image.open(io.BytesIO(content), formats=_readable()) as opened:
            width, height = opened.size
            if width < 1 or height < 1:
                raise ImageError("damaged", f"it has no area ({width} x {height})")
            if width * height > max_pixels:
                raise ImageError(
                    "too large", f"{width} x {height} pixels, at most {max_pixels:,} are decoded"
                )
            return _decode(opened, content)
    except AigiError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            "too large", f"more pixels than the {max_pixels:,} that are decoded"
        ) from error
    except UnidentifiedImageError as error:
        kind = next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)
        kind = kind or {b"ftypavif": "AVIF", b"ftypavis": "AVIF"}.get(content[4:12])
        if kind:
            raise ImageError(
                "damaged", f"it begins like a {kind} file, but its header cannot be read"
            ) from error
        if other := kind_not_read(content):
            reason = "unsupported" if other[2] else "not an image"
            raise ImageError(reason, f"it is {other[0]}; {other[1]}") from error
        raise ImageError("not an image", f"none of {', '.join(FORMATS)}") from error
    except MemoryError as error:
        raise ImageError("too large", "it does not fit in memory") from error
    # decoders raise nearly anything on hostile bytes: SyntaxError, struct.error, KeyError
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        cut = (
            isinstance(error, EOFError)
            or "truncated" in what.lower()
            or "not enough image data" in what.lower()
        )
        raise ImageError("truncated" if cut else "damaged", what) from error


@cache
def _readable() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _decode(opened: Image.Image, content: bytes) -> LoadedImage:
    notes = []
    tiles: list[Any] = getattr(
        opened, "tile", []
    )  # decoder arguments, the raw mode among them; gone once loaded
    raw = next((str(part) for tile in tiles for part in _parts(tile[3]) if ";16" in str(part)), "")
    # Before loading only a TIFF's tags may be asked: getexif of a PNG loads it, and would swallow
    # what is wrong with it.
    tags: Mapping[int, Any] = getattr(opened, "tag_v2", {})
    frames = _count_frames(opened, content)
    if frames > 1:
        kind = "frames" if opened.format in ("GIF", "WEBP", "PNG", "AVIF") else "pictures"
        count = f"{frames}" if frames <= MAX_PAGES else f"more than {MAX_PAGES}"
        notes.append(f"first of {count} {kind}")
    turned = tags.get(_ORIENTATION)
    opened.load()
    quality, standard = jpeg_quality(getattr(opened, "quantization", None) or {})
    if not standard:
        notes.append("JPEG tables are not the standard ones, quality is the nearest")
    rgb, how = _to_rgb(opened, raw)
    notes += how
    remaining = _orientation(opened)  # Pillow turns some formats itself while loading
    if remaining in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[remaining])
    turned = turned or remaining
    if turned in _UPRIGHT:
        notes.append(f"turned upright (EXIF orientation {turned})")
    return LoadedImage(
        image=rgb,
        width=rgb.width,
        height=rgb.height,
        format=str(opened.format),
        mode=raw if raw and opened.mode in ("RGB", "RGBA", "L", "LA") else opened.mode,
        jpeg_quality=quality,
        has_metadata=_has_metadata(opened),
        note="; ".join(notes),
    )


def _count_frames(opened: Image.Image, content: bytes) -> int:
    """Pages or frames; Pillow counts a TIFF's and a GIF's by reading each, which a hostile file
    turns into minutes."""
    if opened.format == "TIFF":
        return tiff_pages(content)
    if opened.format == "GIF":
        return gif_frames(content)
    return int(getattr(opened, "n_frames", 1))


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse the picture
        return 1


def _has_metadata(image: Image.Image) -> bool:
    if image.format == "TIFF":
        return any(tag in image.getexif() for tag in _TIFF_METADATA)
    named = ("exif", "xmp", "icc_profile", "XML:com.adobe.xmp", "Raw profile type exif")
    return any(image.info.get(name) for name in named) or bool(getattr(image, "text", None))


def _to_rgb(image: Image.Image, raw: str) -> tuple[Image.Image, list[str]]:
    """The picture in 8-bit RGB on white, and what had to be done."""
    notes: list[str] = []
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PPM", "PNG")):
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        notes.append("16-bit greyscale, scaled to 8")
        clear = values == image.info.get("transparency", -1)
        if clear.any():
            values = np.where(clear, 65535, values)
            notes.append("transparency laid on white")
        grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
        return grey.convert("RGB"), notes
    if mode not in (
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBa",
        "RGBX",
        "CMYK",
        "YCbCr",
    ):
        raise ImageError(
            "unsupported", f"pixels of Pillow's mode {mode} have no defined way to RGB"
        )
    if raw:
        notes.append("16 bits a channel, the lower 8 cut")
    if mode in ("1", "L", "LA", "La"):
        notes.append("greyscale")
    elif mode in ("P", "PA"):
        notes.append(f"palette, {counted(len(image.getcolors(65536) or ()), 'colour')}")
    elif mode == "CMYK":
        notes.append("CMYK, converted without its colour profile")
    if raw and isinstance(image.info.get("transparency"), tuple):
        # a 16-bit colour, of which Pillow has cut the pixels to their upper 8 bits
        image.info["transparency"] = tuple(v >> 8 for v in image.info["transparency"])
    if mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            notes.append("transparency laid on white")
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return rgba.convert("RGB"), notes
    if image.mode == "RGB":  # a picture of its own on the same pixels: convert would copy them
        return image._new(image.im), notes
    return image.convert("RGB"), notes


@cache
def _standard_tables() -> Int[np.ndarray, "2 100 64"]:
    """The tables of luminance and chrominance that libjpeg uses at each quality: it scales those of
    annex K of ITU-T T.81 (jcparam.c), which are its own at quality 50.
    """
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=50)
    buffer.seek(0)
    known = JpegImageFile(buffer).quantization
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None]
    return np.stack([np.clip((np.array(known[of]) * scale + 50) // 100, 1, 255) for of in (0, 1)])


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> tuple[float, bool]:
    """The libjpeg (IJG) quality whose quantisation tables are nearest in sum of absolute
    differences.

    Args:
        tables: id -> 64 steps in natural order, as Pillow's ``image.quantization``; 0 is luminance.

    Returns:
        Quality from 1 to 100, NaN without tables; and whether the tables are exactly libjpeg's at
        that quality (True without tables). Encoders with tables of their own (Photoshop, cameras)
        get the nearest.
    """
    usable = tuple((index, tuple(table)) for index, table in tables.items() if len(table) == 64)
    return _nearest_quality(usable) if usable else (math.nan, True)


@lru_cache(maxsize=256)
def _nearest_quality(tables: tuple[tuple[int, tuple[int, ...]], ...]) -> tuple[float, bool]:
    standard = _standard_tables()
    distance = sum(
        np.abs(standard[min(index, 1)] - np.asarray(table)).sum(axis=1) for index, table in tables
    )
    best = int(np.argmin(distance))
    return float(best + 1), bool(distance[best] == 0)


@dataclass(frozen=True)
class ImageSource:
    """Where a picture can be shown from: a file (or a member of an archive, then with its offset),
    an http(s) address, a preview as data URI, or nowhere (``none``).
    """

    kind: Literal["file", "url", "preview", "none"]
    value: str
    offset: int = -1


def thumbnail(
    file: str | os.PathLike[str], offset: int, side: int, sha256: str = ""
) -> tuple[bytes, str]:
    """A file's picture at most ``side`` px wide and high, and its format: the file itself where it
    is so small and browsers show it, else WebP.

    Args:
        sha256: what the file's bytes must have; empty for any.

    Raises:
        ImageError: what :func:`load_rgb` raises, or another file stands there.
    """
    content = read_bytes(file, offset)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ImageError("damaged", "the file has changed since ingest")
    loaded = load_rgb(content)
    as_it_is = loaded.format in ("JPEG", "PNG", "WEBP", "GIF") and len(content) <= 300_000
    if as_it_is and max(loaded.width, loaded.height) <= side:
        return content, loaded.format
    loaded.image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    loaded.image.save(buffer, "WEBP", quality=92)
    return buffer.getvalue(), "WEBP"


def image_source(row: Mapping[str, Any], image_root: str | os.PathLike[str] | None) -> ImageSource:
    """The best source of a row of images.parquet: the file under the image root, then its
    source_url, then its preview.

    A workspace may come from a stranger: paths that leave the image root (also by a symbolic link)
    and addresses that are not http(s) are passed over. The value is not escaped for HTML.
    """
    path = PurePosixPath(str(row["path"]))
    if image_root and not path.is_absolute() and ".." not in map(unquote, path.parts):
        try:
            root = as_path(image_root)
            file, root = root / path, root.resolve()
            if (file.is_file() and file.resolve().is_relative_to(root)) or (
                (parts := divide(file)) is not None and parts[0].resolve().is_relative_to(root)
            ):
                return ImageSource("file", str(file), int(row.get("offset", -1)))
        except (OSError, RuntimeError, ValueError):
            pass
    url = str(row.get("source_url") or "")
    if url.lower().startswith(("https://", "http://")):
        return ImageSource("url", url)
    if row.get("preview_hash"):
        return ImageSource("preview", preview_data_uri(str(row["preview_hash"])))
    return ImageSource("none", "")
