"""What is found of generated images by how they were made: steps, and images of one prompt."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.points import intervals
from aigi_core.figures.theme import LIGHT, Theme
from aigi_core.statements import counted


def step_curves(table: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """Balanced accuracy of detectors of other models against sampling steps, one line a model
    (:func:`aigi_core.transfer.generation.by_steps`).
    """
    parts = table.groupby("model", sort=False)
    lines = [Curve.of(part, str(name), "steps") for name, part in parts]
    ends = [
        f"{one.name} from {one.y[0]:.3f} at {one.x[0]:g} steps to {one.y[-1]:.3f} at {one.x[-1]:g}"
        for one in lines
    ]
    return curves(
        lines,
        alt=f"Balanced accuracy of detectors of other models by steps: {'; '.join(ends)}.",
        x_title="Sampling steps",
        y_title="Balanced accuracy, unseen model",
        chance=0.5,
        log_x=True,
        theme=theme,
    )


def same_answers(table: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """By how much images of one prompt agree more than those of different prompts, a line a
    generator (:func:`aigi_core.transfer.generation.same_answer`).
    """
    columns = {"change": "value", "change_low": "low", "change_high": "high"}
    rows = table[["name", "n", *columns]].rename(columns=columns)
    alt = (
        "Same answer for two images: share among pairs of one prompt minus share among pairs"
        f" of different prompts, for {counted(len(rows), 'generator')}: from"
        f" {100 * rows['value'].min():+z.1f} to {100 * rows['value'].max():+z.1f} points."
    )
    title = "Same answer: one prompt minus different prompts"
    return intervals(rows, alt=alt, value_title=title, reference=0, points=True, theme=theme)
