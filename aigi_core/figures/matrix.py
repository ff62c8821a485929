"""Matrices: transfer, differences, layers x heads. One heatmap whose cells can be clicked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import (
    LIGHT,
    SELECTION,
    Scale,
    Theme,
    colour_bar,
    finish,
    labels,
    points_bar,
)

Centre = Literal["chance", "zero", "none"]
_DARK, _WHITE = "#000000", "#ffffff"
_INSET = 0.05
"""Of a cell: outlines stand inside it, clear of the gaps between families."""
_SHORT_FAMILIES = {
    "gan": ("GAN",),
    "autoregressive": ("autoregressive", "AR"),
    "mixed": ("mixed", "mix"),
    "diffusion": ("diffusion", "diff.", "D"),
}
"""What a family is called above its columns, longest first; others are called by their name."""
_TICK, _MOST_TICKS = 13, 60
"""Height of a line of ticks, px, and columns that are named at most."""


_INVISIBLE: dict[str, Any] = dict(
    mode="markers",
    marker=dict(opacity=0, size=12),
    selected=dict(marker=dict(opacity=0)),
    unselected=dict(marker=dict(opacity=0)),
)
"""Points that only take clicks."""


NO_VALUE = "no value"


def heatmap(
    values: pd.DataFrame,
    *,
    alt: str,
    centre: Centre = "chance",
    row_title: str = "",
    column_title: str = "",
    value_title: str = "",
    row_families: Sequence[str] = (),
    column_families: Sequence[str] = (),
    hover: pd.DataFrame | None = None,
    faint: pd.DataFrame | None = None,
    selected: tuple[str, str] | None = None,
    limits: tuple[float, float] | None = None,
    number: str = ".2f",
    percent: bool = False,
    diagonal: bool = True,
    outlined: np.ndarray | None = None,
    higher_is_better: bool = True,
    compact: bool = False,
    margins: bool = False,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A matrix whose cells carry their number and report clicks (as ``customdata`` [row name,
    column name]).

    Args:
        values: rows by columns; NaN where a cell is empty.
        alt: what the matrix shows, in words.
        centre: diverging scale around .5 (``chance``) or around 0 (``zero``); a sequential scale
            for ``none``.
        row_families, column_families: the family of each row and column, in order; blocks are set
            apart and named.
        hover: what each cell says below its names; the plain value where it is None.
        faint: True where a number is to be read with reserve (not significant): its cell is faded
            and its number set in italics.
        selected: row and column name of the cell to outline.
        limits: ends of the scale; by default symmetrical around the centre and wide enough for
            every value.
        number: format of the numbers, as in Python.
        percent: numbers as percent without decimals; around 0 as percentage points with one.
        diagonal: outline cells whose row and column have the same name (in-domain).
        outlined: [rows, columns] cells to outline instead of those.
        higher_is_better: the scale's good end; False turns the diverging scale round (error rates).
        compact: without colour bar and titles of axes, for two side by side.
        margins: the last row and column are means: set apart, and no click opens them.
    """
    z = values.to_numpy(float)
    rows, columns = [str(r) for r in values.index], [str(c) for c in values.columns]
    low, high = limits or _limits(z, centre)
    factor, number = (100, "+z.1f" if centre == "zero" else ".0f") if percent else (1, number)
    texts, faded = _cell_texts(factor * z, number, faint, compact=compact)
    scale = _scale(theme, centre, higher_is_better)
    bar = _bar(value_title, centre, (low, high), percent=percent, theme=theme)
    look = dict(zmin=low, zmax=high, colorscale=scale, xgap=1, ygap=1, hoverinfo="skip")
    figure = go.Figure(
        go.Heatmap(z=np.where(faded, np.nan, z), showscale=not compact, colorbar=bar, **look)
    )
    unit = " points" if percent and centre == "zero" else "%" if percent else ""
    written = (
        _plain_tips(factor * z, number, value_title, unit) if hover is None else hover.to_numpy(str)
    ).reshape(z.shape)
    look_of_cells = _INVISIBLE
    if max(z.shape) <= 26:  # beyond that no number can be read
        colours = np.reshape(_text_colours(z, low, high, scale), z.shape)
        colours = np.where(faded, theme.muted, colours)
        look_of_cells = _numbers(texts, colours, theme)
    titles = row_title, column_title
    _add_cells(figure, (rows, columns), titles, written, look_of_cells, margins=margins)
    if faded.any():
        figure.add_heatmap(z=np.where(faded, z, np.nan), showscale=False, opacity=0.22, **look)
    shapes = [*_borders(row_families, column_families, z.shape, theme)]
    if outlined is None:
        outlined = diagonal & np.equal.outer(np.array(rows, object), np.array(columns, object))
    shapes += _outlines(outlined, rows, columns, selected, margins=margins, theme=theme)
    every = -(-len(columns) // _MOST_TICKS)
    _name_axes(
        figure,
        rows,
        columns,
        every,
        row_title="" if compact else row_title,
        column_title="" if compact else column_title,
    )
    body = max(160, len(rows) * (30 if len(rows) <= 30 else _TICK))
    height = 150 + body + (22 if column_families else 0)
    return finish(
        figure,
        theme,
        alt,
        height,
        hovermode="closest",
        hoverdistance=-1,
        dragmode=False,
        shapes=shapes,
        annotations=_family_names(column_families, theme),
        least_width=_least_width(len(columns[::every]), legend=not compact),
        margin=dict(l=8, r=8, t=30 if column_families else 10, b=8),
    )


def _bar(
    title: str, centre: Centre, limits: tuple[float, float], *, percent: bool, theme: Theme
) -> dict[str, Any]:
    if percent and centre == "zero":
        return points_bar(title, theme, *limits)
    return colour_bar(title, theme, ".0%" if percent else None)


def _cell_texts(
    z: np.ndarray, number: str, faint: pd.DataFrame | None, *, compact: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The cells' numbers, empty where there is none, and which cells are faded."""
    texts = np.array(
        [["" if np.isnan(v) else _short(v, number) for v in line] for line in z], object
    ).reshape(z.shape)
    if compact:
        texts = np.where(texts == "1.00", "1.0", texts)  # as wide as the others
    faded = np.zeros(z.shape, bool) if faint is None else faint.to_numpy(bool) & (texts != "")
    return np.where(faded, "<i>" + texts + "</i>", texts), faded


def _scale(theme: Theme, centre: Centre, higher_is_better: bool) -> Scale:
    scale = theme.sequential if centre == "none" else theme.diverging
    if higher_is_better:
        return scale
    return [(1 - at, colour) for at, colour in reversed(scale)]


def _outlines(
    outlined: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    selected: tuple[str, str] | None,
    *,
    margins: bool,
    theme: Theme,
) -> list[dict[str, Any]]:
    """What sets the margins apart, and lines around cells and around the selected one."""
    shapes = []
    if margins:
        rim = f"M{len(columns) - 1.5},-0.5V{len(rows) - 0.5}M-0.5,{len(rows) - 1.5}"
        rim += f"H{len(columns) - 0.5}"
        shapes.append(dict(type="path", path=rim, line=dict(color=theme.paper, width=7)))
    if outlined.any():
        shapes.append(_outline(np.argwhere(outlined), theme.ink, 1))
    if selected and selected[0] in rows and selected[1] in columns:
        cell = (rows.index(selected[0]), columns.index(selected[1]))
        shapes += [_cross(cell, outlined.shape, theme.accent) | dict(name=SELECTION)]
        shapes.append(_outline([cell], theme.accent, 4) | dict(name=SELECTION))
    return shapes


def _plain_tips(z: np.ndarray, number: str, title: str, unit: str) -> np.ndarray:
    texts = [NO_VALUE if np.isnan(v) else _short(v, number) + unit for v in z.ravel()]
    return np.array([f"{title}: {text}" if title else text for text in texts], object)


def _add_cells(
    figure: go.Figure,
    names: tuple[list[str], list[str]],
    titles: tuple[str, str],
    written: np.ndarray,
    look: dict[str, Any],
    *,
    margins: bool,
) -> None:
    """What a cell says under the pointer, and what a click on it reports.

    Plotly reports no clicks on a heatmap (streamlit issues 8760, 8933): the numbers on the cells
    do, or invisible points over them.
    """
    y, x = np.indices(written.shape).reshape(2, -1)
    rows, columns = names
    shown = [
        [f"{title} {name}" if title else name for name in labels(side, 40)]
        for title, side in zip(titles, names, strict=True)
    ]
    descriptions = [
        f"{shown[0][i]}<br>{shown[1][j]}<br>{written[i, j]}" for i, j in zip(y, x, strict=True)
    ]
    figure.add_scatter(
        x=x,
        y=y,
        hovertemplate="%{hovertext}<extra></extra>",
        hovertext=descriptions,
        customdata=[
            None
            if margins and (i == len(rows) - 1 or j == len(columns) - 1)
            else [rows[i], columns[j]]
            for i, j in zip(y, x, strict=True)
        ],
        showlegend=False,
        name="cells",
        **look,
    )


def _numbers(texts: np.ndarray, colours: np.ndarray, theme: Theme) -> dict[str, Any]:
    return dict(
        mode="text",
        text=texts.ravel(),
        textfont=dict(size=11 if max(texts.shape) <= 18 else 9, color=colours.ravel().tolist()),
        # without it a click would fade all other numbers
        selected=dict(textfont=dict(color=theme.ink)),
    )


def _name_axes(
    figure: go.Figure,
    rows: list[str],
    columns: list[str],
    every: int,
    *,
    row_title: str,
    column_title: str,
) -> None:
    """Names of rows, and of every n-th column."""
    figure.update_xaxes(
        range=[-0.5, len(columns) - 0.5],
        tickvals=list(range(len(columns)))[::every],
        fixedrange=True,
        ticktext=labels(columns)[::every],
        tickangle=-50 if len(columns) > 6 else 0,
        title_text=column_title,
        showgrid=False,
    )
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickvals=list(range(len(rows))),
        ticktext=labels(rows),
        fixedrange=True,
        title_text=row_title,
        showgrid=False,
    )
    if len(rows) > 30:
        figure.update_yaxes(tickfont_size=10)
    if len(columns) > 30:
        figure.update_xaxes(tickfont_size=10)


def _least_width(names: int, *, legend: bool) -> int:
    """So that the names of columns and the numbers in cells stay readable."""
    if names <= 8:
        return 0
    if names > 16:
        return 1100 if names > 24 else 640
    return 540 if legend else 460


def _limits(z: np.ndarray, centre: Centre) -> tuple[float, float]:
    finite = z[np.isfinite(z)]
    if centre == "chance":
        return 0.0, 1.0
    if centre == "zero":
        reach = float(np.abs(finite).max()) if finite.size else 1.0
        return -max(reach, 1e-9), max(reach, 1e-9)
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _short(value: float, number: str) -> str:
    """A number without its leading zero, as tables of accuracies print it."""
    if np.isnan(value):
        return NO_VALUE
    text = f"{value:{number}}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def _text_colours(z: np.ndarray, low: float, high: float, scale: Scale) -> list[str]:
    """Dark or white for each cell, whichever stands out more from the cell's colour (WCAG relative
    luminance).
    """
    place = np.clip(
        np.nan_to_num((z.ravel() - low) / (high - low)) if high > low else np.zeros(z.size), 0, 1
    )
    stops = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for _, colour in scale])
    rgb = np.stack(
        [np.interp(place, [at for at, _ in scale], channel) for channel in stops.T], axis=1
    )
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    # .179: equal contrast to both, 4.58:1
    return [_DARK if light > 0.179 else _WHITE for light in luminance]


