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
    lines, ends = [], []
    for name, table in tables.items():
        columns = (table[column].to_numpy(float) for column in ("layer", "value", "low", "high"))
        x, y, low, high = columns
        lines.append(Curve(name, x, y, low, high))
        ends.append(f"{name} from {y[0]:.3f} at layer {x[0]:.0f} to {y[-1]:.3f} at {x[-1]:.0f}")
    return curves(
        lines,
        alt=f"Balanced accuracy out of domain by layer: {'; '.join(ends)}.",
        x_title="Layer (0 is the first)",
        y_title="Balanced accuracy out of domain",
        chance=0.5,
        theme=theme,
    )
