"""Transfer matrices, their differences, summaries and single cells as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Roc, roc, score_histogram
from aigi_core.figures.matrix import Centre, heatmap
from aigi_core.figures.points import intervals
from aigi_core.figures.theme import LIGHT, Style, Theme
from aigi_core.figures.tooltips import measured, tip
from aigi_core.statements import ALPHA, counted, p_text, part_counted
from aigi_core.transfer import (
    METRICS,
    Cell,
    MatrixDifference,
    Order,
    TransferMatrix,
    matrix_order,
)

"""Cells whose q-value lies above this rate are faded."""


Shown = Literal["value", "interval width", "n"]
"""What the cells of a transfer matrix show: the metric, how wide its interval is, how many images
it was measured on."""
MEAN = "mean, unseen"
"""Name of the row and the column of means over generators that a detector has not seen."""


def transfer_heatmap(
    matrix: TransferMatrix,
    metric: str = "accuracy",
    *,
    rows: Sequence[str] | None = None,
    selected: tuple[str, str] | None = None,
    order: Order = "family",
    like: TransferMatrix | None = None,
    show: Shown = "value",
    stretch: bool = False,
    margins: bool = False,
    compact: bool = False,
    theme: Theme = LIGHT,
) -> go.Figure:
    """Detectors by generators; in-domain cells outlined, or the OOD ones where these are fewer.

    Args:
        rows: names of the training sets (by default their generators).
        order: of rows and columns (:func:`aigi_core.transfer.matrix_order`).
        like: another matrix of as many rows and columns, whose order they take.
        stretch: let the scale end at the most extreme value instead of 0 and 1.
        margins: a last row and column of means out of domain, with their intervals.
    """
    about = METRICS[metric]
    names = list(rows or matrix.train_names)
    low, high = matrix.interval(metric)
    n = np.broadcast_to(matrix.n_fake + matrix.n_real, low.shape)
    shown = {"value": matrix.values[metric], "interval width": high - low, "n": n}[show]
    hover = np.array(
        [
            [
                tip(
                    *measured(about.title, (v, a, b), counted(k, "image")),
                    "in-domain" if inside else "out of domain" if outside else "training unknown",
                )
                for v, a, b, k, inside, outside in zip(*line, strict=True)
            ]
            for line in zip(
                matrix.values[metric],
                low,
                high,
                n,
                matrix.in_domain,
                matrix.out_of_domain,
                strict=True,
            )
        ],
        object,
    )
    ood = matrix.mean(metric, matrix.out_of_domain)
    alt = (
        f"Heatmap of {about.in_words}: {counted(len(names), 'detector')} by"
        f" {counted(len(matrix.test), 'test generator')}."
        + (f" Mean out of domain {ood.value:.3f}; the" if ood.n else " The")
        + " values are in the table below."
    )
    if show != "value":
        alt = f"Colours and numbers show the {show} of each cell. {alt}"
    marked = matrix.in_domain if matrix.in_domain.mean() < 0.5 else matrix.out_of_domain
    at = matrix_order(like or matrix, metric, order)
    cells = pd.DataFrame(
        shown[np.ix_(*at)], [names[i] for i in at[0]], np.array(matrix.test)[at[1]]
    )
    hover, marked = hover[np.ix_(*at)], marked[np.ix_(*at)]
    families = [
        [of[i] for i in numbers] if order == "family" else []
        for of, numbers in zip((matrix.train_families, matrix.test_families), at, strict=True)
    ]
    margins = margins and ood.n > 0 and show == "value"
    if margins:
        cells, hover = _with_means(matrix, metric, at, cells, hover)
        marked = np.pad(marked, ((0, 1), (0, 1)))
        families = [[*of, ""] if of else [] for of in families]
    centre: Centre = "chance" if about.chance == 0.5 and show == "value" else "none"
    limits = (0.0, 1.0) if show == "value" else None
    if stretch and show == "value":
        reach = max(float(np.abs(cells.to_numpy(float) - 0.5)[cells.notna()].max()), 0.01)
        values = cells.to_numpy(float)
        limits = (0.5 - reach, 0.5 + reach) if centre == "chance" else None
        limits = limits or (float(np.nanmin(values)), float(np.nanmax(values)))
    return heatmap(
        cells,
        alt=alt,
        centre=centre,
        limits=limits,
        row_title="trained on",
        column_title="tested on",
        value_title=about.title if show == "value" else show,
        row_families=families[0],
        column_families=families[1],
        hover=pd.DataFrame(hover),
        selected=selected,
        outlined=marked,
        number=".0f" if show == "n" else ".2f",
        higher_is_better=about.higher_is_better or show != "value",
        compact=compact,
        margins=margins,
        theme=theme,
    )


def _with_means(
    matrix: TransferMatrix,
    metric: str,
    at: tuple[np.ndarray, np.ndarray],
    cells: pd.DataFrame,
    hover: np.ndarray,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Cells and their texts with a last column and row of means out of domain."""
    unseen = matrix.out_of_domain
    lines = [unseen & (np.arange(len(unseen)) == i)[:, None] for i in at[0]]
    columns = [unseen & (np.arange(unseen.shape[1]) == j) for j in at[1]]
    means = [matrix.mean(metric, chosen) for chosen in (*lines, *columns, unseen)]
    texts = [
        tip(*measured("Mean out of domain", (m.value, m.low, m.high), counted(m.n, "cell")))
        if m.n
        else "no cell out of domain"
        for m in means
    ]
    numbers = [m.value for m in means]
    size = len(lines)
    cells = cells.assign(**{MEAN: numbers[:size]})
    cells.loc[MEAN] = numbers[size:]
    wider = np.column_stack([hover, np.array(texts[:size], object)])
    return cells, np.vstack([wider, np.array(texts[size:], object)])


