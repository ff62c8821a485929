"""Transfer by depth of an encoder."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.theme import LIGHT, Theme


def depth_curves(tables: dict[str, pd.DataFrame], *, theme: Theme = LIGHT) -> go.Figure:
    """Out-of-domain accuracy against the layer, one line an encoder, with intervals.

    Args:
        tables: encoder -> what :func:`aigi_core.transfer.depth.by_layer` gives.
    """
    lines = [Curve.of(table, name, "layer") for name, table in tables.items()]
    ends = [
        f"{one.name} from {one.y[0]:.3f} at layer {one.x[0]:.0f} to {one.y[-1]:.3f} at"
        f" {one.x[-1]:.0f}"
        for one in lines
    ]
    return curves(
        lines,
        alt=f"Balanced accuracy out of domain by layer: {'; '.join(ends)}.",
        x_title="Layer (0 is the first)",
        y_title="Balanced accuracy out of domain",
        chance=0.5,
        theme=theme,
    )
