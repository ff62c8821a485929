"""Stress tests: what each operation costs, curves over its strength, training on copies, parts that
hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from aigi_core.figures.curves import Curve, curves
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.points import in_points, interval_groups, intervals, scatter
from aigi_core.figures.theme import LIGHT, Style, Theme
from aigi_core.figures.tooltips import measured, tip
from aigi_core.metrics import DEFAULT_METRIC, METRICS
from aigi_core.perturb import PERTURBATIONS, parse_ops
from aigi_core.statements import ALPHA, counted, p_text
from aigi_core.stress import AUGMENTED, CLEAN, SIDES
from aigi_core.winner import estimates, winner

SIDE_NAMES = {"both": "both classes", "fake": "fakes only", "real": "real images only"}
CELL_NAMES = {"in-domain": "in-domain", "ood": "out of domain"}
METRIC = METRICS[DEFAULT_METRIC].title


def op_name(op: str) -> str:
    """An operation in a word or two, or ``clean``."""
    return op if op in (CLEAN, AUGMENTED) else parse_ops([op])[0].title


def side_changes(
    summary: pd.DataFrame, cells: str, *, selected: str | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """What each operation changes, on both classes or on one (rows of ``Stress.summary``, trained
    on clean images).

    A click reports ``customdata`` [operation in words].
    """
    mine = summary[
        (summary["cells"] == cells) & (summary["op"] != CLEAN) & (summary["trained"] == CLEAN)
    ]
    table = estimates(
        mine,
        "change",
        [op_name(op) for op in mine["op"]],
        series=[SIDE_NAMES[side] for side in mine["side"]],
        n=mine["n"],
        order=[SIDES.index(side) for side in mine["side"]],
    ).sort_values("order", kind="stable")
    both = table[table["series"] == SIDE_NAMES["both"]]
    alt = (
        f"Change of mean {METRIC.lower()} {CELL_NAMES[cells]} under each operation, paired with the"
        " clean test, in percentage points with 95% intervals; on both classes: "
        + ", ".join(
            f"{row.name} {row.value:+z.1f}"
            for row in in_points(both[["name", "value"]]).itertuples(index=False)
        )
        + "."
    )
    return interval_groups(
        table,
        alt=alt,
        value_title=f"Change of {METRIC.lower()}, {CELL_NAMES[cells]}",
        reference=0,
        points=True,
        selected=selected,
        colours={SIDE_NAMES["fake"]: theme.fake, SIDE_NAMES["real"]: theme.real},
        theme=theme,
    )


def strength_curves(
    table: pd.DataFrame,
    kind: str,
    cells: str,
    generators: Sequence[str],
    styles: Mapping[str, Style],
    *,
    theme: Theme = LIGHT,
) -> go.Figure:
    """A metric over the strength of one kind of operation on both classes, one line a generator.

    Args:
        table: of ``Stress.by_generator``, trained on clean images.
    """
    neutral = PERTURBATIONS[kind].neutral
    mine = table[
        (table["cells"] == cells) & (table["side"] == "both") & (table["trained"] == CLEAN)
    ]
    x = mine["strength"].where(mine["op"] != CLEAN, np.nan if neutral is None else neutral)
    mine = mine.assign(x=x)[
        (mine["kind"] == kind) | ((mine["op"] == CLEAN) & (neutral is not None))
    ]
    lines = []
    for name in generators:
        part = mine[mine["name"] == name].sort_values("x")
        lines.append(Curve.of(part, name, "x", styles.get(name)))
    harder = neutral is not None and bool((mine["x"] < neutral).any())
    ends = [
        (line.y[-1], line.y[0]) if harder else (line.y[0], line.y[-1])
        for line in lines
        if len(line.y)
    ]
    values_in_words = "; ".join(
        f"{line.name} from {a:.3f} to {b:.3f}" for line, (a, b) in zip(lines, ends, strict=False)
    )
    about = PERTURBATIONS[kind].axis
    note = "" if neutral is None else f" ({neutral:g}: clean)"
    alt = (
        f"{METRIC} {CELL_NAMES[cells]} against the strength of the operation ({about}), with 95%"
        f" bands: {values_in_words}."
    )
    return curves(
        lines,
        alt=alt,
        x_title=f"{about}{note}",
        y_title=f"{METRIC}, {CELL_NAMES[cells]}",
        chance=0.5,
        reverse_x=harder,
        theme=theme,
    )


def generator_changes(
    table: pd.DataFrame,
    op: str,
    cells: str,
    side: str,
    styles: Mapping[str, Style],
    *,
    selected: str | None = None,
    theme: Theme = LIGHT,
) -> go.Figure:
    """What one operation changes for each generator, paired with the clean test (rows of
    ``Stress.by_generator``).
    """
    mine = table[
        (table["op"] == op)
        & (table["cells"] == cells)
        & (table["side"] == side)
        & (table["trained"] == CLEAN)
    ]
    shown = estimates(mine, "change", mine["name"], n=mine["n"])
    sure = int((mine["q_value"] < ALPHA).sum())
    worst = winner(shown, highest=False)
    alt = (
        f"Change of {METRIC.lower()} {CELL_NAMES[cells]} for each of"
        f" {counted(len(shown), 'generator')},"
        f" {op_name(op)}, {SIDE_NAMES[side]}, with 95% intervals; {sure} change at a false"
        f" discovery rate of 5%; lowest is {worst.name} with {worst.points()}."
    )
    return intervals(
        shown,
        alt=alt,
        value_title=f"Change of {METRIC.lower()}, {CELL_NAMES[cells]}",
        reference=0,
        points=True,
        styles=styles,
        selected=selected,
        theme=theme,
    )


def training_gains(gains: pd.DataFrame, *, theme: Theme = LIGHT) -> go.Figure:
    """What training on perturbed copies changes under each test (of ``Stress.gains``)."""
    series = [CELL_NAMES[cells] for cells in gains["cells"]]
    names = [op_name(op) for op in gains["op"]]
    table = estimates(gains, "value", names, series=series, n=gains["n"])
    alt = (
        f"Gain in mean {METRIC.lower()} from training on copies, for each test, in"
        " percentage points with 95% intervals: "
        + ", ".join(
            f"{row.name} {row.series} {row.value:+z.1f}"
            for row in in_points(table[["name", "series", "value"]]).itertuples(index=False)
        )
    )
    return interval_groups(
        table,
        alt=f"{alt}.",
        value_title=f"Gain in {METRIC.lower()} over training on clean images",
        reference=0,
        points=True,
        theme=theme,
    )


def component_scatter(stability: pd.DataFrame, op: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Each component of the embedding: does it keep its order of images (up), does its mean move
    (sideways)?
    """
    table = stability.dropna(subset=["correlation"])
    table = pd.DataFrame(
        {
            "name": table["component"].astype(str),
            "detail": "component",
            "x": table["shift"].to_numpy(),
            "y": table["correlation"].to_numpy(),
            "y_low": table["low"].to_numpy(),
            "y_high": table["high"].to_numpy(),
            "y_n": [counted(n, "image") for n in table["n"]],
            "group": f"components, {op_name(op)}",
        }
    )
    low, middle, high = np.quantile(table["y"], [0.025, 0.5, 0.975])
    alt = (
        f"{counted(len(table), 'component')} under the operation ({op_name(op)}): correlation"
        " between image"
        f" and copy has a median of {middle:.2f}, 95% of components lie between {low:.2f} and"
        f" {high:.2f}; against the shift of their means."
    )
    weakest = table.sort_values("y")["name"].head(5).tolist()
    return scatter(
        table,
        alt=alt,
        x_title="Shift of the mean, standard deviations",
        y_title="Correlation of image and copy",
        named=weakest,
        x_reference=0,
        height=380,
        theme=theme,
    )