def difference_heatmap(
    change: MatrixDifference,
    families: tuple[Sequence[str], Sequence[str]],
    *,
    rows: Sequence[str] | None = None,
    selected: tuple[str, str] | None = None,
    at: tuple[np.ndarray, np.ndarray] | None = None,
    what: str = "A − B",
    theme: Theme = LIGHT,
) -> go.Figure:
    """``a - b`` in every cell; faded where Benjamini-Hochberg does not call it different at 5%.

    Args:
        at: the order of rows and columns; families have their names only without one.
        what: names the two, such as "after − before".
    """
    about = METRICS[change.metric]
    names = list(rows or change.train_names)
    values = pd.DataFrame(change.values, names, list(change.test))
    unsure = ~(change.q_value < ALPHA)
    images = [counted(len(column.labels), "image") for column in change.columns]
    hover = [
        [
            tip(
                *measured(f"{about.title}, {what}", (v, a, b), n, form="points"),
                p_text(q, "q"),
            )
            for v, a, b, q, n in zip(*line, images, strict=True)
        ]
        for line in zip(change.values, change.low, change.high, change.q_value, strict=True)
    ]
    alt = (
        f"Heatmap of the difference in {about.in_words}, {what.replace('−', 'minus')}: "
        f"{part_counted((~unsure).sum(), unsure.size, 'cell', 'differ')} at a false discovery rate"
        " of 5%; the others are faded."
    )
    tips, faint = pd.DataFrame(hover), pd.DataFrame(unsure)
    if at is not None:
        values, tips, faint = (table.iloc[at[0], at[1]] for table in (values, tips, faint))
        families = ((), ())
    return heatmap(
        values,
        alt=alt,
        centre="zero",
        percent=True,
        row_title="trained on",
        column_title="tested on",
        value_title=f"{about.title}, {what}",
        row_families=families[0],
        column_families=families[1],
        hover=tips,
        faint=faint,
        selected=selected,
        diagonal=False,
        higher_is_better=about.higher_is_better,
        theme=theme,
    )


