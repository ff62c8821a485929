"""Removing components: score curves of a search, the map of all pairs, geometry before and
after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.theme import LIGHT, Theme, error_bars, finish
from aigi_core.figures.tooltips import measured, tip
from aigi_core.statements import ALPHA, counted, p_text
from aigi_core.transfer import METRICS, highest_pair
from aigi_core.transfer.atlas import StoredElimination

MEASURES = {
    "isoscore": "IsoScore",
    "isoscore_star": "IsoScore*",
    "participation_ratio": "Participation ratio",
    "mean_cosine": "Mean cosine",
}
"""Measures of geometry, as figures and tables name them."""


def removal_curves(
    directions: Sequence[StoredElimination],
    images: Sequence[int],
    *,
    at: int | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Score against components removed, one line a direction, a ring at each best score (the
    cut).

    Args:
        images: that each direction is scored on.
    """
    lines = [
        Curve(
            f"{d.train} → {d.val}",
            np.arange(len(d.accuracy)),
            np.asarray(d.accuracy, float),
            n=np.full(len(d.accuracy), n),
            note="No interval: these images chose each removal, so the score is too high for new"
            " ones.",
        )
        for d, n in zip(directions, images, strict=True)
    ]
    values_in_words = "; ".join(
        f"trained on {d.train}, scored on {d.val}: {d.accuracy[0]:.3f} at the start,"
        f" {d.accuracy[d.cut]:.3f} at best, after {counted(d.cut, 'removal')}"
        for d in directions
    )
    alt = (
        "Balanced accuracy on validation images against the number of components removed."
        f" {values_in_words}."
    )
    figure = curves(
        lines,
        alt=alt,
        x_title="Components removed",
        y_title="Balanced accuracy (validation)",
        chance=0.5,
        at=at,
        theme=theme,
    )
    figure.add_scatter(
        x=[d.cut for d in directions],
        y=[float(d.accuracy[d.cut]) for d in directions],
        mode="markers",
        name="best score",
        marker=dict(symbol="circle-open", size=13, color=theme.ink, line=dict(width=2)),
        hoverinfo="skip",
    )
    return figure


def pair_map(
    pairs: pd.DataFrame,
    generators: Sequence[str],
    families: Sequence[str],
    metric: str,
    *,
    selected: tuple[str, str] | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """What each D_search pair's removal changes on the generators that it did not see.

    Args:
        pairs: one row a pair: ``a, b, change, change_low, change_high, q_value, n, kept``
            (``Atlas.summary``, one view, metric and set of cells).

    A click reports ``customdata`` [D1, D2].
    """
    frame = pd.DataFrame(np.nan, list(generators), list(generators))
    unsure, hover = frame.notna(), frame.astype(object).fillna("no search of this pair")
    for p in pairs.to_dict("records"):
        text = tip(
            *measured(
                f"Change of {METRICS[metric].in_words}",
                [p[f"change{end}"] for end in ("", "_low", "_high")],
                counted(p["n"], "cell"),
                form="points",
            ),
            p_text(p["q_value"], "q"),
            f"{counted(p['kept'], 'component')} kept",
        )
        for row, column in ((p["a"], p["b"]), (p["b"], p["a"])):
            frame.loc[row, column], hover.loc[row, column] = p["change"], text
            unsure.loc[row, column] = not p["q_value"] < ALPHA
    sure = pairs[pairs["q_value"] < ALPHA]
    best = highest_pair(pairs)
    alt = (
        f"Change of OOD {METRICS[metric].in_words} by the removal of each of"
        f" {counted(len(pairs), 'pair')}; {int((sure['change'] > 0).sum())} improve and"
        f" {int((sure['change'] < 0).sum())} worsen at a false discovery rate of 5%."
    )
    if best:
        alt += f" Highest: {best[0]['a']} with {best[0]['b']}, {best[1].points()}."
    return heatmap(
        frame,
        alt=alt,
        centre="zero",
        row_title="D1",
        column_title="D2",
        value_title="Change",
        percent=True,
        row_families=families,
        column_families=families,
        hover=hover,
        faint=unsure,
        selected=selected,
        diagonal=False,
        theme=theme,
    )


def geometry_change(
    table: pd.DataFrame, images: int, removals: int, *, theme: Theme = LIGHT
) -> go.Figure:
    """Each measure before and after a removal, as a share of its value before, beside random
    removals of as many.

    The values themselves stand below the names.

    Args:
        table: ``GeometryComparison.table``.
        images, removals: what it was measured on, and how many random removals there were.
    """
    figure, values_in_words = go.Figure(), []
    for at, row in enumerate(table.to_dict("records")):
        scale = row["before"] if row["before"] else 1.0
        parts = (
            ("before", theme.muted, "circle-open", ("before", "before_low", "before_high")),
            (
                "random removals",
                theme.series[1],
                "diamond-open",
                ("random", "random_low", "random_high"),
            ),
            ("after", theme.accent, "circle", ("after", "after_low", "after_high")),
        )
        for offset, (name, colour, symbol, keys) in zip((-0.2, 0.0, 0.2), parts, strict=True):
            value, low, high = (row[k] / scale for k in keys)
            figure.add_scatter(
                x=[value],
                y=[at + offset],
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=at == 0,
                marker=dict(color=colour, symbol=symbol, size=10),
                error_x=error_bars([value], [low], [high], colour),
                hovertext=tip(
                    MEASURES[row["measure"]],
                    *measured(
                        name.capitalize(),
                        [row[key] for key in keys],
                        counted(removals, "removal") if keys[0] == "random" else images,
                        ends="95% range" if keys[0] == "random" else "95% interval",
                    ),
                ),
                hovertemplate="%{hovertext}<extra></extra>",
            )
        values_in_words.append(
            f"{MEASURES[row['measure']]} {row['before']:.4g} before, {row['after']:.4g} after,"
            f" {row['random']:.4g} on average after random removals ({p_text(row['p_value'])})"
        )
    figure.add_vline(x=1, line=dict(color=theme.muted, width=1, dash="dot"))
    names = [
        f"{MEASURES[m]}<br><span style='font-size:11px;color:{theme.muted}'>{before:.3g} →"
        f" {after:.3g}</span>"
        for m, before, after in table[["measure", "before", "after"]].itertuples(index=False)
    ]
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=names, autorange="reversed", showgrid=False
    )
    figure.update_xaxes(title_text="Relative to the value before")
    return finish(
        figure, theme, f"{'; '.join(values_in_words)}.", 130 + 62 * len(names), hovermode="closest"
    )
