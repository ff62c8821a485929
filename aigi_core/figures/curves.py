"""Lines with bands, ROC curves and score histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int

from aigi_core.figures.theme import LIGHT, Style, Theme, finish, label
from aigi_core.figures.theme import labels as unique_labels
from aigi_core.figures.tooltips import measured, tip
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted, number, part_counted, signed_score


@dataclass(frozen=True, eq=False, repr=False)
class Curve(ShortRepr):
    """One line and, where given, its band.

    Attributes:
        x, y: [n] points; NaN breaks the line.
        low, high: [n] ends of the band (an interval, or the range of a control), or None.
        style: a generator's style; by default the theme's accent, or muted where ``control``.
        control: a baseline to compare with (random removals, chance): drawn thin and grey.
        n: [n] what each point was measured on, where known.
        note: what else holds for every point, in a sentence: why there is no interval.
    """

    name: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"] | None = None
    high: Float[np.ndarray, " n"] | None = None
    style: Style | None = None
    control: bool = False
    n: Int[np.ndarray, " n"] | None = None
    note: str = ""

    @classmethod
    def of(cls, table: pd.DataFrame, name: str, x: str, style: Style | None = None) -> Curve:
        """A line with its band, from columns ``value, low, high``, where known ``n``, and the one
        named ``x``.
        """
        at, y, low, high = (table[c].to_numpy(float) for c in (x, "value", "low", "high"))
        n = table["n"].to_numpy(int) if "n" in table.columns else None
        return cls(name, at, y, low, high, style, n=n)


def curves(
    lines: Sequence[Curve],
    *,
    alt: str,
    x_title: str,
    y_title: str,
    chance: float | None = None,
    at: float | None = None,
    reverse_x: bool = False,
    log_x: bool = False,
    height: int = 380,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Lines with bands; ``chance`` draws a horizontal reference, ``at`` a vertical marker (a
    slider's position).

    A click reports ``customdata`` [name of the line, x].
    """
    figure = go.Figure()
    names = unique_labels([line.name for line in lines])
    for i, line in enumerate(lines):
        fallback = theme.muted if line.control else theme.series[i % 4]
        colour = line.style.colour if line.style else fallback
        dash = (
            line.style.dash
            if line.style
            else "dot"
            if line.control
            else ("solid", "dash", "dot", "dashdot")[i % 4]
        )
        x, y = np.asarray(line.x, float), np.asarray(line.y, float)
        if line.low is not None and line.high is not None:
            figure.add_scatter(
                x=np.concatenate([x, x[::-1]]),
                y=np.concatenate([line.high, np.asarray(line.low)[::-1]]),
                fill="toself",
                fillcolor=_rgba(colour, 0.16),
                line=dict(width=0),
                hoverinfo="skip",
                showlegend=False,
                legendgroup=str(i),
                mode="lines",
            )
        sparse = len(x) <= 30
        figure.add_scatter(
            x=x,
            y=y,
            name=names[i],
            mode="lines+markers" if sparse else "lines",
            legendgroup=str(i),
            line=dict(color=colour, dash=dash, width=1.5 if line.control else 2.2),
            marker=dict(
                symbol=(
                    line.style.marker
                    if line.style
                    else ("circle", "square", "diamond", "cross")[i % 4]
                ),
                size=7,
            ),
            customdata=[[line.name, float(v)] for v in x],
            hovertext=_curve_tips(line, x_title, y_title),
            hovertemplate="%{hovertext}<extra></extra>",
        )
    if chance is not None:
        figure.add_hline(y=chance, line=dict(color=theme.muted, width=1, dash="dot"))
    if at is not None:
        figure.add_vline(x=at, line=dict(color=theme.accent, width=1.5))
    figure.update_xaxes(
        title_text=x_title,
        autorange="reversed" if reverse_x else None,
        type="log" if log_x else None,
    )
    figure.update_yaxes(title_text=y_title)
    return finish(figure, theme, alt, height, hovermode="closest")


def _curve_tips(line: Curve, x_title: str, y_title: str) -> list[str]:
    nothing = np.full(len(line.x), np.nan)
    bounds = [nothing if end is None else np.asarray(end, float) for end in (line.low, line.high)]
    counts = [""] * len(line.x) if line.n is None else line.n.tolist()
    name = label(line.name, 60)
    return [
        tip(name, f"{x_title}: {x:g}", *measured(y_title, (y, low, high), n), line.note)
        for x, y, low, high, n in zip(line.x, line.y, *bounds, counts, strict=True)
    ]


