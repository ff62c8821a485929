"""Figures as files for a paper: SVG, PDF or PNG, of a column's width, in the light theme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import plotly.graph_objects as go

from aigi_core.errors import AigiError
from aigi_core.figures.theme import LIGHT, SELECTION

Format = Literal["svg", "pdf", "png"]
WIDTHS_MM = {"One column (85 mm)": 85.0, "Two columns (178 mm)": 178.0, "Slide (254 mm)": 254.0}
"""Widths on offer, millimetres."""
_POINT = 96 / 72
_MM = 96 / 25.4
_BODY = 13
"""Font size, px, that figures are drawn with."""


def for_paper(
    draw: Callable[..., go.Figure], *, width_mm: float = 178, font_pt: float = 8
) -> go.Figure:
    """The figure as it is printed: light, on white, without the outline of what was selected.

    Args:
        draw: a figure function with everything but ``theme`` filled in.
        width_mm: width of the printed figure; its height keeps the proportions of the screen.
        font_pt: size of its text; all other text keeps its proportion to it.
    """
    figure = draw(theme=LIGHT)
    figure.layout.shapes = [s for s in figure.layout.shapes if s.name != SELECTION]
    figure.layout.annotations = [a for a in figure.layout.annotations if a.name != SELECTION]
    figure.data = [trace for trace in figure.data if trace.name != SELECTION]
    scale = font_pt * _POINT / _BODY
    width = width_mm * _MM / scale
    figure.update_layout(width=width, paper_bgcolor="white", plot_bgcolor="white")
    return figure


def export(
    draw: Callable[..., go.Figure],
    kind: Format,
    *,
    width_mm: float = 178,
    font_pt: float = 8,
) -> bytes:
    """The file's bytes.

    Raises:
        AigiError: kaleido, or the Chromium that it works with, is missing; says what to install.
    """
    figure = for_paper(draw, width_mm=width_mm, font_pt=font_pt)
    scale = font_pt * _POINT / _BODY * (4 if kind == "png" else 1)
    try:
        made: bytes = figure.to_image(format=kind, scale=scale)
    except (ImportError, ValueError, RuntimeError) as error:
        raise AigiError(
            "SVG, PDF and PNG files need the packages of requirements-export.txt and a Chrome or"
            f" Chromium browser on the server ({type(error).__name__}): run 'pip install -r"
            " requirements-export.txt', or take the HTML file, whose camera saves SVG."
        ) from error
    return made
