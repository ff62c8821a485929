"""Small data sets made on the spot: ordinary ones in each layout."""

from __future__ import annotations

import io
import os
from collections import Counter
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from aigi_core.images import ImageError
from precompute.ingest.layouts import Candidates


def picture(seed: object, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """A blotchy RGB picture that differs for every seed."""
    rng = np.random.default_rng(crc32(repr(seed).encode()))
    return Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(root: Path, path: str, content: bytes | None = None) -> Path:
    """Write a file, by default a PNG that differs for every folder and path."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(picture((root.name, path))) if content is None else content)
    return file


def fill(root: Path, folder: str, n: int = 12) -> None:
    """`n` different images in a folder."""
    for i in range(n):
        write(root, f"{folder}/{i:03d}.png")


def folders(root: Path, n: int = 12, generators: tuple[str, ...] = ("stylegan2", "sd-1.4")) -> Path:
    """``real/`` beside ``fake/<generator>/``."""
    fill(root, "real", n)
    for generator in generators:
        fill(root, f"fake/{generator}", n)
    return root


def crash(root: Path, path: str, offset: int) -> dict[str, object]:
    """A reader whose process dies on some files, as a decoder's does that overruns its memory."""
    if path.startswith("crash"):
        os._exit(11)
    return {"note": path, "left_out": ""}


def fail(root: Path, path: str, offset: int) -> dict[str, object]:
    """A reader that raises."""
    raise ImageError("unreadable", path)


def touch(root: Path, *folders: str, n: int = 2) -> Path:
    """Files that look like images from outside."""
    for folder in folders:
        for i in range(n):
            write(root, f"{folder}/{i}.png", b"x")
    return root


def places(result: Candidates) -> dict[tuple[str, str], tuple[int, str]]:
    """(generator, pool) -> number of files and splits, of all files that are kept."""
    kept = result.table[result.table["left_out"] == ""]
    counts = Counter(zip(kept["generator"], kept["pool"], strict=True))
    return {
        key: (
            n,
            "+".join(
                sorted(set(kept[(kept["generator"] == key[0]) & (kept["pool"] == key[1])]["split"]))
            ),
        )
        for key, n in counts.items()
    }


def pairs(result: Candidates) -> set[tuple[str, str]]:
    """Generators, each with its pool."""
    return set(places(result))
