"""One image before a workspace's detectors: where the evidence lies, what each says, whether it
lasts, whether to trust it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from PIL import Image
from plotly.subplots import make_subplots

from aigi_core.calibration.probabilities import CalibrationError
from aigi_core.figures.points import intervals
from aigi_core.figures.theme import (
    LIGHT,
    Scale,
    Style,
    Theme,
    colour_bar,
    error_bars,
    finish,
    label,
)
from aigi_core.figures.tooltips import measured, tip
from aigi_core.perturb import PERTURBATIONS
from aigi_core.statements import counted

_SHOWN = 0.82
"""Opacity of the strongest evidence over the picture."""
_COLUMNS = 3
_SYMBOLS = {
    "fake": "circle",
    "real": "square",
    "uncertain": "diamond-open",
    "no verdict": "x-thin-open",
}


def patch_map(
    pixels: UInt8[np.ndarray, "size size 3"],
    evidence: Float[np.ndarray, "rows columns"],
    *,
    what: str,
    selected: Sequence[tuple[int, int]] = (),
    height: int = 430,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Evidence of patches laid over what the encoder sees, on a scale centred at 0 that is clear
    where nothing speaks.

    The picture is drawn in grey, so that every colour is evidence.

    Args:
        evidence: logit that each patch adds, in the theme's colours of fake and real.
        what: whose evidence, for the alternative text.
        selected: patches to outline.

    A click reports ``customdata`` ["row.column"].
    """
    rows, columns = evidence.shape
    reach = max(float(np.abs(evidence).max()), 1e-9)
    figure = go.Figure(
        go.Heatmap(
            z=evidence,
            zmin=-reach,
            zmax=reach,
            colorscale=_see_through(theme),
            hoverinfo="skip",
            colorbar=colour_bar("evidence (logit): − real, + fake", theme),
        )
    )
    figure.add_layout_image(
        source=_grey_png(pixels),
        xref="x",
        yref="y",
        x=-0.5,
        y=-0.5,
        sizex=columns,
        sizey=rows,
        sizing="stretch",
        layer="below",
    )
    _add_patches(figure, evidence, selected, theme)
    figure.update_xaxes(
        range=[-0.5, columns - 0.5], visible=False, fixedrange=True, constrain="domain"
    )
    figure.update_yaxes(
        range=[rows - 0.5, -0.5],
        visible=False,
        fixedrange=True,
        scaleanchor="x",
        constrain="domain",
        autorange=False,
    )
    most, least = (
        np.unravel_index(at, evidence.shape) for at in (evidence.argmax(), evidence.argmin())
    )
    alt = (
        f"The image, as the encoder sees it, with a map of {rows} by {columns} patches over"
        f" it. The map shows the evidence of {what}; its sum over all patches is"
        f" {evidence.sum():+z.2f}. Strongest for fake: patch {most[0]}.{most[1]}"
        f" ({evidence[most]:+z.3f}); strongest for real: patch {least[0]}.{least[1]}"
        f" ({evidence[least]:+z.3f})."
    )
    return finish(
        figure,
        theme,
        alt,
        height,
        hovermode="closest",
        hoverdistance=-1,
        dragmode=False,
        margin=dict(l=4, r=4, t=6, b=6),
    )


