"""Forest plots of differences within pairs, of one column, and of results over several splits."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.points import intervals
from aigi_core.figures.theme import LIGHT, Theme, label
from aigi_core.statements import counted, part_counted

SHOWN = 16


def paired_intervals(table: pd.DataFrame, what: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Differences within pairs (:func:`aigi_core.audit.paired.paired_table`), the clearest
    :data:`SHOWN`, by size.

    Args:
        what: what the differences are of, with its unit.
    """
    clear = table.sort_values("p", kind="stable").head(SHOWN)
    shown = clear.sort_values("difference", ascending=False)
    rows = shown.rename(columns={"difference": "value"})[["name", "value", "low", "high", "n"]]
    first, last = rows.iloc[0], rows.iloc[-1]
    alt = (
        f"Mean difference within {counted(first['n'], 'pair')} of fake and real image, {what},"
        " with 95%"
        f" intervals: {part_counted(len(rows), len(table), 'line')}, from {last['value']:+z.3f} to"
        f" {first['value']:+z.3f}."
    )
    title = f"Fake minus real within pairs, {what}"
    return intervals(rows, alt=alt, value_title=title, reference=0, theme=theme)


def column_intervals(table: pd.DataFrame, name: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Every detector's balanced accuracy on one generator: columns ``train, value, low, high, n``,
    from top to bottom.
    """
    alt = (
        f"Balanced accuracy of {counted(len(table), 'detector')} on {name}, with 95% intervals:"
        " from"
        f" {table['value'].min():.2f} to {table['value'].max():.2f}."
    )
    title = f"Balanced accuracy on {label(name)}"
    rows = table.rename(columns={"train": "name"})
    return intervals(rows, alt=alt, value_title=title, reference=0.5, theme=theme)


def split_ranges(summary: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """Means over seeds with their range from the least to the most (``Resplit.summary``)."""
    columns = {"cells": "name", "mean": "value", "least": "low", "most": "high"}
    rows = summary.rename(columns=columns)[["name", "value", "low", "high", "n"]]
    rows = rows.assign(name=rows["name"].replace({"ood": "out-of-domain"}))
    values_in_words = "; ".join(
        f"{name} {low:.3f} to {high:.3f}"
        for name, low, high in zip(rows["name"], rows["low"], rows["high"], strict=True)
    )
    alt = (
        f"Results over {counted(int(summary['n'].iloc[0]), 'random split')} of the same"
        f" images: {values_in_words}."
    )
    title = "Balanced accuracy, mean and range over seeds"
    return intervals(rows, alt=alt, value_title=title, ends="from least to most", theme=theme)
