"""Estimates with intervals, and scatters whose points can be named and clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.errors import AigiError
from aigi_core.figures.theme import (
    LIGHT,
    SELECTION,
    Style,
    Theme,
    error_bars,
    finish,
    label,
    labels,
    name_lines,
    on_lines,
)
from aigi_core.figures.tooltips import Form, between, measured, tip

_SHARES = ("value", "low", "high", "band_low", "band_high", "second")


def in_points(table: pd.DataFrame) -> pd.DataFrame:
    """Estimates of differences of shares in percentage points, as every sentence gives them."""
    return table.assign(**{name: 100 * table[name] for name in _SHARES if name in table.columns})


def _titled(title: str, points: bool) -> str:
    return f"{title}, points" if points else title


def _form(points: bool) -> Form:
    return "points" if points else "value"


def intervals(
    table: pd.DataFrame,
    *,
    alt: str,
    value_title: str,
    reference: float | None = None,
    styles: Mapping[str, Style] | None = None,
    selected: str | None = None,
    limits: tuple[float, float] | None = None,
    band: str = "",
    points: bool = False,
    ends: str = "95% interval",
    marks: tuple[str, str] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A forest plot: one estimate a line, its interval, its n.

    Args:
        table: columns ``name``, ``value``, ``low``, ``high`` and, where known, ``n`` or ``note``
            (written behind the name); shown from top to bottom.
        reference: a vertical line to compare with (chance, zero, a baseline).
        styles: name -> style; other names take the theme's accent.
        band: what ``band_low`` and ``band_high`` are (the range of a control); they are drawn
            behind each line.
        points: values are differences of shares, and are drawn in percentage points.
        ends: what ``low`` and ``high`` are.
        marks: legend names of ``value`` and of ``second``, another value of each line, drawn as an
            open diamond without an interval.

    A click reports ``customdata`` [name].

    Raises:
        AigiError: there is no estimate to show.
    """
    if table.empty:
        raise AigiError(
            "No detector can be compared here, because each was trained on all generators:"
            " choose other training sets, or a workspace with more generators."
        )
    figure = go.Figure()
    tips = _interval_tips(table, value_title, _form(points), ends, band, marks)
    table = in_points(table) if points else table
    names = [str(n) for n in table["name"]]
    if band:
        low, high = table["band_low"].to_numpy(float), table["band_high"].to_numpy(float)
        figure.add_bar(
            y=list(range(len(names))),
            x=high - low,
            base=low,
            orientation="h",
            width=0.7,
            name=band,
            marker=dict(color=theme.grid, line=dict(width=0)),
            hoverinfo="skip",
            showlegend=True,
        )
    sizes = (
        [f" (n = {int(n):,})" for n in table["n"]] if "n" in table.columns else [""] * len(names)
    )
    if "note" in table.columns:
        sizes = [f": {label(str(note))}" for note in table["note"]]
    bounds = table[["value", "low", "high"]].to_numpy(float)
    drawn = [(styles or {}).get(name) for name in names]
    value, low, high = bounds.T
    figure.add_scatter(
        x=value,
        y=list(range(len(names))),
        mode="markers",
        name=marks[0] if marks else "",
        showlegend=marks is not None,
        customdata=[[name] for name in names],
        marker=dict(
            color=[style.colour if style else theme.accent for style in drawn],
            symbol=[style.marker if style else "circle" for style in drawn],
            size=[11 if name == selected else 9 for name in names],
            opacity=1,
        ),
        error_x=error_bars(value, low, high, theme.muted),
        hovertext=tips,
        hovertemplate="%{hovertext}<extra></extra>",
        unselected=dict(marker=dict(opacity=1)),
    )
    if marks:
        _add_second(figure, table, marks[1], tips, theme)
    if reference is not None:
        figure.add_vline(x=reference, line=dict(color=theme.muted, width=1, dash="dot"))
    ticks = [
        on_lines(text, s, bold=n == selected)
        for n, text, s in zip(names, labels(names, 44), sizes, strict=True)
    ]
    figure.update_xaxes(title_text=_titled(value_title, points), range=limits)
    name_lines(figure, ticks)
    line = 34 if any("<br>" in tick for tick in ticks) else 28
    return finish(figure, theme, alt, 90 + line * max(len(names), 2), hovermode="closest")


