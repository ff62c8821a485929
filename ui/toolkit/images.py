"""Images as one HTML grid: local file, else its pinned source, else the blurred preview. Everything
is escaped.
"""

from __future__ import annotations

import atexit
import base64
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from aigi_core.errors import AigiError
from aigi_core.images import ImageError, ImageSource, image_source, thumbnail
from aigi_core.manifest import FAKE
from aigi_core.previews import preview_data_uri
from aigi_core.processes import SECONDS, LimitedProcesses, read_images
from aigi_core.remote import as_path
from aigi_core.workspace import Workspace, digest_of
from ui.toolkit import access
from ui.toolkit.kept import cached
from ui.toolkit.router import ROOT

THUMBNAIL = 360
"""Longest side, px, of what is sent for a local image; smaller files of web formats are sent as
they are.
"""


SHOWN = (
    "path",
    "source_url",
    "offset",
    "preview_hash",
    "label",
    "generator",
    "pool",
    "caption",
)
"""Columns of images that a tile shows."""


@dataclass(frozen=True)
class Tile:
    """One image of a grid.

    Attributes:
        row: its row in the workspace.
        lines: caption, one string a line, plain text.
        tone: ``right`` or ``wrong`` for a coloured edge that the caption must also say in words;
            empty for none.
        href: where a click leads; by default the image's source_url (:meth:`.Page.images`:
            the page Inspect).
        key: what a click reports in a grid whose images can be opened (:func:`clickable_grid`).
        chosen: it is the one opened, and outlined.
    """

    row: int
    lines: Sequence[str] = ()
    tone: str = ""
    href: str = ""
    key: str = ""
    chosen: bool = False


def image_roots(workspace: Workspace) -> list[Path]:
    """Folders on this machine that may hold the workspace's images, in the order in which they are
    looked at: those of ``AIGI_IMAGES``, then what the workspace records, then the project's own.

    ``AIGI_IMAGES`` set to nothing keeps local files out of the app. To other machines only folders
    are shown that the operator declared (:func:`ui.toolkit.access.may_see`).
    """
    if os.environ.get(access.IMAGES) == "":
        return []
    recorded = workspace.manifest.get("image_root")
    found: dict[Path, None] = {}
    for candidate in (
        *access.named_folders(access.IMAGES),
        recorded,
        str(ROOT.parent / "shared" / "images"),
    ):
        try:
            if candidate and access.may_see(root := as_path(candidate)) and root.is_dir():
                found[root.resolve()] = None
        # a stranger's workspace may record anything
        except (AigiError, OSError, TypeError, ValueError):
            continue
    return list(found)


def image_files(image: Mapping[Hashable, Any], roots: Sequence[Path]) -> list[ImageSource]:
    """The files that a row of images may be, one a folder that has one of its name."""
    facts = {"path": image["path"], "offset": image.get("offset", -1)}
    return [one for root in roots if (one := image_source(facts, root)).kind == "file"]


@cached
def _thumbnail(
    workspace: Workspace, row: int, file: str, offset: int, side: int
) -> tuple[str | None, str]:
    """Data URI of a local image, at most ``side`` px; None, and why, where it cannot be decoded or
    is not the image that was ingested."""
    wanted = str(workspace.images["content_hash"].iloc[row])
    (result,) = read_images(thumbnail, [(file, offset, side, wanted)], _decoders())
    if isinstance(result, ImageError):
        return None, f"not shown: {result}"
    content, kind = result
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}", ""


@cache
def _decoders() -> LimitedProcesses:
    """Processes of their own, so that no page waits for uploads."""
    processes = LimitedProcesses(2, 2, seconds=SECONDS / 2)
    atexit.register(processes.close)
    return processes


@cached
def _preview(preview_hash: str) -> str | None:
    """Data URI of a ThumbHash; None where it is empty or damaged."""
    try:
        return preview_data_uri(preview_hash) if preview_hash else None
    except AigiError:
        return None


def tiles_html(
    workspace: Workspace, tiles: Sequence[Tile], side: int = THUMBNAIL, *, link: bool = True
) -> list[str]:
    """One figure element a tile: the image over its preview, the link, the caption."""
    images = workspace.images.iloc[[tile.row for tile in tiles]]
    records = images[[name for name in SHOWN if name in images]].to_dict("records")
    roots = image_roots(workspace)
    return [
        _tile_html(workspace, tile, record, roots, side, link)
        for tile, record in zip(tiles, records, strict=True)
    ]