def _outline(cells: Iterable[tuple[int, int]], colour: str, width: int) -> dict[str, Any]:
    """Cells (row, column) outlined by one path: a shape for each would cost more than all the rest
    of a matrix.
    """
    to = 0.5 - _INSET
    path = "".join(f"M{j - to:g},{i - to:g}H{j + to:g}V{i + to:g}H{j - to:g}Z" for i, j in cells)
    return dict(
        type="path", path=path, line=dict(color=colour, width=width), fillcolor="rgba(0,0,0,0)"
    )


def _cross(cell: tuple[int, int], shape: tuple[int, int], colour: str) -> dict[str, Any]:
    """The row and the column of a cell, by thin lines."""
    (i, j), (rows, columns) = cell, shape
    path = f"M-0.5,{i - 0.5}H{columns - 0.5}V{i + 0.5}H-0.5Z"
    path += f"M{j - 0.5},-0.5V{rows - 0.5}H{j + 0.5}V-0.5Z"
    return dict(
        type="path", path=path, line=dict(color=colour, width=1.2), fillcolor="rgba(0,0,0,0)"
    )


def _borders(
    rows: Sequence[str], columns: Sequence[str], shape: tuple[int, ...], theme: Theme
) -> Iterator[dict[str, Any]]:
    """Lines between families."""
    path = "".join(
        f"M{start - 0.5},-0.5V{shape[0] - 0.5}" for start, _, _ in _runs(columns) if start
    )
    path += "".join(f"M-0.5,{start - 0.5}H{shape[1] - 0.5}" for start, _, _ in _runs(rows) if start)
    if path:
        yield dict(type="path", path=path, line=dict(color=theme.paper, width=4))


def _family_names(columns: Sequence[str], theme: Theme) -> list[dict[str, Any]]:
    return [
        dict(
            x=(start + end) / 2,
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font=dict(size=12, color=theme.muted),
            text=_family_name(family, max(4, 3 * (end - start + 1))),
        )
        for start, end, family in _runs(columns)
    ]


def _family_name(family: str, width: int) -> str:
    """The longest of its names that fits into ``width`` letters, else its beginning."""
    names = _SHORT_FAMILIES.get(family, (family,))
    fitting = [name for name in names if len(name) <= width]
    return labels([fitting[0] if fitting else f"{names[-1][: width - 1]}."])[0]


def _runs(names: Sequence[str]) -> list[tuple[int, int, str]]:
    """Stretches of equal names: (first, last, name)."""
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    return [
        (s, e - 1, names[s]) for s, e in zip(starts, [*starts[1:], len(names)], strict=bool(starts))
    ]
