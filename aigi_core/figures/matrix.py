"""Matrices: transfer, differences, layers x heads. One heatmap whose cells can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Theme, finish, label

Centre = Literal["chance", "zero", "none"]
_SHORT_FAMILIES = {"gan": "GAN", "autoregressive": "AR", "mixed": "mix"}


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
    diagonal: bool = True,
    outlined: np.ndarray | None = None,
    higher_is_better: bool = True,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A matrix whose cells carry their number and report clicks (as ``customdata`` [row name, column name]).

    Args:
        values: rows by columns; NaN where a cell is empty.
        alt: what the matrix shows, in words.
        centre: diverging scale around .5 (``chance``) or around 0 (``zero``); a sequential scale for ``none``.
        row_families, column_families: the family of each row and column, in order; blocks are set apart and named.
        hover: text of each cell; the plain value where it is None.
        faint: True where a number is to be read with reserve (not significant): it is set in brackets.
        selected: row and column name of the cell to outline.
        limits: ends of the scale; by default symmetrical around the centre and wide enough for every value.
        number: format of the numbers, as in Python.
        diagonal: outline cells whose row and column have the same name (in-domain).
        outlined: [rows, columns] cells to outline instead of those.
        higher_is_better: the scale's good end; False turns the diverging scale round (error rates).
    """
    z = values.to_numpy(float)
    rows, columns = [str(r) for r in values.index], [str(c) for c in values.columns]
    low, high = limits or _limits(z, centre)
    texts = np.array([["" if np.isnan(v) else _short(v, number) for v in line] for line in z], object).reshape(z.shape)
    if faint is not None:
        texts = np.where(faint.to_numpy(bool) & (texts != ""), "(" + texts + ")", texts)
    figure = go.Figure(
        go.Heatmap(
            z=z, zmin=low, zmax=high, colorscale=theme.sequential if centre == "none" else theme.diverging,
            reversescale=not higher_is_better,
            text=texts, texttemplate="%{text}" if max(z.shape) <= 26 else "", textfont=dict(size=11 if max(z.shape) <= 18 else 9),
            xgap=1, ygap=1, hoverinfo="skip",
            colorbar=dict(title=dict(text=value_title, side="right", font=dict(size=12)), thickness=10, outlinewidth=0, len=0.6,
                          tickfont=dict(size=11, color=theme.muted), xpad=6),
        )
    )  # fmt: skip
    # plotly reports no clicks on a heatmap (streamlit issues 8760, 8933): invisible points over the cells do.
    y, x = np.indices(z.shape).reshape(2, -1)
    words = None if hover is None else hover.to_numpy(str)
    descriptions = [
        f"{label(rows[i], 40)} → {label(columns[j], 40)}<br>{_short(z[i, j], number) if words is None else words[i, j]}"
        for i, j in zip(y, x, strict=True)
    ]
    figure.add_scatter(
        x=x, y=y, mode="markers", marker=dict(opacity=0, size=12), hovertemplate="%{text}<extra></extra>", text=descriptions,
        customdata=[[rows[i], columns[j]] for i, j in zip(y, x, strict=True)], showlegend=False, name="cells",
        selected=dict(marker=dict(opacity=0)), unselected=dict(marker=dict(opacity=0)),
    )  # fmt: skip
    if outlined is None:
        outlined = np.array([[diagonal and row == column for column in columns] for row in rows], bool)
    for i, j in np.argwhere(outlined):
        _outline(figure, int(i), int(j), theme.ink, 1)
    _family_blocks(figure, row_families, column_families, z.shape, theme)
    if selected and selected[0] in rows and selected[1] in columns:
        _outline(figure, rows.index(selected[0]), columns.index(selected[1]), theme.accent, 4)
    figure.update_xaxes(range=[-0.5, len(columns) - 0.5], tickvals=list(range(len(columns))), fixedrange=True,
                        ticktext=[label(c) for c in columns], tickangle=-50 if len(columns) > 6 else 0,
                        title_text=column_title, showgrid=False)  # fmt: skip
    figure.update_yaxes(range=[len(rows) - 0.5, -0.5], tickvals=list(range(len(rows))), ticktext=[label(r) for r in rows],
                        fixedrange=True, title_text=row_title, showgrid=False)  # fmt: skip
    height = 150 + min(max(len(rows) * 30, 160), 900) + (22 if column_families else 0)
    return finish(figure, theme, alt, height, hovermode="closest", hoverdistance=-1, dragmode=False,
                  margin=dict(l=8, r=8, t=30 if column_families else 10, b=8))  # fmt: skip


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
        return "no value"
    text = f"{value:{number}}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def _outline(figure: go.Figure, row: int, column: int, colour: str, width: int) -> None:
    figure.add_shape(type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5,
                     line=dict(color=colour, width=width), fillcolor="rgba(0,0,0,0)")  # fmt: skip


def _family_blocks(
    figure: go.Figure, rows: Sequence[str], columns: Sequence[str], shape: tuple[int, ...], theme: Theme
) -> None:
    for start, end, family in _runs(columns):
        figure.add_annotation(x=(start + end) / 2, y=1, yref="paper", yanchor="bottom", showarrow=False,
                               text=label(_SHORT_FAMILIES.get(family, family), max(4, 3 * (end - start + 1))),
                              font=dict(size=12, color=theme.muted))  # fmt: skip
        if start:
            figure.add_shape(type="line", x0=start - 0.5, x1=start - 0.5, y0=-0.5, y1=shape[0] - 0.5,
                             line=dict(color=theme.paper, width=4))  # fmt: skip
    for start, _, _ in _runs(rows):
        if start:
            figure.add_shape(type="line", y0=start - 0.5, y1=start - 0.5, x0=-0.5, x1=shape[1] - 0.5,
                             line=dict(color=theme.paper, width=4))  # fmt: skip


def _runs(names: Sequence[str]) -> list[tuple[int, int, str]]:
    """Stretches of equal names: (first, last, name)."""
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    return [(s, e - 1, names[s]) for s, e in zip(starts, [*starts[1:], len(names)], strict=bool(starts))]
