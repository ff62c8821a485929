"""Lists of words in front of what chance would put there, and what spans a head."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Theme, finish, label, labels


def word_list(table: pd.DataFrame, *, alt: str, theme: Theme = LIGHT) -> go.Figure:
    """Nearest or farthest texts, most extreme on top, with the null's 95 % band at each rank drawn
    behind.

    Args:
        table: ``nearest`` or ``farthest`` of :class:`aigi_core.explain.words.Words` (or rows of a
            cached atlas): columns ``text, cosine`` and, where a null was computed, ``p_value,
            null_low, null_high``. Texts beyond chance (family-wise p at most .05) are set in bold.

    A click reports ``customdata`` [text].
    """
    figure = go.Figure()
    at = np.arange(len(table))
    has_null = "null_low" in table.columns and bool(table["null_low"].notna().any())
    texts = labels([str(text) for text in table["text"]], 40)
    p = table["p_value"].to_numpy(float) if has_null else np.full(len(table), np.nan)
    category = table["category"] if "category" in table.columns else [""] * len(table)
    hover = [
        f"{text}{'<br>' + label(str(kind), 60) if kind else ''}<br>cosine {cosine:.3f}"
        + (f"<br>family-wise p = {value:.3g}" if np.isfinite(value) else "")
        for text, kind, cosine, value in zip(texts, category, table["cosine"], p, strict=True)
    ]
    if has_null:
        band = table[["null_low", "null_high"]].to_numpy(float)
        figure.add_bar(
            y=at,
            x=band[:, 1] - band[:, 0],
            base=band[:, 0],
            orientation="h",
            width=1.0,
            hoverinfo="skip",
            marker=dict(color=theme.grid, line=dict(width=0)),
            name="95 % by chance",
        )
    colours = [
        theme.accent if not np.isfinite(value) or value <= 0.05 else theme.muted for value in p
    ]
    figure.add_scatter(
        x=table["cosine"],
        y=at,
        mode="markers",
        showlegend=False,
        hovertext=hover,
        hoverinfo="text",
        customdata=[[str(text)] for text in table["text"]],
        marker=dict(color=colours, size=9),
    )
    ticks = [
        f"<b>{text}</b>" if value <= 0.05 else text for text, value in zip(texts, p, strict=True)
    ]
    figure.update_yaxes(tickvals=at, ticktext=ticks, range=[len(table) - 0.4, -0.6], showgrid=False)
    figure.update_xaxes(title_text="cosine")
    return finish(
        figure, theme, alt, 90 + 22 * max(len(table), 3), barmode="overlay", hovermode="closest"
    )


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
                f"{t}<br>{s:.1%} of the variance, {c:.1%} so far"
                for t, s, c in zip(texts, share, total, strict=True)
            ],
        )
    )
    figure.update_yaxes(
        tickvals=np.arange(len(table)),
        ticktext=texts,
        range=[len(table) - 0.4, -0.6],
        showgrid=False,
    )
    figure.update_xaxes(title_text="share of variance", tickformat=".0%")
    return finish(figure, theme, alt, 90 + 22 * max(len(table), 3), hovermode="closest")