def _add_second(
    figure: go.Figure, table: pd.DataFrame, name: str, tips: Sequence[str], theme: Theme
) -> None:
    """The marks of ``second``, named in the legend."""
    figure.add_scatter(
        x=table["second"],
        y=list(range(len(table))),
        mode="markers",
        name=name,
        customdata=[[str(line)] for line in table["name"]],
        marker=dict(color=theme.ink, symbol="diamond-open", size=9),
        hovertext=tips,
        hovertemplate="%{hovertext}<extra></extra>",
        unselected=dict(marker=dict(opacity=1)),
    )


def _interval_tips(
    table: pd.DataFrame,
    title: str,
    form: Form,
    ends: str,
    band: str,
    marks: tuple[str, str] | None,
) -> list[str]:
    return [
        tip(
            label(str(row["name"]), 40),
            label(str(row.get("note", "")), 40),
            *measured(
                title,
                [row[end] for end in ("value", "low", "high")],
                row.get("n", ""),
                form=form,
                ends=ends,
            ),
            between(band, row["band_low"], row["band_high"], form) if band else "",
            *(measured(marks[1], [row["second"]], form=form) if marks else ()),
        )
        for row in table.to_dict("records")
    ]


def out_of_domain_intervals(
    table: pd.DataFrame,
    of: str,
    where: str = "out of domain",
    *,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """:func:`intervals` of balanced accuracies out of domain, beside chance.

    Args:
        of: what a line stands for, such as ``method``.
        where: what the means are over, where not all are out of domain.
    """
    return intervals(
        table,
        alt=f"Balanced accuracy {where} of each {of}, with 95% intervals.",
        value_title=f"Balanced accuracy {where}",
        reference=0.5,
        selected=selected,
        theme=theme,
    )


def scatter(
    table: pd.DataFrame,
    *,
    alt: str,
    x_title: str,
    y_title: str,
    styles: Mapping[str, Style] | None = None,
    named: Sequence[str] | None = None,
    selected: str | None = None,
    reports: Sequence[str] = ("name",),
    x_reference: float | None = None,
    y_reference: float | None = None,
    y_points: bool = False,
    height: int = 440,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Points with names.

    Args:
        table: columns ``name``, ``x``, ``y``; where known ``group`` (the key of ``styles``; by
            default the name), ``size`` (marker size, px), ``detail`` (a line of hover text,
            plain), and for hover text alone, of either axis, ``y_low, y_high`` and ``y_n`` (a
            number, or in words).
        y_points: as for :func:`intervals`, of the vertical axis.
        named: names written beside their points where there is room for them; by default all where
            there are at most 20.
        reports: columns that a click reports as ``customdata``.
    """
    figure, table = go.Figure(), table.reset_index(drop=True)
    tips = _scatter_tips(table, {"x": x_title, "y": y_title}, y_form=_form(y_points))
    table = table.assign(y=100 * table["y"]) if y_points else table
    written = set(named if named is not None else table["name"] if len(table) <= 20 else ())
    places = _label_places(table, written - {selected}, selected)
    groups = table["group"] if "group" in table.columns else table["name"]
    for group, part in table.groupby(groups, sort=False):
        style = (styles or {}).get(str(group))
        figure.add_scatter(
            x=part["x"],
            y=part["y"],
            name=label(str(group)),
            mode="markers+text",
            showlegend="group" in table.columns,
            text=[
                label(str(n), _NAME_LIMITS[False]) if places[at] and n != selected else ""
                for at, n in zip(part.index.to_numpy(), part["name"], strict=True)
            ],
            textposition=[places[at] or "top center" for at in part.index],
            textfont=dict(size=11, color=theme.muted),
            customdata=part[list(reports)].astype(str).to_numpy().tolist(),
            hovertext=[tips[at] for at in part.index],
            marker=dict(
                color=style.colour if style else theme.accent,
                symbol=style.marker if style else "circle",
                size=part["size"] if "size" in part.columns else 9,
                opacity=0.9,
            ),
            hovertemplate="%{hovertext}<extra></extra>",
        )
    if selected is not None and (chosen := table[table["name"] == selected]).shape[0]:
        figure.add_scatter(
            x=chosen["x"],
            y=chosen["y"],
            mode="markers",
            name=SELECTION,
            showlegend=False,
            hoverinfo="skip",
            marker=dict(symbol="circle-open", size=18, color=theme.accent, line=dict(width=2.5)),
        )
        for at, x, y in zip(chosen.index, chosen["x"], chosen["y"], strict=True):
            right, up = _SIDES[places[at]]
            figure.add_annotation(
                x=x,
                y=y,
                name=SELECTION,
                text=f"<b>{label(selected, _NAME_LIMITS[True])}</b>",
                showarrow=False,
                xanchor=("center", "left", "right")[right],
                yanchor=("middle", "bottom", "top")[up],
                xshift=right * _RING,
                yshift=up * _RING,
                borderpad=0,
                bgcolor=theme.paper,
                opacity=0.9,
                font=dict(size=11, color=theme.ink),
            )
    for value, draw in ((x_reference, figure.add_vline), (y_reference, figure.add_hline)):
        if value is not None:
            draw(value, line=dict(color=theme.muted, width=1, dash="dot"))
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=_titled(y_title, y_points))
    return finish(figure, theme, alt, height, hovermode="closest")


def _scatter_tips(table: pd.DataFrame, titles: Mapping[str, str], y_form: Form) -> list[str]:
    forms: dict[str, Form] = {"x": "value", "y": y_form}
    return [
        tip(
            label(str(row["name"]), 40),
            label(str(row.get("detail", "")), 120),
            *(
                line
                for axis, form in forms.items()
                for line in measured(
                    titles[axis],
                    [row.get(f"{axis}{end}", np.nan) for end in ("", "_low", "_high")],
                    row.get(f"{axis}_n", ""),
                    form=form,
                )
            ),
        )
        for row in table.to_dict("records")
    ]


_SIDES = {
    "top center": (0, 1),
    "bottom center": (0, -1),
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "top left": (-1, 1),
    "bottom right": (1, -1),
    "bottom left": (-1, -1),
}
"""Plotly's names of the sides of a point, and the way from the point to the name."""
_NAME_LIMITS = {False: 22, True: 40}
"""Letters of a name beside its point, by whether its point is the selected one."""
_LETTER, _LINE = 6.0, 15.0
"""Width of a letter and height of a line, px."""
_PLOTS = np.array([[340.0, 340.0], [500.0, 340.0], [880.0, 340.0]])
"""Sizes of a plot as pages show it (half a page at 800 and at 1440 px, a whole page), px."""
_MARGIN = (0.05, 0.07)
"""What plotly leaves free around the points, as a share of their range; a name beyond it would be
cut.
"""
_POINT, _RING = 5.0, 10.0
"""Half the size of a point, and of the ring around the selected one, px."""


def _label_places(table: pd.DataFrame, written: set[str], selected: str | None) -> list[str]:
    """The side of its point on which each name covers no point and no other name and does not
    leave the plot, at any usual size of the plot; "" where there is none (the name is left to the
    hover text). The selected name always has one: it is placed first, where it covers least.
    """
    spots = table[["x", "y"]].to_numpy(float)
    spread = np.ptp(spots, axis=0) if len(spots) else np.ones(2)
    share = (spots - spots.min(axis=0, initial=np.inf)) / np.where(spread > 0, spread, 1)
    at = share * _PLOTS[:, None]  # [sizes, points, 2]
    is_selected = (table["name"] == selected).to_numpy()
    reach = _PLOTS * (0.5 + np.array(_MARGIN))
    centres = at.copy()  # of all that must stay free, and half its size
    sizes = np.where(is_selected, _RING, _POINT)[:, None] * np.ones(2)
    places = [""] * len(table)
    order = [
        *np.flatnonzero(is_selected),
        *np.flatnonzero(table["name"].isin(written) & ~is_selected),
    ]
    for i in order:
        limit = _NAME_LIMITS[bool(is_selected[i])]
        half = np.array([len(label(str(table["name"].iloc[i]), limit)) * _LETTER, _LINE]) / 2
        clashes = {}
        for side, way in _SIDES.items():
            box = at[:, i] + np.array(way) * (half + sizes[i])
            covers = (np.abs(box[:, None] - centres) < half + sizes).all(axis=2)
            leaves = (np.abs(box - _PLOTS / 2) + half > reach).any(axis=1)
            clashes[side] = int(covers.sum() + leaves.sum()), box
        side = min(clashes, key=lambda one: clashes[one][0])
        if clashes[side][0] and not is_selected[i]:
            continue
        places[i] = side
        centres = np.concatenate([centres, clashes[side][1][:, None]], axis=1)
        sizes = np.concatenate([sizes, half[None]])
    return places


def interval_groups(
    table: pd.DataFrame,
    *,
    alt: str,
    value_title: str,
    reference: float | None = None,
    selected: str | None = None,
    limits: tuple[float, float] | None = None,
    line_height: int | None = None,
    colours: Mapping[str, str] | None = None,
    points: bool = False,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Several estimates a line beside each other, each with its interval.

    Args:
        table: columns ``name`` (the line), ``series``, ``value``, ``low``, ``high`` and, where
            known, ``n``; lines from top to bottom and series in the order of their first
            appearance. NaN leaves a place empty.
        reference: a vertical line to compare with.
        colours: series -> colour, for those that are a class or have a meaning of their own.
        line_height: px a line; by default enough for every series to stand apart.
        points: as for :func:`intervals`.

    A click reports ``customdata`` [name of the line].
    """
    figure, form = go.Figure(), _form(points)
    told = table[["value", "low", "high"]]
    table = in_points(table) if points else table
    names, series = (
        [str(n) for n in dict.fromkeys(table[column])] for column in ("name", "series")
    )
    step = 0.72 / max(len(series), 1)
    for k, one in enumerate(series):
        chosen = ((table["series"] == one) & table["value"].notna()).to_numpy()
        part = table[chosen]
        value, low, high = (part[column].to_numpy(float) for column in ("value", "low", "high"))
        colour = (colours or {}).get(one, theme.series[k % 4])
        counts = part["n"].tolist() if "n" in part.columns else [""] * len(part)
        figure.add_scatter(
            x=value,
            y=[names.index(str(n)) + (k - (len(series) - 1) / 2) * step for n in part["name"]],
            mode="markers",
            name=label(one, 40),
            customdata=[[str(n)] for n in part["name"]],
            marker=dict(
                color=colour, size=8, symbol=("circle", "diamond", "square", "cross")[k % 4]
            ),
            error_x=error_bars(value, low, high, colour, thickness=1.8, width=3),
            text=[
                tip(
                    label(str(name), 40),
                    label(one, 40),
                    *measured(value_title, line, n, form=form),
                )
                for name, n, line in zip(
                    part["name"], counts, told[chosen].to_numpy(float).tolist(), strict=True
                )
            ],
            hovertemplate="%{text}<extra></extra>",
            unselected=dict(marker=dict(opacity=1)),
        )
    if reference is not None:
        figure.add_vline(x=reference, line=dict(color=theme.muted, width=1, dash="dot"))
    if selected in names:
        at = names.index(str(selected))
        figure.add_hrect(
            y0=at - 0.5,
            y1=at + 0.5,
            fillcolor=theme.grid,
            opacity=0.45,
            line_width=0,
            layer="below",
        )
    ticks = [
        f"<b>{text}</b>" if n == selected else text
        for n, text in zip(names, labels(names), strict=True)
    ]
    figure.update_xaxes(title_text=_titled(value_title, points), range=limits)
    name_lines(figure, ticks)
    height = 110 + (line_height or max(26, 13 * len(series) + 6)) * max(len(names), 2)
    return finish(figure, theme, alt, height, hovermode="closest")
