"""Few-shot curves."""

from __future__ import annotations

import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.theme import LIGHT, Theme
from aigi_core.transfer import METRICS, FewShotCurves


def few_shot(result: FewShotCurves, *, theme: Theme = LIGHT) -> go.Figure:
    """A metric at home, elsewhere and in the worst case against training images per class, with
    intervals.
    """
    about, table = METRICS[result.metric], result.table
    # "All" has no number of its own on the axis: it stands at the smaller class's count.
    x = table["size"].where(table["size"] > 0, table[["n_real", "n_fake"]].min(axis=1))
    lines = []
    for name in ("in-domain", "ood", "worst ood"):
        part = table[table["cells"] == name].assign(x=x).sort_values("x")
        if len(part):
            shown = {"ood": "out of domain, mean", "worst ood": "out of domain, worst"}.get(
                name, name
            )
            lines.append(Curve.of(part, shown, "x"))
    ends = "; ".join(f"{line.name} from {line.y[0]:.3f} to {line.y[-1]:.3f}" for line in lines)
    alt = (
        f"{about.title} against training images per class, from {x.min():.0f} to {x.max():.0f}:"
        f" {ends}."
    )
    figure = curves(
        lines,
        alt=alt,
        x_title="Training images per class (the last point: all)",
        y_title=about.title,
        chance=about.chance if about.chance == 0.5 else None,
        log_x=True,
        theme=theme,
    )
    sizes = sorted(set(x))
    figure.update_xaxes(
        tickvals=sizes, ticktext=[f"{size:.0f}" for size in sizes], minor=dict(showgrid=False)
    )
    return figure
