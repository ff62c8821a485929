"""What surrounds every page: the sidebar's workspace field and the few styles that Streamlit's
theme has no words for.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st
from PIL import Image

from aigi_core.figures import DARK, LIGHT, Theme
from ui.toolkit import images, router, tables, workspaces

PRODUCT = "AIGI Explorer"


def _icon() -> Image.Image:
    """The tab's icon: four cells of a matrix. Made here, for a named icon would be fetched from a
    font host.
    """
    icon = Image.new("RGBA", (32, 32))
    for cell, colour in zip(
        ((2, 2), (17, 2), (2, 17), (17, 17)),
        ("#1d5c78", "#9fc4d3", "#e3b48c", "#1d5c78"),
        strict=True,
    ):
        icon.paste(colour, (*cell, cell[0] + 13, cell[1] + 13))
    return icon


ICON = _icon()


def tab_title(page: str) -> str:
    """What the browser's tab says."""
    return PRODUCT if page == PRODUCT else f"{page} · {PRODUCT}"


ICONS = "".join(
    f'[data-testid=stSidebarNavLink][href$="/{page.stem}"]::before{{content:"{page.icon}"/""}}\n'
    for page in router.PAGES.values()
)
"""Of the menu's links. An icon of Streamlit's own would also be the tab's, from a font host."""


def _style(theme: Theme) -> str:
    """The style sheet, with the colours of Streamlit's theme, which are no variables there."""
    css = Path(__file__).with_suffix(".css").read_text("utf-8")
    names = ("paper", "panel", "ink", "grid", "accent")
    colours = ";".join(f"--aigi-{name}:{getattr(theme, name)}" for name in names)
    scripts = f"{tables.SORT}{images.LOST}"
    return f"<style>\n:root{{{colours}}}\n{css}{ICONS}</style>{scripts}"


STYLES = {theme.name: _style(theme) for theme in (LIGHT, DARK)}


@cache
def _glossary() -> list[list[str]]:
    """Title and entries of each section of docs/glossary.md, which a package holds too."""
    text = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text("utf-8")
    return [section.split("\n", 1) for section in text.split("\n## ")[1:]]


def terms() -> None:
    """What the words mean."""
    for title, entries in _glossary():
        st.caption(title)
        st.markdown(entries)


def frame() -> None:
    """Draw the frame; called by ``app.py`` before the page."""
    shown = DARK if st.context.theme.type == "dark" else LIGHT
    st.html(STYLES[shown.name], unsafe_allow_javascript=True)
    with st.sidebar:
        workspaces.choose()
        _terms_on_demand()


@st.fragment
def _terms_on_demand() -> None:
    words = st.popover(
        "What the words mean", icon=":material/menu_book:", key="glossary", on_change="rerun"
    )
    if words.open:
        with words:
            terms()
