"""Lists of words in front of what chance would put there, and what spans a head."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Theme, finish, label, labels, name_lines, on_lines
from aigi_core.statements import ALPHA, p_text


def word_list(
    table: pd.DataFrame, rows: int | None = None, *, alt: str, theme: Theme = LIGHT
) -> go.Figure:
    """Nearest or farthest texts, most extreme on top, with the threshold that decides which of them
    go beyond chance.

    Args:
        table: ``nearest`` or ``farthest`` of :class:`aigi_core.explain.words.Words` (or rows of a
            cached atlas): columns ``text, cosine`` and, where a null was computed, ``p_value`` and
            ``threshold``. Texts beyond chance (family-wise p at most .05) are set in bold.
        rows: how many of them are drawn, by default all; the threshold is that of all.

    A click reports ``customdata`` [text].
    """
    figure = go.Figure()
    bound = decisive_cosine(table)
    table = table.head(rows) if rows is not None else table
    at = np.arange(len(table))
    texts = labels([str(text) for text in table["text"]], 40)
    cosines = table["cosine"].to_numpy(float)
    p = table["p_value"].to_numpy(float) if "p_value" in table else np.full(len(table), np.nan)
    category = table["category"] if "category" in table.columns else [""] * len(table)
    hover = [
        f"{text}{'<br>' + label(str(kind), 60) if kind else ''}<br>Cosine: {cosine:z.3f}"
        + (f"<br>{p_text(value)}, corrected over all texts" if np.isfinite(value) else "")
        for text, kind, cosine, value in zip(texts, category, cosines, p, strict=True)
    ]
    colours = [
        theme.accent if not np.isfinite(value) or value <= ALPHA else theme.muted for value in p
    ]
    figure.add_scatter(
        x=cosines,
        y=at,
        mode="markers",
        showlegend=False,
        hovertext=hover,
        hoverinfo="text",
        customdata=[[str(text)] for text in table["text"]],
        marker=dict(
            color=colours,
            size=9,
            symbol=["circle" if c == theme.accent else "circle-open" for c in colours],
        ),
    )
    if bound is not None and np.isinf(bound):
        figure.add_vrect(
            fillcolor=theme.grid, opacity=0.55, line_width=0, layer="below", x0=0, x1=1
        )
        figure.update_shapes(xref="x domain")
        figure.add_annotation(
            x=1,
            y=1,
            xref="x domain",
            yref="y domain",
            xanchor="right",
            yanchor="bottom",
            text="all as expected by chance",
            showarrow=False,
            font=dict(size=11, color=theme.muted),
        )
    elif bound is not None:
        reach = [*cosines, bound]
        margin = 0.08 * (max(reach) - min(reach) or 1.0)
        ends = (min(reach) - margin, max(reach) + margin)
        inner = ends[0] if bound > 0 else ends[1]
        figure.add_vrect(
            x0=inner, x1=bound, fillcolor=theme.grid, opacity=0.55, line_width=0, layer="below"
        )
        figure.add_vline(
            x=bound,
            line=dict(color=theme.muted, width=1.5),
            annotation_text="expected by chance" if abs(bound - inner) > 0.3 * np.ptp(ends) else "",
            annotation_position="bottom left" if bound > 0 else "bottom right",
            annotation_font=dict(size=11, color=theme.muted),
        )
        figure.update_xaxes(range=ends)
    ticks = [on_lines(text, bold=value <= ALPHA) for text, value in zip(texts, p, strict=True)]
    name_lines(figure, ticks)
    figure.update_xaxes(title_text="cosine")
    line = 34 if any("<br>" in tick for tick in ticks) else 22
    return finish(figure, theme, alt, 90 + line * max(len(table), 3), hovermode="closest")


def decisive_cosine(table: pd.DataFrame) -> float | None:
    """The cosine at which a text's p-value falls to .05: as stored, else between the last row
    beyond chance and the first that is not; infinite where no row is beyond; None where the rows
    do not tell.
    """
    if "threshold" in table.columns and np.isfinite(bound := float(table["threshold"].iloc[0])):
        return bound
    if "p_value" not in table.columns:
        return None
    beyond = table["cosine"][table["p_value"] <= ALPHA].abs()
    within = table["cosine"][table["p_value"] > ALPHA].abs()
    if beyond.empty and len(within):
        return float("inf")
    if within.empty:
        return None
    return float(np.copysign((beyond.min() + within.max()) / 2, table["cosine"].iloc[0]))


def span_bars(table: pd.DataFrame, *, alt: str, theme: Theme = LIGHT) -> go.Figure:
    """TextSpan of one head: the texts in the order chosen, and the share of variance that each
    adds.

    Args:
        table: rows of one head of :func:`aigi_core.explain.textspan.head_text_spans`, ``text`` as
            written text.

    A click reports ``customdata`` [text].
    """
    share = table["explained"].to_numpy(float)
    texts = labels([str(text) for text in table["text"]], 40)
    total = np.cumsum(share)
    figure = go.Figure(
        go.Bar(
            x=share,
            y=np.arange(len(table)),
            orientation="h",
            marker=dict(color=theme.accent),
            customdata=[[str(text)] for text in table["text"]],
            hoverinfo="text",
            hovertext=[
                f"{t}<br>Share of the variance: {s:.1%}<br>Up to this text: {c:.1%} so far"
                for t, s, c in zip(texts, share, total, strict=True)
            ],
        )
    )
    name_lines(figure, texts)
    figure.update_xaxes(title_text="share of variance", tickformat=".0%")
    return finish(figure, theme, alt, 90 + 22 * max(len(table), 3), hovermode="closest")
