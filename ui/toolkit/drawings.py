"""Figures of a page, drawn once for all sessions: plotly takes longer to check a figure than all
else that a click asks of the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pickle import HIGHEST_PROTOCOL, Pickler, PicklingError

import plotly.graph_objects as go
import streamlit as st

from aigi_core.figures import Theme, generator_styles

Draw = Callable[..., go.Figure]
"""A figure function with everything but ``theme`` filled in."""
MOST = 32 * 2**20
"""Bytes of arguments beyond which reading them all takes longer than to draw anew."""


@dataclass(frozen=True)
class Styled:
    """A figure function that also takes the generators' ``styles``, which depend on the theme.

    Attributes:
        generators, families: those of the workspace, in its order.
    """

    draw: Draw
    generators: tuple[str, ...]
    families: tuple[str, ...]

    def __call__(self, theme: Theme) -> go.Figure:
        styles = generator_styles(self.generators, self.families, theme)
        return self.draw(styles=styles, theme=theme)


def drawn(draw: Draw, theme: Theme) -> go.Figure:
    """The figure; from memory where the same function drew the same values before. It is shared:
    do not change it.

    What decides is the content of ``draw``'s arguments, so that nothing outdated is shown. What
    cannot be written down, as a lambda, or is larger than :data:`MOST` is drawn anew.
    """
    content = _Digest()
    try:
        Pickler(content, HIGHEST_PROTOCOL).dump((draw, theme))
    except (PicklingError, AttributeError, TypeError):
        return draw(theme=theme)
    return _drawn(content.sum.hexdigest(), draw, theme)


class _Digest:
    """A file that keeps the digest of what is written; PicklingError beyond :data:`MOST` bytes."""

    def __init__(self) -> None:
        self.sum = hashlib.blake2b(digest_size=16)
        self.size = 0

    def write(self, part: bytes) -> None:
        self.size += memoryview(part).nbytes
        if self.size > MOST:
            raise PicklingError("too large to be compared")
        self.sum.update(part)


@st.cache_resource(show_spinner=False, max_entries=128)
def _drawn(content: str, _draw: Draw, _theme: Theme) -> go.Figure:
    del content  # the key
    return _draw(theme=_theme)
