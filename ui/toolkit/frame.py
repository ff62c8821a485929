"""What surrounds every page: the sidebar's workspace field and the few styles that Streamlit's
theme has no words for.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui.toolkit import workspaces

STYLE = f"<style>\n{Path(__file__).with_suffix('.css').read_text('utf-8')}</style>"


def frame() -> None:
    """Draw the frame; called by ``app.py`` before the page."""
    st.html(STYLE)
    with st.sidebar:
        workspaces.choose()
