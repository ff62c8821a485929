"""Images as points of a map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Style, Theme, colour_bar, finish, label
from aigi_core.statements import counted

_MANY = 1500
"""Points beyond which WebGL draws them."""


def image_points(
    table: pd.DataFrame,
    by: str,
    *,
    titles: tuple[str, str],
    styles: Mapping[str, Style],
    alt: str,
    theme: Theme = LIGHT,
) -> go.Figure:
    """One point an image.

    Args:
        table: :func:`aigi_core.geometry.projection.points_table` and the column ``by``: a number is
            shown on the diverging scale about 0, a text as groups.
        styles: text -> its look; real images and others have looks of their own.

    A click or a lasso reports ``customdata`` [path].
    """
    figure = go.Figure()
    draw = go.Scattergl if len(table) > _MANY else go.Scatter
    numeric = pd.api.types.is_numeric_dtype(table[by])
    groups = [(by, table)] if numeric else list(table.groupby(by, sort=False))
    groups.sort(key=lambda pair: pair[0] == "real")
    for number, (name, part) in enumerate(groups):
        marker = _marker(str(name), number, by, part, styles, theme)
        figure.add_trace(
            draw(
                x=part["x"],
                y=part["y"],
                mode="markers",
                name=label(str(name)),
                showlegend=not numeric,
                marker=marker,
                customdata=part[["path"]].to_numpy().tolist(),
                text=[
                    f"{label(source, 40)}, {split}<br>{label(path, 60)}"
                    for source, split, path in part[["source", "split", "path"]].to_numpy()
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return _finished(figure, titles, theme, alt)


def image_cells(
    table: pd.DataFrame,
    by: str,
    *,
    titles: tuple[str, str],
    styles: Mapping[str, Style],
    alt: str,
    theme: Theme = LIGHT,
) -> go.Figure:
    """As :func:`image_points` for very many: one square a cell, the larger the more images.

    Args:
        table: :func:`aigi_core.geometry.projection.cells_table`; a cell has the colour of the
            commonest text in it, or of the mean number.

    A lasso reports ``customdata`` [cell].
    """
    figure = go.Figure()
    numeric = pd.api.types.is_numeric_dtype(table[by])
    groups = [(by, table)] if numeric else list(table.groupby(by, sort=False))
    groups.sort(key=lambda pair: pair[0] == "real")
    most = float(np.log1p(table["images"].max()))
    for number, (name, part) in enumerate(groups):
        marker = _marker(str(name), number, by, part, styles, theme)
        marker |= dict(symbol="square", size=2 + 5 * np.log1p(part["images"]) / most, opacity=1)
        about = (
            part[by].map("mean {:+.2f}".format) if numeric else part["share"].map("{:.0%}".format)
        )
        figure.add_trace(
            go.Scattergl(
                x=part["x"],
                y=part["y"],
                mode="markers",
                name=label(str(name)),
                showlegend=not numeric,
                marker=marker,
                customdata=part[["cell"]].to_numpy().tolist(),
                text=[
                    f"{counted(n, 'image')}<br>{label(str(name), 40)}: {text}"
                    for n, text in zip(part["images"], about, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return _finished(figure, titles, theme, alt)


def _marker(
    name: str,
    number: int,
    by: str,
    part: pd.DataFrame,
    styles: Mapping[str, Style],
    theme: Theme,
) -> dict[str, object]:
    """Look of one group's points, or of all where they show a number."""
    style = styles.get(name)
    palette = (*theme.series, theme.muted)
    fixed = {"real": theme.real, "right": theme.right, "wrong": theme.wrong}
    marker: dict[str, object] = dict(
        size=6,
        opacity=0.75,
        symbol=style.marker if style else "circle",
        color=style.colour if style else fixed.get(name, palette[number % len(palette)]),
    )
    if pd.api.types.is_numeric_dtype(part[by]):
        reach = float(part[by].abs().quantile(0.98)) or 1.0
        marker |= dict(
            color=part[by],
            colorscale=theme.classes,
            cmin=-reach,
            cmax=reach,
            colorbar=colour_bar(by, theme),
        )
    return marker


def _finished(figure: go.Figure, titles: tuple[str, str], theme: Theme, alt: str) -> go.Figure:
    figure.update_xaxes(title_text=titles[0], zeroline=False)
    figure.update_yaxes(title_text=titles[1], zeroline=False, scaleanchor="x")
    return finish(figure, theme, alt, 620, hovermode="closest", dragmode="lasso")
