"""Images as points of a map."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Style, Theme, colour_bar, finish, label

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
    palette = (*theme.series, theme.muted)
    fixed = {"real": theme.real, "right": theme.right, "wrong": theme.wrong}
    for number, (name, part) in enumerate(groups):
        style = styles.get(str(name))
        marker: dict[str, object] = dict(
            size=6,
            opacity=0.75,
            symbol=style.marker if style else "circle",
            color=style.colour if style else fixed.get(str(name), palette[number % len(palette)]),
        )
        if numeric:
            reach = float(part[by].abs().quantile(0.98)) or 1.0
            marker |= dict(
                color=part[by],
                colorscale=theme.classes,
                cmin=-reach,
                cmax=reach,
                colorbar=colour_bar(by, theme),
            )
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
    figure.update_xaxes(title_text=titles[0], zeroline=False)
    figure.update_yaxes(title_text=titles[1], zeroline=False, scaleanchor="x")
    return finish(figure, theme, alt, 620, hovermode="closest", dragmode="lasso")