def robust_head_map(heads: pd.DataFrame, op: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Change of each single head's detector under an operation, layers by heads (of
    ``stress.robust_heads``).
    """
    values = heads.pivot_table(index="layer", columns="head", values="change")
    q = heads.pivot_table(index="layer", columns="head", values="q_value")
    ends = ("change", "change_low", "change_high")
    hover = (
        heads.assign(
            tip=[
                tip(
                    *measured(
                        f"Change of {METRIC.lower()}",
                        [row[end] for end in ends],
                        counted(row["n_real"] + row["n_fake"], "image"),
                        form="points",
                    ),
                    f"{row['clean']:.3f} clean, {row['perturbed']:.3f} perturbed",
                    p_text(row["q_value"], "q"),
                )
                for row in heads.to_dict("records")
            ]
        )
        .pivot_table(index="layer", columns="head", values="tip", aggfunc="first")
        .to_numpy()
    )
    labels = [f"layer {layer}" for layer in values.index], [str(head) for head in values.columns]
    lost = int(((heads["q_value"] < ALPHA) & (heads["change"] < 0)).sum())
    alt = (
        f"Change of {METRIC.lower()} of each of {counted(len(heads), 'head')} alone,"
        f" {op_name(op)}: {lost} lose accuracy at a false discovery rate of 5%; the"
        " others are faded."
    )
    return heatmap(
        values.set_axis(labels[0]).set_axis(labels[1], axis=1),
        alt=alt,
        centre="zero",
        percent=True,
        column_title="head",
        value_title="Change",
        hover=pd.DataFrame(hover),
        faint=~(q < ALPHA),
        diagonal=False,
        theme=theme,
    )
