"""How fine-tuning went, by epoch."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.theme import LIGHT, Theme


def epoch_curves(table: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """In-domain against out-of-domain accuracy by epoch, with intervals.

    Args:
        table: what :func:`aigi_core.transfer.finetuned.epoch_curve` gives.
    """
    lines = [Curve.of(rows, str(where), "epoch") for where, rows in table.groupby("where")]
    ends = [
        f"{one.name} from {one.y[0]:.3f} at epoch {one.x[0]:.0f} to {one.y[-1]:.3f} at"
        f" {one.x[-1]:.0f}"
        for one in lines
    ]
    return curves(
        lines,
        alt=f"Balanced accuracy on validation images by epoch: {'; '.join(ends)}.",
        x_title="Epoch (0 is before fine-tuning)",
        y_title="Balanced accuracy on validation images",
        chance=0.5,
        theme=theme,
    )
