"""Who is named as whom, what becomes of unknown generators, and the tree of generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.attribution.named import Named
from aigi_core.attribution.tree import GeneratorTree
from aigi_core.attribution.unknown import OUTCOMES
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.theme import LIGHT, Theme, finish, labels, name_lines
from aigi_core.figures.tooltips import measured, tip
from aigi_core.statements import counted, part_counted

SURE = 0.7
"""Joins that fewer bootstrap draws contain are dashed (Hillis and Bull 1993 on such shares)."""


def source_confusion(
    named: Named,
    family_of: Mapping[str, str],
    *,
    selected: tuple[str, str] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """True source by named source, as shares of the row; the diagonal, named rightly, is outlined.

    A click reports ``customdata`` [true source, named source].
    """
    rate, (low, high), n = named.confusion()
    names = list(named.names)
    hover = pd.DataFrame(
        [
            [
                tip(
                    *measured(
                        "Share of the row",
                        [share[i, j] for share in (rate, low, high)],
                        part_counted(round(rate[i, j] * n[i]), n[i], "image"),
                        form="percent",
                    )
                )
                for j in range(len(names))
            ]
            for i in range(len(names))
        ],
        names,
        names,
    )
    families = [family_of.get(name, "") for name in names]
    recall = named.mean_recall()
    alt = (
        f"Heat map of {len(names)} true sources (rows) by named sources (columns): shares of"
        f" each row. The mean of the diagonal, images named correctly, is {recall.value:.0%}."
        " The values are in the table below."
    )
    return heatmap(
        pd.DataFrame(rate, names, names),
        alt=alt,
        centre="none",
        limits=(0.0, 1.0),
        row_title="made by",
        column_title="named as",
        value_title="share of the row, %",
        percent=True,
        row_families=families,
        column_families=families,
        hover=hover,
        selected=selected,
        theme=theme,
    )


def unknown_outcomes(table: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """What becomes of images of generators that were left out, one bar each.

    Args:
        table: of :func:`aigi_core.attribution.unknown.open_set`.
    """
    figure = go.Figure()
    looks = {
        "unknown": ("unknown (correct)", theme.right, ""),
        "called_real": ("called real", theme.real, "/"),
        "false_attribution": ("named as another generator", theme.wrong, "x"),
    }
    at, names = np.arange(len(table)), labels(table["generator"].tolist())
    for outcome in OUTCOMES:
        title, colour, pattern = looks[outcome]
        value, low, high = (table[f"{outcome}{end}"] for end in ("", "_low", "_high"))
        figure.add_bar(
            y=at,
            x=value,
            orientation="h",
            name=title,
            marker=dict(
                color=colour,
                pattern=dict(shape=pattern, fgcolor=theme.paper, size=6, fillmode="overlay"),
            ),
            hovertext=[
                tip(name, *measured(title, (v, a, b), n, form="percent"))
                for name, v, a, b, n in zip(names, value, low, high, table["n"], strict=True)
            ],
            hoverinfo="text",
            text=[f"{v:.0%}" if v >= 0.08 else "" for v in value],
            textposition="inside",
            insidetextanchor="middle",
        )
    ticks = [f"{text} (n = {n})" for text, n in zip(names, table["n"], strict=True)]
    figure.update_xaxes(title_text="share of its test images", range=[0, 1], tickformat=".0%")
    name_lines(figure, ticks)
    means = ", ".join(f"{looks[o][0]} {table[o].mean():.0%}" for o in OUTCOMES)
    alt = (
        "Bars: how test images of a generator are named when it is left out of training, for"
        f" {counted(len(table), 'generator')}. On average {means}."
    )
    return finish(figure, theme, alt, 110 + 26 * len(table), barmode="stack", bargap=0.25)


def generator_tree(
    tree: GeneratorTree, families: Sequence[str] = (), *, theme: Theme = LIGHT
) -> go.Figure:
    """A dendrogram from left (apart) to right (alike); at each join the share of bootstrap draws
    that contain it. Joins below :data:`SURE` are dashed.
    """
    from scipy.cluster.hierarchy import dendrogram, leaves_list

    figure, order = go.Figure(), leaves_list(tree.linkage)
    drawn = dendrogram(tree.linkage, no_plot=True)
    heights = np.asarray(drawn["dcoord"], float)
    places = np.asarray(drawn["icoord"], float)
    joins = tree.linkage[:, 2]
    # SciPy draws joins in the order of the leaves; each is found again by its distance and place.
    middle = {i: 5.0 + 10.0 * int(np.flatnonzero(order == i)[0]) for i in range(len(order))}
    below = [{i} for i in range(len(order))]  # the generators below each node
    for number, (left, right) in enumerate(tree.linkage[:, :2].astype(int)):
        below.append(below[left] | below[right])
        middle[len(order) + number] = (middle[left] + middle[right]) / 2
    members = below[len(order) :]
    for height, place in zip(heights, places, strict=True):
        centre = (place[1] + place[2]) / 2
        number = int(
            np.argmin(
                [
                    abs(joins[k] - height[1]) + abs(middle[len(order) + k] - centre)
                    for k in range(len(joins))
                ]
            )
        )
        share = float(tree.stability[number])
        figure.add_scatter(
            x=height,
            y=(place - 5) / 10,
            mode="lines",
            line=dict(
                color=theme.ink if share >= SURE else theme.muted,
                width=2 if share >= SURE else 1.2,
                dash="solid" if share >= SURE else "dot",
            ),
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(
            x=[height[1]],
            y=[(centre - 5) / 10],
            mode="markers+text",
            text=[f"{share:.0%}"],
            textposition="middle left",
            textfont=dict(size=10, color=theme.ink if share >= SURE else theme.muted),
            marker=dict(size=5, color=theme.ink if share >= SURE else theme.muted),
            hovertext=[
                tip(
                    f"Joins {counted(len(members[number]), 'generator')}",
                    ", ".join(labels([tree.names[i] for i in sorted(members[number])])),
                    f"Distance: {height[1]:.3f}",
                    f"Joined in {share:.0%} of {counted(tree.draws, 'bootstrap draw')}",
                )
            ],
            hoverinfo="text",
            showlegend=False,
        )
    names = [tree.names[i] for i in order]
    of = dict(zip(tree.names, families, strict=True)) if families else {}
    ticks = [
        f"{text}{f' ({of[name]})' if name in of else ''}"
        for text, name in zip(labels(names), names, strict=True)
    ]
    span = float(joins.max() - min(joins.min(), 0)) or 1.0
    figure.update_xaxes(
        title_text="distance", range=[joins.max() + 0.08 * span, max(joins.min() - 0.3 * span, 0)]
    )
    name_lines(figure, ticks, side="right")
    alt = (
        f"Tree (dendrogram) of {counted(len(names), 'generator')}. Joined first:"
        f" {' and '.join(sorted(tree.clades[0]))}. The joins are in the table below."
    )
    return finish(figure, theme, alt, 110 + 26 * len(names), hovermode="closest")