def _tile_html(
    workspace: Workspace,
    tile: Tile,
    image: Mapping[Hashable, Any],
    roots: Sequence[Path],
    side: int,
    link: bool,
) -> str:
    preview = _preview(str(image["preview_hash"]))
    facts = {name: image[name] for name in ("path", "source_url") if name in image}
    url = image_source(facts, None).value
    local, why = None, ""
    for file in image_files(image, roots):
        local, why = _thumbnail(workspace, tile.row, file.value, file.offset, side)
        if local:
            break
    what = f"fake image by {image['generator']}" if image["label"] == FAKE else "real image"
    alt = escape(
        f"{what}, pool {image['pool']}" + (f": {image['caption']}" if image["caption"] else ""),
        quote=True,
    )
    behind = f' style="background-image:url({preview})"' if preview and not local else ""
    if shown := local or url:
        picture = (
            f'<img src="{escape(shown, quote=True)}" alt="{alt}" loading="lazy" decoding="async"'
            ' referrerpolicy="no-referrer">'
        )
    else:
        picture = f'<span role="img" aria-label="{alt}">{"" if preview else "no preview"}</span>'
    picture = f'<span class="aigi-picture"{behind}>{picture}</span>'
    if tile.key:
        key, opens = (
            escape(tile.key, quote=True),
            escape(f"Open: {what}; {', '.join(tile.lines)}", quote=True),
        )
        picture = f'<button type="button" data-key="{key}" aria-label="{opens}">{picture}</button>'
    elif link and (href := tile.href or url):
        picture = (
            f'<a href="{escape(href, quote=True)}" target="_blank" rel="noopener'
            f' noreferrer">{picture}</a>'
        )
    caption = "".join(f"<span>{escape(line)}</span>" for line in filter(None, [*tile.lines, why]))
    tone = f" aigi-{tile.tone}" if tile.tone in ("right", "wrong") else ""
    tone += " aigi-chosen" if tile.chosen else ""
    return f'<figure class="aigi-tile{tone}">{picture}<figcaption>{caption}</figcaption></figure>'


ORIGINAL = 4096
"""Longest side, px, of an image that is shown alone."""


def picture_html(workspace: Workspace, tile: Tile, zoom: int | None) -> str:
    """One image alone, with its caption: as wide as its place, or ``zoom`` times its own pixels."""
    width, height = (int(workspace.images[side].iloc[tile.row]) for side in ("width", "height"))
    size = f"{width * zoom}px" if zoom else "100%"
    alone = replace(tile, key="", chosen=False)
    (figure,) = tiles_html(workspace, [alone], ORIGINAL, link=False)
    pixels = "image-rendering:pixelated;" if zoom and zoom > 1 else ""
    pixels += "" if zoom else "--tall:52vh;"
    style, here = f"--size:{size};--ratio:{width}/{height};{pixels}", "<img" in figure
    return (
        f'<div class="aigi-large{"" if here else " aigi-lost"}" style="{style}">{figure}</div>'
        f'<p class="aigi-preview-alone" role="status">{NOT_LOADED if here else NOT_HERE}</p>'
    )


NOT_HERE = "The image itself is not here: this is its preview."
NOT_LOADED = (
    "The image could not be loaded from its publisher (no connection, or it is gone there): this is"
    " its preview."
)
LOST = """<script>
window.aigiLost ||= (() => {
  document.addEventListener('error', (event) => {
    event.target.closest?.('.aigi-large')?.classList.add('aigi-lost')
  }, true)
  return true
})()
</script>"""
"""Only the browser knows that an image did not come: then its preview is shown alone, and said to
be one."""


def grid_html(workspace: Workspace, tiles: Sequence[Tile], width: int = 132) -> str:
    """All tiles as one grid of columns at least ``width`` px wide."""
    cells = "".join(tiles_html(workspace, tiles))
    return f'<div class="aigi-grid" style="--tile:{int(width)}px">{cells}</div>'


_CLICKS = """
export default function({ parentElement, data, setTriggerValue }) {
  if (parentElement.dataset.shown !== data.digest) {
    const fresh = document.createElement('template')
    fresh.innerHTML = data.html
    const [before, after] = [parentElement, fresh.content].map(
      (grid) => [...grid.querySelectorAll('figure')])
    const same = before.length === after.length
      && after.every((tile, at) => tile.innerHTML === before[at].innerHTML)
    if (same) after.forEach((tile, at) => { before[at].className = tile.className })
    else parentElement.replaceChildren(fresh.content)
    parentElement.dataset.shown = data.digest
  }
  parentElement.onclick = (event) => {
    const button = event.target.closest('button[data-key]')
    if (button) setTriggerValue('opened', button.dataset.key)
  }
}
"""


def clickable_grid(
    workspace: Workspace, tiles: Sequence[Tile], width: int, key: str, opened: Callable[[str], None]
) -> None:
    """A grid whose tiles with a ``key`` are buttons; a click, or Enter, calls ``opened`` with the
    tile's key.

    The page's script only places what :func:`tiles_html` has escaped. Where only another tile is
    outlined, its buttons stay: a dialog that one of them opened gives the focus back to it.
    """

    def report() -> None:
        if chosen := st.session_state[key].get("opened"):
            opened(str(chosen))

    html = grid_html(workspace, tiles, width)
    mount = st.components.v2.component("aigi_grid", js=_CLICKS, isolate_styles=False)
    mount(key=key, data={"html": html, "digest": digest_of(html)}, on_opened_change=report)
