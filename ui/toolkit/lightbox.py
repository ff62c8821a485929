"""One image of a grid, large, in a dialog: the next and the one before by arrow keys, enlarged down
to its pixels, beside one that was pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from ui.toolkit.controls import acted
from ui.toolkit.images import Tile, picture_html

if TYPE_CHECKING:
    from ui.toolkit.page import Page

Details = Callable[[Tile], None]
"""Draws what a page has to say of an image, under it."""
ZOOMS = {"Fit": None, "100%": 1, "200%": 2, "400%": 4}
_OPENED, _AT, _PINNED = "_lightbox_opened", "_lightbox_at", "_lightbox_pinned"


def open_in(grid: str, key: str) -> None:
    """From a click's callback: the run that follows opens the image ``key`` of a grid."""
    st.session_state[_OPENED] = (grid, key)
    acted()


def show_opened(page: Page, grid: str, tiles: Sequence[Tile], details: Details | None) -> None:
    """Open the dialog where an image of this grid has just been clicked."""
    if st.session_state.get(_OPENED, ("",))[0] != grid:
        return
    _, key = st.session_state.pop(_OPENED)
    keys = [tile.key for tile in tiles]
    if key in keys:
        st.session_state[_AT] = keys.index(key)
        _dialog(page, tiles, details)


@st.dialog("Image", width="large")
def _dialog(page: Page, tiles: Sequence[Tile], details: Details | None) -> None:
    at = st.session_state[_AT] = min(st.session_state.get(_AT, 0), len(tiles) - 1)
    tile = tiles[at]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "Previous",
            key="lightbox-previous",
            icon=":material/arrow_back:",
            shortcut="Left",
            disabled=at == 0,
            on_click=_go,
            args=(at - 1,),
        )
        st.button(
            "Next",
            key="lightbox-next",
            icon=":material/arrow_forward:",
            icon_position="right",
            shortcut="Right",
            disabled=at == len(tiles) - 1,
            on_click=_go,
            args=(at + 1,),
        )
        st.markdown(f"{at + 1} of {len(tiles)}")
        zoom = st.segmented_control("Size", list(ZOOMS), default="Fit", key="lightbox-zoom")
        pinned = st.session_state.get(_PINNED)
        mine = pinned is not None and pinned == (page.workspace.digest, tile)
        st.button(
            "Unpin" if mine else "Pin",
            key="lightbox-pin",
            icon=":material/keep:",
            on_click=_pin,
            args=(None if mine else (page.workspace.digest, tile),),
            help="A pinned image stays beside those that you open next.",
        )
    shown = [tile]
    if pinned and not mine and pinned[0] == page.workspace.digest:
        shown.insert(0, pinned[1])
    for column, one in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            st.html(picture_html(page.workspace, one, ZOOMS[zoom or "Fit"]))
            st.caption("Pinned" if one is not tile else " ".join(one.lines[1:2]))
    if details:
        details(tile)
    path = str(page.workspace.images["path"].iloc[tile.row])
    page.link("inspect", "Inspect this image", image=path)
    page.source(tile.row)


def _go(at: int) -> None:
    st.session_state[_AT] = at


def _pin(what: tuple[str, Tile] | None) -> None:
    st.session_state[_PINNED] = what
