"""One image of a grid, large, in a dialog: the next and the one before by arrow keys, enlarged down
to its pixels, beside one that was pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui.toolkit.controls import acted
from ui.toolkit.images import Tile, picture_html

if TYPE_CHECKING:
    from ui.toolkit.page import Page

Details = Callable[[Tile], None]
"""Draws what a page has to say of an image, under it."""
Choose = Callable[[str], None]
"""Takes the key of an image, as a click on its tile does."""
ZOOMS = {"Fit": None, "100%": 1, "200%": 2, "400%": 4}
_OPENED, _AT, _PINNED, _ZOOM = (
    "_lightbox_opened",
    "_lightbox_at",
    "_lightbox_pinned",
    "_lightbox_zoom",
)


def open_in(grid: str, key: str) -> None:
    """From a click's callback: the run that follows opens the image ``key`` of a grid."""
    st.session_state[_OPENED] = (grid, key)
    acted()


def show_opened(
    page: Page,
    grid: str,
    tiles: Sequence[Tile],
    details: Details | None,
    choose: Choose | None = None,
) -> None:
    """Open the dialog where an image of this grid has just been clicked.

    Args:
        choose: called with the key of the image last seen, once the dialog is closed. Not before:
            the browser, which has not seen the page drawn anew, would put its controls back.
    """
    if st.session_state.get(_OPENED, ("",))[0] != grid:
        return
    _, key = st.session_state.pop(_OPENED)
    keys = [tile.key for tile in tiles]

    def seen() -> None:
        if choose:
            choose(keys[st.session_state[_AT]])

    if key in keys:
        st.session_state[_AT], st.session_state[_ZOOM] = keys.index(key), next(iter(ZOOMS))
        st.dialog("Image", width="large", on_dismiss=seen if choose else "ignore")(_draw)(
            page, tiles, details
        )


def _draw(page: Page, tiles: Sequence[Tile], details: Details | None) -> None:
    at = st.session_state[_AT] = min(st.session_state.get(_AT, 0), len(tiles) - 1)
    tile = tiles[at]
    pinned = st.session_state.get(_PINNED)
    mine = pinned is not None and pinned == (page.workspace.digest, tile)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        _step(len(tiles), at - 1)
        _step(len(tiles), at + 1, forward=True)
        st.markdown(f"{at + 1} of {len(tiles)}", width="content")
        zoom = _choose_zoom()
        st.button(
            "Unpin" if mine else "Pin",
            key="lightbox-pin",
            icon=":material/keep:",
            on_click=_set,
            args=(_PINNED, None if mine else (page.workspace.digest, tile)),
            help="A pinned image stays beside those that you open next.",
        )
    shown = [tile]
    if pinned and not mine and pinned[0] == page.workspace.digest:
        shown.insert(0, pinned[1])
    paths = page.workspace.images["path"]
    for column, one in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            lines = [*([] if one is tile else ["Pinned"]), *one.lines, str(paths.iloc[one.row])]
            st.html(picture_html(page.workspace, replace(one, lines=lines), ZOOMS[zoom]))
    if details:
        details(tile)
    page.link("inspect", "Inspect this image", image=str(paths.iloc[tile.row]))
    page.source(tile.row)


def _step(n: int, to: int, *, forward: bool = False) -> None:
    """A button to a neighbour, which an arrow key presses, too."""
    st.button(
        "Next" if forward else "Previous",
        key="lightbox-next" if forward else "lightbox-previous",
        icon=f":material/arrow_{'forward' if forward else 'back'}:",
        icon_position="right" if forward else "left",
        shortcut="Right" if forward else "Left",
        disabled=not 0 <= to < n,
        on_click=_set,
        args=(_AT, to),
    )


def _choose_zoom() -> str:
    """How large: two buttons, for a list of sizes would take the arrow keys once it is clicked."""
    sizes = list(ZOOMS)
    zoom: str = st.session_state.get(_ZOOM, sizes[0])
    at = sizes.index(zoom)
    for label, icon, to in (("Smaller", "zoom_out", at - 1), ("Larger", "zoom_in", at + 1)):
        st.button(
            label,
            key=f"lightbox-{label.lower()}",
            icon=f":material/{icon}:",
            disabled=not 0 <= to < len(sizes),
            on_click=_set,
            args=(_ZOOM, sizes[to % len(sizes)]),
        )
    st.markdown(f"Size: {zoom}", width="content")
    return zoom


def _set(name: str, what: Any) -> None:
    st.session_state[name] = what
