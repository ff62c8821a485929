"""Explanations as figures: words of a direction, nameability against generalisation, what a change
does to detectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.points import intervals, scatter
from aigi_core.figures.theme import LIGHT, Style, Theme, label
from aigi_core.figures.tooltips import measured, tip
from aigi_core.figures.words import decisive_cosine, word_list
from aigi_core.statements import ALPHA, counted, p_text
from aigi_core.transfer import DEFAULT_METRIC, METRICS
from aigi_core.transfer.bootstrap import Estimate

if TYPE_CHECKING:  # these bring faiss and scipy.stats, which pages without words spare
    from aigi_core.explain.effect import Effect
    from aigi_core.explain.nameability import Nameability
    from aigi_core.explain.nulls import Side
    from aigi_core.explain.words import Words


def listed_words(
    word_lists: Words, side: Side, rows: int = 12, *, theme: Theme = LIGHT
) -> go.Figure:
    """The nearest or the farthest texts of a direction before the band of chance; a click reports
    the text.
    """
    whole: pd.DataFrame = getattr(word_lists, side)
    table, bound = whole.head(rows), decisive_cosine(whole)
    decided = f" ({bound:.3f})" if bound is not None and np.isfinite(bound) else ""
    beyond = int((table["p_value"] <= ALPHA).sum()) if word_lists.draws else 0
    listed = ", ".join(
        f"{text} ({cosine:z.2f})" for text, cosine in table[["text", "cosine"]].head(5).to_numpy()
    )
    alt = (
        f"The {len(table)} {side} texts of {word_lists.name} with their cosines. The grey band"
        f" is what 95% of directions without meaning reach{decided}; {beyond} of the texts go"
        f" beyond chance. First: {listed}."
    )
    return word_list(whole, rows, alt=alt, theme=theme)


def nameability_scatter(
    result: Nameability,
    styles: Mapping[str, Style],
    *,
    x_title: str,
    metric: str = DEFAULT_METRIC,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """One point a detector: how nameable it is, and how well it does on generators it never saw."""
    own = result.detectors
    table = pd.DataFrame(
        {
            "name": own["detector"],
            "x": own["nameable"],
            "x_n": [p_text(p) if pd.notna(p) else "" for p in own["p_value"]],
            "y": own["ood"],
            "y_low": own["ood_low"],
            "y_high": own["ood_high"],
            "y_n": [counted(n, "generator") for n in own["n_ood"]],
            "detail": [f"nearest: {text}" for text in own["nearest"]],
        }
    )
    first = result.correlations.iloc[0]
    alt = (
        f"Scatter of {counted(len(table), 'detector')}: {x_title} against"
        f" {METRICS[metric].in_words} out of"
        f" domain. Spearman's correlation {first['spearman']:.2f}, 95% interval {first['low']:.2f}"
        f" to {first['high']:.2f}."
    )
    return scatter(
        table,
        alt=alt,
        x_title=x_title,
        y_title=f"{METRICS[metric].title} out of domain",
        styles=styles,
        selected=selected,
        theme=theme,
    )


def nameability_intervals(result: Nameability, *, theme: Theme = LIGHT) -> go.Figure:
    """Spearman's correlation over all detectors and within each family that has enough of them."""
    table = result.correlations.dropna(subset="spearman").rename(
        columns={"family": "name", "spearman": "value"}
    )
    alt = (
        "Spearman's correlation of nameability with the out-of-domain mean, with 95% intervals: "
        + ", ".join(f"{name} {value:.2f}" for name, value in table[["name", "value"]].to_numpy())
    )
    return intervals(
        table,
        alt=f"{alt}.",
        value_title="Spearman's correlation (n detectors)",
        reference=0.0,
        limits=(-1.05, 1.05),
        theme=theme,
    )