@dataclass(frozen=True, eq=False, repr=False)
class Roc(ShortRepr):
    """One ROC curve with named operating points.

    Attributes:
        false_positive, true_positive: [n] rates.
        n_real, n_fake: images that they are shares of.
        points: threshold's name -> (false positive rate, true positive rate).
    """

    name: str
    false_positive: Float[np.ndarray, " n"]
    true_positive: Float[np.ndarray, " n"]
    points: Mapping[str, tuple[float, float]]
    n_real: int
    n_fake: int
    style: Style | None = None


ROC_STEPS = 1000
"""Steps of either rate in which a ROC curve of more points is drawn: to within .001, from all
images."""


def _in_steps(one: Roc) -> np.ndarray:
    """[2, m] rates of the points that are drawn, the first and the last among them."""
    rates = np.stack([one.false_positive, one.true_positive])
    if rates.shape[1] <= 2 * ROC_STEPS:
        return rates
    step = np.floor(rates * ROC_STEPS)
    kept = np.append((np.diff(step, axis=1) != 0).any(axis=0), True)
    kept[0] = True
    return rates[:, kept]


def roc(rocs: Sequence[Roc], *, alt: str, height: int = 360, theme: Theme = LIGHT) -> go.Figure:
    """ROC curves over the chance diagonal, with the operating point of each threshold."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line=dict(color=theme.muted, width=1, dash="dot"),
        hoverinfo="skip",
        name="chance",
    )
    for i, one in enumerate(rocs):
        colour = one.style.colour if one.style else theme.series[i % 4]
        x, y = _in_steps(one)
        rates = (
            f"<br>False positive rate: %{{x:.3f}} of {counted(one.n_real, 'real image')}"
            f"<br>True positive rate: %{{y:.3f}} of {counted(one.n_fake, 'fake')}<extra></extra>"
        )
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            name=label(one.name),
            line=dict(
                color=colour, width=2.2, dash=one.style.dash if one.style else "solid", shape="hv"
            ),
            hovertemplate=label(one.name, 60) + rates,
        )
        for j, (name, (x, y)) in enumerate(one.points.items()):
            figure.add_scatter(
                x=[x],
                y=[y],
                mode="markers",
                name=label(name),
                hovertemplate=label(name, 60) + rates,
                marker=dict(
                    color=theme.paper,
                    size=11,
                    symbol=("circle", "diamond", "square")[j % 3],
                    line=dict(color=colour, width=2.5),
                ),
            )
    figure.update_xaxes(
        title_text="False positive rate (real called fake)", range=[-0.02, 1.02], constrain="domain"
    )
    figure.update_yaxes(title_text="True positive rate (fake called fake)", range=[-0.02, 1.02])
    return finish(figure, theme, alt, height, hovermode="closest")


def score_histogram(
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    alt: str,
    thresholds: Mapping[str, float],
    score_title: str = "Score (higher: more likely fake)",
    bins: int = 30,
    height: int = 360,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Scores of real (0) and fake (1) images with named thresholds; fakes are hatched, so colour is
    not the only carrier.
    """
    figure = go.Figure()
    edges = np.histogram_bin_edges(scores[np.isfinite(scores)], bins=bins)
    for value, name, colour, pattern in ((0, "real", theme.real, ""), (1, "fake", theme.fake, "/")):
        counts, _ = np.histogram(scores[labels == value], bins=edges)
        total = int((labels == value).sum())
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=counts,
            width=np.diff(edges),
            name=f"{name} (n = {total:,})",
            marker=dict(
                color=_rgba(colour, 0.55),
                line=dict(color=colour, width=1),
                pattern=dict(shape=pattern, size=5, fgcolor=colour),
            ),
            hovertext=[
                tip(
                    f"{part_counted(k, total, name + ' image')}",
                    f"Score: {number(a, 2, signed=True)} to {number(b, 2, signed=True)}",
                )
                for k, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    dashes = ("solid", "dash", "dot")
    for i, (name, threshold) in enumerate(thresholds.items()):
        figure.add_scatter(
            x=[threshold, threshold],
            y=[0, 1],
            yaxis="y2",
            mode="lines",
            name=label(name, 48),
            line=dict(color=theme.ink, width=1.6, dash=dashes[i % 3]),
            hovertemplate=f"Threshold, {label(name, 60)}: {signed_score(threshold, 3)}"
            "<extra></extra>",
        )
    figure.update_xaxes(title_text=score_title)
    figure.update_yaxes(title_text="Images")
    return finish(
        figure,
        theme,
        alt,
        height,
        barmode="overlay",
        bargap=0,
        hovermode="closest",
        yaxis2=dict(overlaying="y", range=[0, 1], visible=False, fixedrange=True),
    )


def _rgba(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
