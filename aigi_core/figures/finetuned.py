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
    lines, ends = [], []
    for where, rows in table.groupby("where", sort=True):
        columns = (rows[column].to_numpy(float) for column in ("epoch", "value", "low", "high"))
        x, y, low, high = columns
        lines.append(Curve(str(where), x, y, low, high))
        ends.append(f"{where} from {y[0]:.3f} at epoch {x[0]:.0f} to {y[-1]:.3f} at {x[-1]:.0f}")
    return curves(
        lines,
        alt=f"Balanced accuracy on validation images by epoch: {'; '.join(ends)}.",
        x_title="Epoch (0 is before fine-tuning)",
        y_title="Balanced accuracy on validation images",
        chance=0.5,
        theme=theme,
    )
