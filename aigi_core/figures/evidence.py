"""What speaks for and against "fake" on one image."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.theme import LIGHT, Theme, finish


def evidence_bars(terms: pd.DataFrame, *, strongest: int = 12, theme: Theme = LIGHT) -> go.Figure:
    """The strongest terms of a logit as signed bars, the rest summed into one, so that what is
    shown adds up.

    Args:
        terms: ``term, layer, head, evidence``, largest first (``Evidence.table``).

    A click on a head's bar reports ``customdata`` ["layer.head"].
    """
    shown, rest = terms.head(strongest), terms.iloc[strongest:]
    names = [str(t) for t in shown["term"]]
    values = shown["evidence"].to_list()
    keys = [
        f"{a}.{b}" if a >= 0 else "" for a, b in zip(shown["layer"], shown["head"], strict=True)
    ]
    if len(rest):
        names.append(f"{len(rest)} others, sum")
        values.append(float(rest["evidence"].sum()))
        keys.append("")
    logit = float(terms["evidence"].sum())
    figure = go.Figure(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            customdata=[[key] for key in keys],
            marker=dict(color=[theme.fake if v > 0 else theme.real for v in values]),
            text=[f"{v:+z.2f}" for v in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}<br>Evidence for fake: %{text} (logit)<extra></extra>",
        )
    )
    figure.add_vline(x=0, line=dict(color=theme.ink, width=1))
    reach = 1.4 * max((abs(v) for v in values), default=1.0)  # room for the numbers beside the bars
    figure.update_xaxes(title_text="towards real ← 0 → towards fake", range=[-reach, reach])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    strongest_terms = ", ".join(
        f"{n} {v:+z.2f}" for n, v in list(zip(names, values, strict=True))[:4]
    )
    alt = (
        "Evidence for fake (positive) and real (negative) on one image; the parts add up to"
        f" {logit:+z.2f}. Strongest: {strongest_terms}."
    )
    return finish(figure, theme, alt, 90 + 26 * len(names), showlegend=False, hovermode="closest")