def effect_intervals(
    effect: Effect,
    cells: Literal["ood", "in-domain"] = "ood",
    *,
    styles: Mapping[str, Style] | None = None,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """How much each detector changes, with its interval, before the range of the controls."""
    about = METRICS[effect.change.metric]
    table = effect.table[effect.table["cells"] == cells].rename(
        columns={
            "detector": "name",
            "change": "value",
            "control_low": "band_low",
            "control_high": "band_high",
        }
    )
    first = table.iloc[0]
    where = "out of domain" if cells == "ood" else "in-domain"
    alt = (
        f"Change of {about.in_words} {where}, after minus before, with 95% intervals: all detectors"
        f" together {100 * first['value']:+z.1f} points. Grey: range of"
        f" {counted(int(first['controls']), 'control')}."
    )
    return intervals(
        table,
        alt=alt,
        value_title=f"{about.title} {where}, change (mean of n cells)",
        reference=0.0,
        points=True,
        styles=styles,
        selected=selected,
        band=f"range of {counted(int(first['controls']), 'control')}",
        theme=theme,
    )


def head_map(
    table: pd.DataFrame,
    column: str,
    *,
    ends: tuple[str, str],
    value_title: str,
    measured_on: str,
    selected: str | None = None,
    chosen: Sequence[str] = (),
    texts: Mapping[str, str] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Layers x heads, one value each; ``chosen`` heads are outlined. A click reports ``customdata``
    ["layer.index"].

    Args:
        table: one row a head: ``head, layer, index``, the column shown and the ends of its
            interval.
        measured_on: what all heads were measured on, such as "131 validation images".
        texts: head -> a text that describes it, for the hover text.
    """
    texts = texts or {}
    values = table.pivot_table(index="layer", columns="index", values=column)
    layers, heads = [f"layer {i}" for i in values.index], [str(i) for i in values.columns]
    names = [[f"{i}.{j}" for j in values.columns] for i in values.index]
    estimates = dict(zip(table["head"], table[[column, *ends]].to_numpy(float), strict=True))
    outlined = np.array([[name in chosen for name in row] for row in names])
    at = int(table[column].to_numpy(float).argmax())
    alt = (
        f"Map of {counted(len(table), 'head')} by layer: {value_title}. The highest on these"
        f" images is head {table['head'].iloc[at]} with {table[column].iloc[at]:.3f}."
    )
    place = tuple(selected.split(".")) if selected else ("", "")
    figure = heatmap(
        values.set_axis(layers).set_axis(heads, axis=1),
        alt=alt,
        column_title="head",
        value_title=value_title,
        hover=pd.DataFrame(
            [
                [
                    tip(
                        f"head {head}",
                        *measured(value_title, estimates[head], measured_on),
                        f"TextSpan: {label(texts[head], 60)}" if head in texts else "",
                    )
                    for head in own
                ]
                for own in names
            ]
        ),
        selected=(f"layer {place[0]}", place[1]),
        outlined=outlined,
        theme=theme,
    )
    figure.data[1].customdata = [[name] for row in names for name in row]
    return figure


def head_curves(
    ways: Mapping[str, pd.DataFrame],
    *,
    whole: Estimate,
    chosen: int,
    about: str,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A metric out of domain against the number of heads, one line a way of choosing them;
    ``whole``: the embedding's.
    """
    lines = [Curve.of(table, name, "heads") for name, table in ways.items()]
    reach = max(float(line.x.max()) for line in lines)
    value, low, high = (np.full(2, end) for end in (whole.value, whole.low, whole.high))
    lines.append(
        Curve(
            "whole embedding",
            np.array([1.0, reach]),
            value,
            low,
            high,
            control=True,
            n=np.full(2, whole.n),
        )
    )
    ends = "; ".join(f"{name}: at most {table['value'].max():.3f}" for name, table in ways.items())
    alt = (
        f"{about} out of domain against the number of heads, with 95% bands. {ends}; whole"
        f" embedding {whole.value:.3f}."
    )
    return curves(
        lines,
        alt=alt,
        x_title="heads",
        y_title=f"{about} out of domain",
        at=chosen,
        height=320,
        theme=theme,
    )


def role_intervals(
    roles: pd.DataFrame,
    head: str,
    styles: Mapping[str, Style],
    *,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """How far one head moves each generator's fakes from their real counterparts: right of zero it
    helps, left it misleads.

    Args:
        roles: rows of this head of :func:`aigi_core.explain.evidence.head_roles`.

    Drawn in standard deviations of the detector's logit on real images.
    """
    table = roles.rename(columns={"generator": "name", "gap": "value"}).assign(
        n=roles["n_fake"] + roles["n_real"]
    )
    ends = ["value", "low", "high"]
    table[ends] = table[ends].div(table["spread"], axis=0)
    counts = roles["role"].value_counts()
    alt = (
        f"How much more head {head} says 'fake' on each generator's fakes than on matching"
        " real images, in standard deviations of the score of real images, with 95%"
        " intervals. It helps the detector on"
        f" {counted(counts.get('carries', 0), 'generator')} and misleads it on"
        f" {counts.get('misleads', 0)}."
    )
    return intervals(
        table,
        alt=alt,
        value_title="gap between fakes and real images, in sd of the score of real images",
        reference=0.0,
        styles=styles,
        selected=selected,
        theme=theme,
    )
