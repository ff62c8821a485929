"""Images as one HTML grid: local file, else its pinned source, else the blurred preview. Everything is escaped."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import thumbhash
from PIL import Image, UnidentifiedImageError

from aigi_core.manifest import FAKE
from aigi_core.workspace import Workspace
from ui.router import ROOT
from ui.workspaces import cached

THUMBNAIL = 360
"""Longest side, px, of what is sent for a local image; smaller files of web formats are sent as they are."""
_AS_IS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True)
class Tile:
    """One image of a grid.

    Attributes:
        row: its row in the workspace.
        lines: caption, one string a line, plain text.
        tone: ``right`` or ``wrong`` for a coloured edge that the caption must also say in words; empty for none.
        href: where a click leads; by default the image's source_url.
    """

    row: int
    lines: Sequence[str] = ()
    tone: str = ""
    href: str = ""


def image_root(workspace: Workspace) -> Path | None:
    """Folder of the workspace's images on this machine: ``AIGI_IMAGES``, else what the workspace records, else None.

    ``AIGI_IMAGES`` set to nothing keeps local files out of the app.
    """
    setting = os.environ.get("AIGI_IMAGES")
    recorded = workspace.manifest.get("image_root")
    for candidate in [setting] if setting is not None else [recorded, str(ROOT.parent / "shared" / "images")]:
        if candidate and Path(candidate).is_dir():
            return Path(candidate).resolve()
    return None


def local_file(workspace: Workspace, row: int) -> Path | None:
    """The image's file, where it is at hand and inside the image root (a workspace's paths are not trusted)."""
    root = image_root(workspace)
    if root is None:
        return None
    file = (root / str(workspace.images["path"].iat[row])).resolve()
    return file if file.is_relative_to(root) and file.is_file() else None


@cached
def _thumbnail(workspace: Workspace, row: int, root: str, side: int) -> str | None:
    """Data URI of a local image, at most ``side`` px; None where it is missing or cannot be decoded."""
    file = local_file(workspace, row)
    if file is None:
        return None
    try:
        with Image.open(file) as image:
            if image.format in _AS_IS and max(image.size) <= side and file.stat().st_size <= 300_000:
                return _data_uri(file.read_bytes(), _AS_IS[image.format])
            image.draft("RGB", (side, side))
            small = image.convert("RGB")
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=92)
    return _data_uri(buffer.getvalue(), "image/webp")


@cached
def _preview(preview_hash: str) -> str | None:
    """Data URI of a ThumbHash; None where it is empty or damaged."""
    try:
        width, height, pixels = thumbhash.thumb_hash_to_rgba(list(base64.b64decode(preview_hash, validate=True)))
        image = Image.fromarray(np.asarray(pixels, np.uint8).reshape(height, width, 4), "RGBA").convert("RGB")
    except (ValueError, IndexError, TypeError):
        return None
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _data_uri(buffer.getvalue(), "image/png")


def source_link(workspace: Workspace, row: int) -> str:
    """The image's source_url where it is a web address; empty otherwise (``javascript:`` and the like are dropped)."""
    url = str(workspace.images["source_url"].iat[row])
    return url if urlsplit(url).scheme in ("http", "https") else ""


def tile_html(workspace: Workspace, tile: Tile, side: int = THUMBNAIL) -> str:
    """One figure element: the image over its preview, the link, the caption."""
    image = workspace.images.iloc[tile.row]
    root = image_root(workspace)
    local = _thumbnail(workspace, tile.row, str(root), side) if root else None
    url = source_link(workspace, tile.row)
    preview = _preview(str(image["preview_hash"])) if image["preview_hash"] else None
    what = f"fake image by {image['generator']}" if image["label"] == FAKE else "real image"
    alt = escape(f"{what}, pool {image['pool']}" + (f": {image['caption']}" if image["caption"] else ""), quote=True)
    behind = f' style="background-image:url({preview})"' if preview and not local else ""
    if shown := local or url:
        picture = f'<img src="{escape(shown, quote=True)}" alt="{alt}" loading="lazy" decoding="async" referrerpolicy="no-referrer">'
    else:
        picture = f'<span role="img" aria-label="{alt}">{"" if preview else "no preview"}</span>'
    picture = f'<span class="aigi-picture"{behind}>{picture}</span>'
    if href := tile.href or url:
        picture = f'<a href="{escape(href, quote=True)}" target="_blank" rel="noopener noreferrer">{picture}</a>'
    caption = "".join(f"<span>{escape(line)}</span>" for line in tile.lines)
    tone = f" aigi-{tile.tone}" if tile.tone in ("right", "wrong") else ""
    return f'<figure class="aigi-tile{tone}">{picture}<figcaption>{caption}</figcaption></figure>'


def grid_html(workspace: Workspace, tiles: Sequence[Tile], width: int = 132) -> str:
    """All tiles as one grid of columns at least ``width`` px wide."""
    cells = "".join(tile_html(workspace, tile) for tile in tiles)
    return f'<div class="aigi-grid" style="--tile:{int(width)}px">{cells}</div>'


def _data_uri(content: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