def _add_patches(
    figure: go.Figure,
    evidence: Float[np.ndarray, "rows columns"],
    selected: Sequence[tuple[int, int]],
    theme: Theme,
) -> None:
    """A point to click on each patch, and an outline around those selected."""
    y, x = np.indices(evidence.shape).reshape(2, -1)
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker=dict(opacity=0, size=12),
        showlegend=False,
        customdata=[[f"{r}.{c}"] for r, c in zip(y, x, strict=True)],
        text=[
            f"Patch {r}.{c}<br>Evidence for fake: {evidence[r, c]:+z.3f} (logit)"
            for r, c in zip(y, x, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        selected=dict(marker=dict(opacity=0)),
        unselected=dict(marker=dict(opacity=0)),
    )
    for row, column in selected:
        figure.add_shape(
            type="rect",
            x0=column - 0.5,
            x1=column + 0.5,
            y0=row - 0.5,
            y1=row + 0.5,
            line=dict(color=theme.ink, width=1.5),
        )


def _see_through(theme: Theme) -> Scale:
    """From the colour of real to that of fake, clear in the middle."""
    ends = (theme.real, theme.fake)
    stops = [
        (0.5 + side * t / 2, ends[side > 0], _SHOWN * t**0.8)
        for side in (-1, 1)
        for t in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    rgb = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for _, colour, _ in stops]
    scale = [
        (at, f"rgba({r},{g},{b},{a:.3f})") for (at, _, a), (r, g, b) in zip(stops, rgb, strict=True)
    ]
    return sorted(dict(scale).items())


def _grey_png(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).convert("L").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def judges(
    verdicts: pd.DataFrame,
    *,
    selected: str | None = None,
    styles: Mapping[str, Style] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Calibrated probability of every detector with its interval, its call, and the band in which
    it makes none.

    Args:
        verdicts: of :meth:`aigi_core.inspection.panel.Panel.verdicts`. A click reports
            ``customdata`` [detector].
    """
    table = verdicts.rename(columns={"detector": "name", "probability": "value"})
    calls = {"uncertain": "undecided", "no verdict": "no call possible"}
    table["note"] = [calls.get(str(verdict), str(verdict)) for verdict in table["verdict"]]
    first = table.iloc[0]
    counts = verdicts["verdict"].value_counts()
    values_in_words = ", ".join(f"{verdict} {n}" for verdict, n in counts.items())
    alt = (
        f"Calibrated probability of being generated by {counted(len(table), 'judge')}, with 95%"
        " intervals."
        f" {first['name']}: {first['value']:.2f} ({first['low']:.2f} to {first['high']:.2f})."
        f" Verdicts: {values_in_words}."
    )
    return intervals(
        table,
        alt=alt,
        value_title="probability of being generated",
        reference=0.5,
        limits=(-0.02, 1.02),
        band="undecided at this false-alarm rate" if "band_low" in table.columns else "",
        styles=styles,
        selected=selected,
        theme=theme,
    )


def reliability_curve(
    bins: pd.DataFrame, error: CalibrationError, *, theme: Theme = LIGHT
) -> go.Figure:
    """Stated probability against observed share of fakes, before the band in which perfect
    calibration would fall.

    Args:
        bins: of :func:`aigi_core.calibration.probabilities.reliability`.
    """
    x, y = bins["probability"].to_numpy(float), bins["share"].to_numpy(float)
    figure = go.Figure()
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([bins["band_high"], bins["band_low"][::-1]]),
        fill="toself",
        fillcolor="rgba(128,128,128,.22)",
        line=dict(width=0),
        mode="lines",
        hoverinfo="skip",
        name="if calibrated perfectly",
    )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line=dict(color=theme.muted, width=1, dash="dot"),
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line=dict(color=theme.accent, width=2),
        marker=dict(size=8),
        name="test images",
        error_y=error_bars(
            y, bins["share_low"], bins["share_high"], theme.accent, thickness=1.5, width=4
        ),
        text=[
            tip(
                f"Stated probability: {row['probability']:.3f}",
                *measured(
                    "Observed share of fakes",
                    [row[end] for end in ("share", "share_low", "share_high")],
                    f"{counted(row['n'], 'image')}, {row['n_fake']} of them fake",
                ),
            )
            for row in bins.to_dict("records")
        ],
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_xaxes(title_text="Stated probability", range=[-0.02, 1.02])
    figure.update_yaxes(title_text="Observed share of fakes", range=[-0.02, 1.02])
    alt = (
        f"Reliability diagram on {counted(error.n, 'test image')} in {counted(len(bins), 'bin')}."
        " Expected calibration"
        f" error {error.ece:.3f} ({error.low:.3f} to {error.high:.3f}); a perfectly calibrated"
        f" detector would show {error.null_mean:.3f}."
    )
    return finish(figure, theme, alt, 360, hovermode="closest")


def survival_curves(table: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """Probability along each operation, the image as it came first; the mark says the verdict.

    Args:
        table: of :func:`aigi_core.inspection.survival.survival`.
    """
    itself = table[table["kind"] == ""].iloc[0]
    kinds = [kind for kind in PERTURBATIONS if (table["kind"] == kind).any()]
    rows = -(-len(kinds) // _COLUMNS)
    figure = make_subplots(
        rows=rows,
        cols=_COLUMNS,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        vertical_spacing=0.48 / rows,
    )
    for i, kind in enumerate(kinds):
        part = table[table["kind"] == kind]
        rule = PERTURBATIONS[kind]
        place = dict(row=i // _COLUMNS + 1, col=i % _COLUMNS + 1)
        x: list[Any]
        if not rule.takes_value:
            x = ["as it came", rule.name]
        elif rule.neutral is None:  # no strength leaves an image as it came: steps side by side
            x = ["as it came", *(f"{strength:g}" for strength in part["strength"])]
        else:
            x = [rule.neutral, *part["strength"].tolist()]
        y = [itself["probability"], *part["probability"]]
        low, high = [itself["low"], *part["low"]], [itself["high"], *part["high"]]
        verdicts = [itself["verdict"], *part["verdict"]]
        descriptions = [itself["description"], *part["description"]]
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            line=dict(color=theme.accent, width=2),
            showlegend=False,
            marker=dict(
                size=9,
                symbol=[_SYMBOLS[v] for v in verdicts],
                line=dict(color=theme.accent, width=1.6),
            ),
            error_y=error_bars(y, low, high, theme.accent, thickness=1, width=3),
            text=[
                tip(str(d), f"Verdict: {v}", *measured("Probability of being generated", line))
                for d, v, *line in zip(descriptions, verdicts, y, low, high, strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
            **place,
        )
        figure.add_hline(y=0.5, line=dict(color=theme.muted, width=1, dash="dot"), **place)
        figure.update_xaxes(
            title_text=rule.axis[:1].upper() + rule.axis[1:],
            autorange="reversed" if rule.neutral else None,
            type="category" if isinstance(x[0], str) else "linear",
            **place,
        )
    figure.update_yaxes(range=[-0.03, 1.03])
    figure.update_yaxes(title_text="Probability", col=1)
    for verdict, symbol in _SYMBOLS.items():
        if (table["verdict"] == verdict).any():
            figure.add_scatter(
                x=[None],
                y=[None],
                mode="markers",
                name=label(verdict),
                marker=dict(
                    symbol=symbol,
                    size=9,
                    color=theme.accent,
                    line=dict(color=theme.accent, width=1.6),
                ),
            )
    changed = table[(table["verdict"] != itself["verdict"]) & (table["kind"] != "")]
    lowest, highest = table["probability"].min(), table["probability"].max()
    alt = (
        f"Probability of being generated for {counted(len(table) - 1, 'changed copy')}, with"
        f" 95% intervals: from {lowest:.2f} to {highest:.2f}; unchanged image"
        f" {itself['probability']:.2f}. The verdict changes on {len(changed)} of the copies."
    )
    return finish(
        figure, theme, alt, 260 * rows, hovermode="closest", margin=dict(l=8, r=8, t=40, b=8)
    )