def block_intervals(blocks: pd.DataFrame, metric: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Means by family with intervals, from ``TransferMatrix.blocks``; empty blocks are left out."""
    about = METRICS[metric]
    table = blocks[blocks["n"] > 0].assign(
        name=lambda t: t["train_family"] + " → " + t["test_family"]
    )
    alt = (
        f"Mean {about.in_words} by family of training and test generator, with 95% intervals: "
        + ", ".join(
            f"{row.name} {row.value:.3f}"
            for row in table[["name", "value"]].itertuples(index=False)
        )
        + "."
    )
    reference = about.chance if about.chance == 0.5 else None
    return intervals(
        table,
        alt=alt,
        value_title=f"{about.title} (mean of n cells)",
        reference=reference,
        theme=theme,
    )


def generator_intervals(
    matrix: TransferMatrix,
    metric: str,
    styles: Mapping[str, Style],
    *,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """How well each generator is found by detectors that never saw it: mean of its OOD cells, with
    interval.
    """
    about = METRICS[metric]
    table = matrix.by_test(metric)
    hardest = matrix.hardest(metric)
    alt = (
        f"Mean {about.in_words} on each generator by detectors that were not trained on it,"
        f" with 95% intervals; the lowest is {hardest.name} with {hardest.numbers()}."
        if hardest
        else "There are no out-of-domain cells."
    )
    reference = about.chance if about.chance == 0.5 else None
    return intervals(
        table,
        alt=alt,
        value_title=f"{about.title} out of domain (mean of n detectors)",
        reference=reference,
        styles=styles,
        selected=selected,
        theme=theme,
    )


def detector_intervals(
    matrix: TransferMatrix,
    metric: str,
    styles: Mapping[str, Style],
    *,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """One detector (the matrix's first row) on each test generator; n is the images of the test
    set.
    """
    about, (low, high) = METRICS[metric], matrix.interval(metric)
    table = pd.DataFrame(
        {
            "name": matrix.test,
            "value": matrix.values[metric][0],
            "low": low[0],
            "high": high[0],
            "n": matrix.n_real + matrix.n_fake,
        }
    )
    order = (
        table["value"]
        .to_numpy(float)
        .argsort(kind="stable")[:: -1 if about.higher_is_better else 1]
    )
    known = [name for name in matrix.test if name in matrix.train[0]]
    alt = (
        f"{about.title} of the detector trained on {' + '.join(matrix.train[0])} on each of"
        f" {counted(len(table), 'generator')}, best first, with 95% intervals: from"
        f" {table['value'].max():.3f} to {table['value'].min():.3f}."
    )
    reference = about.chance if about.chance == 0.5 else None
    figure = intervals(
        table.iloc[order],
        alt=alt,
        value_title=f"{about.title} (n test images)",
        reference=reference,
        styles=styles,
        selected=selected,
        theme=theme,
    )
    for at, name in enumerate(table["name"].iloc[order]):
        if name in known:
            figure.add_annotation(
                x=0,
                xref="paper",
                y=at,
                text="trained on",
                showarrow=False,
                xanchor="left",
                font=dict(size=11, color=theme.muted),
            )
    return figure


def cell_roc(cell: Cell, train: str, test: str, *, theme: Theme = LIGHT) -> go.Figure:
    """ROC of one cell with the operating point of each threshold."""
    fpr, tpr = cell.roc()
    real = int((cell.labels == 0).sum())
    points = {name: cell.rates(threshold) for name, threshold in cell.thresholds.items()}
    values_in_words = "; ".join(f"{name}: {x:.2f}, {y:.2f}" for name, (x, y) in points.items())
    alt = (
        f"ROC curve of the detector trained on {train}, tested on {test}"
        f" ({counted(len(cell.rows), 'image')}). False and true positive rate at"
        f" {values_in_words}."
    )
    return roc([Roc("ROC", fpr, tpr, points, real, len(cell.rows) - real)], alt=alt, theme=theme)


def cell_histogram(cell: Cell, train: str, test: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Scores of real and fake test images of one cell, with all thresholds."""
    values_in_words = ", ".join(
        f"{name} {threshold:.2f}" for name, threshold in cell.thresholds.items()
    )
    alt = (
        f"Scores of the detector trained on {train} for"
        f" {counted(int((cell.labels == 0).sum()), 'real image')}"
        f" and {counted(int((cell.labels == 1).sum()), 'fake')} of {test}. Thresholds:"
        f" {values_in_words}."
    )
    return score_histogram(
        cell.scores,
        cell.labels,
        alt=alt,
        thresholds=cell.thresholds,
        score_title="Score (log-odds; higher: more likely fake)",
        theme=theme,
    )
