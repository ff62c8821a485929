"""Images that a user brings: found, decoded safely one by one, and encoded as the workspace's own
images were.

Every file has its own outcome. Nothing is written to disk, and of a picture only what the encoder
sees and a small copy are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from aigi_core import stored_features
from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.heads import EncodedImages
from aigi_core.images import ImageError, load_rgb, read_bytes
from aigi_core.processes import read_images
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

if TYPE_CHECKING:  # it needs torch, this module does not
    from aigi_core.clip.encoder import Encoder

SMALL = 360
"""Longest side, in pixels, of the copy that is kept to be shown."""
BATCH = 8
NO_VERDICT = "no verdict"
"""What stands for the call on an image of one colour (:func:`is_blank`)."""
ENLARGED, LONGER = 4, 3
"""From how many times on it is noted that an image is enlarged, or longer than it is wide."""


@dataclass(frozen=True, eq=False, repr=False)
class Opened(ShortRepr):
    """One file: decoded, or refused with the reason.

    Attributes:
        name: as the user knows it; anything may stand in it.
        reason: why it was refused, in one line; empty where it was decoded.
        key: SHA-256 of its bytes, in hex.
        pixels: what the encoder sees.
        picture: a small copy of the whole picture.
        about: size, format and :attr:`note`, in words.
        note: how an unusual file was handled, or why no score says anything of it; else empty.
    """

    name: str
    reason: str = ""
    key: str = ""
    pixels: UInt8[np.ndarray, "size size 3"] | None = None
    picture: Image.Image | None = None
    about: str = ""
    note: str = ""


def find_files(paths: Iterable[str | os.PathLike[str]], most: int | None = None) -> list[Path]:
    """The files named, and all files in the folders named, subfolders included, by name; hidden
    ones are passed over.

    What is not an image is found out when it is opened. Links to folders are not followed inside a
    folder.

    Args:
        most: stop looking in a folder once it has given so many files.

    Raises:
        AigiError: nothing there, a folder without files, or a folder that cannot be read.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        try:
            if not path.is_dir():
                if not (path.exists() or path.is_symlink()):
                    raise AigiError(f"There is no file or folder {str(path)!r}: check the path.")
                files.append(path)
                continue
            inside = (
                Path(folder) / name
                for folder, _, names in os.walk(path, onerror=_refuse)
                for name in names
            )
            shown = sorted(
                islice((file for file in inside if _visible(file.relative_to(path))), most)
            )
        except (OSError, ValueError) as error:
            raise AigiError(
                f"{str(path)!r} cannot be read ({getattr(error, 'strerror', None) or error})."
            ) from error
        if not shown:
            raise AigiError(f"The folder {str(path)!r} holds no files: name a folder with images.")
        files += shown
    return list(dict.fromkeys(files))


def _visible(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _refuse(error: OSError) -> None:
    raise error


def open_images(
    files: Sequence[tuple[str, bytes | Path]], preprocessing: Preprocessing
) -> list[Opened]:
    """Decode files (name, and bytes or path) in a process limited in processor time and memory; one
    that exceeds a limit is refused as any other.
    """
    opened = read_images(open_image, [(*file, preprocessing) for file in files])
    return [
        Opened(name, str(result)) if isinstance(result, ImageError) else result
        for (name, _), result in zip(files, opened, strict=True)
    ]


def open_image(name: str, source: bytes | Path, preprocessing: Preprocessing) -> Opened:
    """Decode one file through the project's one safe decoder, in this process and without limits
    of time and memory; never raises for what the file holds.
    """
    try:
        content = source if isinstance(source, bytes) else read_bytes(source)
        loaded = load_rgb(content)
    except ImageError as error:
        return Opened(name, " ".join(str(error).split()))
    key = sha256(content).hexdigest()
    quality = "" if np.isnan(loaded.jpeg_quality) else f", quality about {loaded.jpeg_quality:.0f}"
    facts = [
        f"{loaded.width} × {loaded.height} px, {loaded.format}{quality},"
        f" {counted(len(content), 'byte')}",
    ]
    pixels = preprocessing.pixels(loaded.image, key)
    notes = [loaded.note] if loaded.note else []
    notes += _resized(loaded.width, loaded.height, preprocessing)
    if is_blank(pixels):
        notes.append("every pixel has the same colour, so its scores have no meaning")
    small = loaded.image.copy()
    small.thumbnail((SMALL, SMALL), Image.Resampling.LANCZOS)
    return Opened(
        name,
        key=key,
        pixels=pixels,
        picture=small,
        about="; ".join([*facts, *notes]),
        note="; ".join(notes),
    )


def is_blank(pixels: UInt8[np.ndarray, "size size 3"] | None) -> bool:
    """Whether all that the encoder sees is one colour, so that no verdict can be given."""
    return pixels is not None and not np.ptp(pixels.reshape(-1, pixels.shape[-1]), axis=0).any()


def _resized(width: int, height: int, preprocessing: Preprocessing) -> list[str]:
    """What an image of unusual size or shape becomes before the encoder sees it."""
    notes, short = [], min(width, height)
    cropped = preprocessing.resize_mode == "shortest"
    if short * ENLARGED <= preprocessing.size:
        notes.append(f"{width:,} × {height:,} pixels are enlarged to {preprocessing.size}")
    if max(width, height) >= LONGER * short:
        how = f"only the middle {short:,} × {short:,} of" if cropped else "a square is made of all"
        notes.append(f"{how} {width:,} × {height:,} pixels{' is seen' if cropped else ''}")
    return notes


def encode(
    encoder: Encoder,
    pixels: Sequence[UInt8[np.ndarray, "size size 3"]],
    workspace: Workspace,
) -> EncodedImages:
    """Features of preprocessed images, all that the workspace holds of its own, so that any of its
    detectors can read them; one forward pass for each :data:`BATCH`.

    Args:
        encoder: the workspace's own.
    """
    if not len(pixels):
        raise AigiError("There is no image to encode: give at least one.")
    wanted, maps = stored_features.tokens(workspace.stored_features), workspace.decomposition
    has_heads = workspace.gives.has("heads")
    parts = []
    for start in range(0, len(pixels), BATCH):
        batch = encoder.encode_images(np.stack(pixels[start : start + BATCH]), wanted)
        heads, n = batch.heads.cpu().numpy(), len(batch.embedding)
        parts.append(
            EncodedImages(
                batch.embedding.cpu().numpy(),
                heads if has_heads else np.zeros((0, 0, n, 0), np.float32),
                batch.ln_post.cpu().numpy(),
                maps,
                {name: batch.extras[name].cpu().numpy() for name in wanted},
            )
        )
    return EncodedImages.joined(parts)
