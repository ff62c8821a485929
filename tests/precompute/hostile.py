"""Files that data sets really contain, and files made by somebody who means harm; each with the
outcome it must have.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from aigi_core.images import MAX_BYTES
from tests.precompute.corpus import encoded, picture


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int = 8,
    colour: int = 2,
    extra: bytes = b"",
    crc: int | None = None,
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + extra
        + chunk(b"IDAT", zlib.compress(rows), crc)
        + chunk(b"IEND", b"")
    )


def cut(kind: str, keep: float = 0.5) -> bytes:
    content = encoded(picture(kind, (96, 64)), kind)
    return content[: int(len(content) * keep)]


def frames(kind: str, n: int, **options: object) -> bytes:
    first, *others = (picture((kind, i)) for i in range(n))
    return encoded(first, kind, save_all=True, append_images=others, **options)


def oriented(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(("exif", kind)), kind, exif=exif)


def texted() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a horse <b>& friends</b>")
    return encoded(picture("text"), pnginfo=text)


RAW = bytes([0, 1, 2, 3, 4, 5, 6])  # one row of two RGB pixels behind its filter byte
SHADES = np.linspace(0, 60000, 24 * 16).reshape(16, 24)


@dataclass(frozen=True)
class Case:
    """A file and its outcome: the beginning of ``left_out`` ("" where it is kept), and what its
    note must contain.
    """

    name: str
    make: bytes | Callable[[Path], None]
    left_out: str = ""
    note: str = ""
    format: str = ""
    mode: str = ""


CASES = (
    # Nothing, or something else.
    Case("empty.png", b"", "empty"),
    Case("text.jpg", b"this is not a picture\n", "not an image"),
    Case("page.png", b"<!doctype html><script>alert(1)</script>", "not an image"),
    Case(
        "vector.svg",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "not an image",
    ),
    Case("archive.png", b"PK\x03\x04" + bytes(60), "not an image"),
    Case(
        "script.eps",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
        "not an image",
    ),
    Case("layers.psd", b"8BPS\0\x01" + bytes(60), "not an image"),
    Case("document.jpg", b"%PDF-1.7\n" + bytes(60), "not an image"),
    Case("noise.jpg", np.random.default_rng(0).bytes(4000), "not an image"),
    Case("caption.txt", b"a horse", "not an image"),
    # Cut short.
    Case("cut.jpg", cut("JPEG"), "truncated"),
    Case("cut.png", cut("PNG"), "truncated"),
    Case("cut.gif", cut("GIF"), "truncated"),
    Case("cut.bmp", cut("BMP"), "truncated"),
    Case("cut.ppm", cut("PPM"), "truncated"),
    Case("cut.webp", cut("WEBP"), "damaged"),
    Case("cut.tif", cut("TIFF"), "truncated"),
    Case("head.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "truncated"),
    Case("head.png", b"\x89PNG\r\n\x1a\n", "damaged"),
    # Damaged inside.
    Case("header-crc.png", png(2, 1, RAW).replace(b"IHDR\0", b"IHDR\1"), "damaged"),
    Case(
        "stream.png",
        png(2, 1, RAW).replace(zlib.compress(RAW), b"\xff" * len(zlib.compress(RAW))),
        "damaged",
    ),
    Case("no-width.png", png(0, 1, RAW), "damaged"),
    Case("no-height.png", png(2, 0, RAW), "damaged"),
    Case("no-area.gif", b"GIF89a" + struct.pack("<HH", 0, 9) + bytes(10), "damaged"),
    # Bombs: small files, vast pictures.
    Case("bomb.png", png(100_000, 100_000, RAW), "too large"),
    Case("little-bomb.png", png(10_000, 10_000, RAW), "too large"),
    Case(
        "bomb.gif",
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\x08\x01\0\0;",
        "too large",
    ),
    Case("bomb.ppm", b"P6 30000 30000 255\n", "too large"),
    Case(
        "giant.jpg",
        lambda file: os.truncate(os.open(file, os.O_CREAT | os.O_WRONLY), MAX_BYTES + 1),
        "too large",
    ),
    # No defined way to RGB.
    Case(
        "float.tif",
        encoded(Image.fromarray((SHADES / 60000).astype(np.float32)), "TIFF"),
        "unsupported",
    ),
    Case("integers.tif", encoded(Image.fromarray(SHADES.astype(np.int32)), "TIFF"), "unsupported"),
    Case("lab.tif", encoded(Image.new("LAB", (8, 8), (90, 10, 10)), "TIFF"), "unsupported"),
    # What stands in a file's place.
    Case(
        "dangling.png",
        lambda file: file.symlink_to("nowhere.png"),
        "missing: a symbolic link to nothing",
    ),
    Case("itself.png", lambda file: file.symlink_to(file.name), "unreadable"),
    Case("pipe.png", lambda file: os.mkfifo(file), "not a regular file"),
    Case("twin of ordinary.png", lambda file: file.symlink_to("ordinary.png"), "duplicate"),
    Case(
        os.fsdecode(b"caf\xe9.png"),
        encoded(picture("latin")),
        "unreadable: its name is not valid Unicode",
    ),
    # Unusual, and kept.
    Case("ordinary.png", encoded(picture("ordinary")), mode="RGB"),
    Case("moving.gif", frames("GIF", 3), note="first of 3 frames", format="GIF"),
    Case("moving.png", frames("PNG", 2), note="first of 2 frames", format="PNG"),
    Case("moving.webp", frames("WEBP", 4), note="first of 4 frames", format="WEBP"),
    Case("pages.tif", frames("TIFF", 2), note="first of 2 pictures", format="TIFF"),
    Case("stereo.jpg", frames("MPO", 2), note="first of 2 pictures", format="MPO"),
    Case("press.jpg", encoded(picture("press").convert("CMYK"), "JPEG"), note="CMYK", mode="CMYK"),
    Case(
        "deep-grey.png",
        encoded(Image.fromarray(SHADES.astype(np.uint16))),
        note="16-bit greyscale",
        mode="I;16",
    ),
    Case(
        "text-bomb.png",
        png(2, 1, RAW, extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(8 << 20)))),
        note="metadata that cannot be read passed over",
        mode="RGB",
    ),
    Case(
        "deep-colour.png",
        png(1, 1, bytes([0, 255, 255, 128, 0, 0, 0]), depth=16),
        note="16 bits a channel",
        mode="RGB;16B",
    ),
    Case(
        "palette.png", encoded(picture("palette").quantize(7)), note="palette, 7 colours", mode="P"
    ),
    Case(
        "hole.gif",
        encoded(picture("hole").quantize(7), "GIF", transparency=0),
        note="transparency laid on white",
        mode="P",
    ),
    Case(
        "veil.png",
        encoded(picture("veil").convert("RGBA").resize((9, 9)).rotate(45)),
        note="transparency laid on white",
        mode="RGBA",
    ),
    Case(
        "keyed.png",
        png(2, 1, RAW, extra=chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))),
        note="transparency laid on white",
        mode="RGB",
    ),
    Case("turned.jpg", oriented("JPEG", 6), note="turned upright (EXIF orientation 6)"),
    Case("mirrored.png", oriented("PNG", 2), note="turned upright (EXIF orientation 2)"),
    Case(
        "nonsense-exif.jpg",
        encoded(picture("bad exif"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        format="JPEG",
    ),
    Case("orientation-99.jpg", oriented("JPEG", 99), format="JPEG"),
    Case("grey.jpg", encoded(picture("grey").convert("L"), "JPEG"), note="greyscale", mode="L"),
    Case("ink.png", encoded(picture("ink").convert("1")), note="greyscale", mode="1"),
    Case("grey-veil.png", encoded(picture("veil 2").convert("LA")), note="greyscale", mode="LA"),
    Case("dot.png", encoded(picture("dot", (1, 1))), format="PNG"),
    Case("hair.png", encoded(picture("hair", (3000, 1))), format="PNG"),
    Case("called.png", encoded(picture("really a jpeg"), "JPEG"), format="JPEG"),
    Case("no extension", encoded(picture("bare"), "JPEG"), format="JPEG"),
    Case("tail.jpg", encoded(picture("tail"), "JPEG") + b"\0" * 500 + b"<?php", format="JPEG"),
    Case(
        "data-crc.png", png(2, 1, RAW, crc=1), format="PNG"
    ),  # all pixels are there: as any viewer shows it
    Case("progressive.jpg", encoded(picture("slow"), "JPEG", progressive=True), format="JPEG"),
    Case("prompt.png", texted(), format="PNG"),
    Case("wave.jp2", encoded(picture("wave"), "JPEG2000"), format="JPEG2000"),
    Case("film.avif", encoded(picture("film"), "AVIF"), format="AVIF"),
    Case("plain.ppm", encoded(picture("plain"), "PPM"), format="PPM"),
    # Names.
    Case("zwei Wörter 图像 🐎.png", encoded(picture("n1")), format="PNG"),
    Case("cafe\u0301 (decomposed).png", encoded(picture("n2")), format="PNG"),
    Case("<img src=x onerror=alert(1)>&amp;.png", encoded(picture("n3")), format="PNG"),
    Case("new\nline\ttab.png", encoded(picture("n4")), format="PNG"),
    Case("\x1b[31mred\x1b[0m.png", encoded(picture("n5")), format="PNG"),
    Case("-rf 'quote\" $(id) %s {0} \\back.png", encoded(picture("n6")), format="PNG"),
    Case("n" * 251 + ".png", encoded(picture("n7")), format="PNG"),
)


def write_hostile(folder: Path) -> None:
    """Write every case into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if callable(case.make):
            case.make(folder / case.name)
        else:
            (folder / case.name).write_bytes(case.make)
