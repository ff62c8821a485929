"""Images as points of a map."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Style, Theme, colour_bar, finish, label
from aigi_core.statements import counted, signed_score

_MANY = 1500
"""Points beyond which WebGL draws them."""
_SYMBOLS = ("diamond", "triangle-up", "cross", "star")
"""Of groups that have no style of their own, after the first."""


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
    draw = go.Scattergl if len(table) > _MANY else go.Scatter

    def texts(name: str, part: pd.DataFrame) -> list[str]:
        del name  # each point names its own source
        shown = ("source", "split", "path")
        numeric = pd.api.types.is_numeric_dtype(part[by])
        beside = (
            [""] * len(part)
            if by in shown
            else [f"{by}: {signed_score(value)}" for value in part[by]]
            if numeric
            else [f"{by}: {label(str(text), 40)}" for text in part[by]]
        )
        return [
            f"{label(source, 40)}, {split} split<br>{label(path, 60)}"
            + (f"<br>{more}" if more else "")
            for (source, split, path), more in zip(
                part[list(shown)].to_numpy(), beside, strict=True
            )
        ]

    figure = _groups(table, by, draw=draw, key="path", texts=texts, styles=styles, theme=theme)
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
    most = float(np.log1p(table["images"].max()))

    def texts(name: str, part: pd.DataFrame) -> list[str]:
        numeric = pd.api.types.is_numeric_dtype(part[by])
        about = (
            [f"mean {signed_score(value)}" for value in part[by]]
            if numeric
            else part["share"].map("{:.0%} of them".format)
        )
        return [
            f"{counted(n, 'image')} in this cell<br>{label(name, 40)}: {text}"
            for n, text in zip(part["images"], about, strict=True)
        ]

    def as_large_as_full(part: pd.DataFrame) -> dict[str, object]:
        return dict(size=2 + 5 * np.log1p(part["images"]) / most, opacity=1)

    figure = _groups(
        table,
        by,
        draw=go.Scattergl,
        key="cell",
        texts=texts,
        styles=styles,
        theme=theme,
        look=as_large_as_full,
        symbol="square",
    )
    return _finished(figure, titles, theme, alt)


def _groups(
    table: pd.DataFrame,
    by: str,
    *,
    draw: type[go.Scatter] | type[go.Scattergl],
    key: str,
    texts: Callable[[str, pd.DataFrame], list[str]],
    styles: Mapping[str, Style],
    theme: Theme,
    look: Callable[[pd.DataFrame], dict[str, object]] = lambda part: {},
    symbol: str = "circle",
) -> go.Figure:
    """Markers of each text of the column ``by``, real images on top, or of all where it holds
    numbers.

    Args:
        key: the column that a lasso reports.
        texts: what each marker of a group says under the pointer.
        look: what a group's markers have beside their own colour.
        symbol: of the first group; others have one of their own, so that colour does not tell them
            apart alone.
    """
    figure = go.Figure()
    numeric = pd.api.types.is_numeric_dtype(table[by])
    groups = [(by, table)] if numeric else list(table.groupby(by, sort=False))
    groups.sort(key=lambda pair: pair[0] == "real")
    for number, (name, part) in enumerate(groups):
        marker = _marker(str(name), number, by, part, styles, theme) | look(part)
        if "symbol" not in marker:
            own = {"real": symbol, "right": symbol, "wrong": "x"}
            marker["symbol"] = own.get(str(name), (symbol, *_SYMBOLS)[number % (1 + len(_SYMBOLS))])
        figure.add_trace(
            draw(
                x=part["x"],
                y=part["y"],
                mode="markers",
                name=label(str(name)),
                showlegend=not numeric,
                marker=marker,
                customdata=part[[key]].to_numpy().tolist(),
                text=texts(str(name), part),
                hovertemplate="%{text}<extra></extra>",
            )
        )
    return figure


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
        color=style.colour if style else fixed.get(name, palette[number % len(palette)]),
    )
    if style:
        marker["symbol"] = style.marker
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
    # so that the names of many groups stand beside each other and leave room for the points
    return finish(figure, theme, alt, 620, hovermode="closest", dragmode="lasso", least_width=640)
