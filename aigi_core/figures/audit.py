"""An audit's results: detectors beside file facts, facts by class and generator, content, what
matching leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from aigi_core.audit.facts import FACTS
from aigi_core.audit.verdict import Level, Verdict
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.points import in_points, interval_groups, intervals
from aigi_core.figures.theme import LIGHT, Theme, label
from aigi_core.figures.tooltips import measured, tip
from aigi_core.manifest import REAL
from aigi_core.statements import counted, part_counted
from aigi_core.winner import estimates

ACCURACY = "Balanced accuracy on its own generator"


LEVELS: dict[Level, tuple[str, str]] = {
    "explained": ("▲", "File facts do as well"),
    "partly": ("◆", "Facts or content help"),
    "clear": ("●", "No confound found"),
}
"""Level of a verdict -> its mark and what it says."""


def verdict_intervals(
    verdicts: Sequence[Verdict], *, selected: str | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """Each generator on one line: its detector beside detectors of file facts alone, with
    intervals, and the verdict in words behind them.
    """
    rows = []
    for verdict in verdicts:
        parts = {"detector": verdict.detector}
        parts |= {f"facts, {view} files": estimate for view, estimate in verdict.facts.items()}
        rows += [
            {"name": verdict.generator, "series": name, **vars(part)}
            for name, part in parts.items()
        ]
    named = {
        level: [verdict.generator for verdict in verdicts if verdict.level == level]
        for level in LEVELS
    }
    alt = (
        "Balanced accuracy of each generator's detector and of file facts alone, with 95%"
        " intervals, and one verdict for each generator. "
        + " ".join(
            f"{LEVELS[level][1]}: {len(those)} of {len(verdicts)}"
            + (f" ({', '.join(label(name) for name in those)})." if those else ".")
            for level, those in named.items()
        )
    )
    figure = interval_groups(
        pd.DataFrame(rows),
        alt=alt,
        value_title=ACCURACY,
        reference=0.5,
        selected=selected,
        line_height=24,
        theme=theme,
    )
    colours: dict[Level, str] = {
        "explained": theme.wrong,
        "partly": theme.muted,
        "clear": theme.right,
    }
    for line, verdict in enumerate(verdicts):
        mark, words = LEVELS[verdict.level]
        figure.add_annotation(
            x=1,
            xref="paper",
            xanchor="left",
            xshift=10,
            y=line,
            text=f"<b>{mark} {words}</b>" if verdict.generator == selected else f"{mark} {words}",
            showarrow=False,
            font=dict(color=colours[verdict.level], size=12),
            bordercolor=colours[verdict.level],
            borderwidth=1,
            borderpad=2,
        )
    marks = [LEVELS[verdict.level][0] for verdict in verdicts]  # seen on narrow screens, too
    figure.layout.yaxis.ticktext = [
        f"{mark} {text}" for mark, text in zip(marks, figure.layout.yaxis.ticktext, strict=True)
    ]
    meta = figure.layout.meta | {"least_width": 460}  # for the words beside the plot
    figure.update_layout(margin=dict(r=176), meta=meta)
    return figure


def association_intervals(
    associations: pd.DataFrame, generator: str, *, theme: Theme = LIGHT
) -> go.Figure:
    """How strongly each file fact goes with the label, for one generator (rows of
    ``facts.association``).
    """
    mine = associations[associations["generator"] == generator].sort_values(
        "cramers_v", ascending=False
    )
    table = estimates(mine, "cramers_v", [FACTS[fact].title for fact in mine["fact"]])
    alt = (
        f"Association of each file fact with the label for {generator}, Cramér's V with 95%"
        " intervals: "
        + ", ".join(f"{row.name} {row.value:.2f}" for row in table.itertuples(index=False))
        + "."
    )
    return intervals(
        table,
        alt=alt,
        value_title="Cramér's V (1: the fact tells the label)",
        limits=(-0.02, 1.02),
        theme=theme,
    )


def fact_shares(distribution: pd.DataFrame, fact: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Which share of each generator's fakes and each pool's real images has each value of a fact.

    Args:
        distribution: of :func:`aigi_core.audit.facts.distribution`.
    """
    names = distribution["generator"].where(
        distribution["label"] != REAL, "real, " + distribution["pool"]
    )
    table = distribution.assign(set=names)
    values = table.pivot_table(index="set", columns="value", values="share")
    rows = list(dict.fromkeys(table["set"]))
    columns = table.sort_values("order")["value"].unique().tolist()
    values = values.loc[rows, columns]
    hover = (
        table.assign(
            text=[
                tip(
                    *measured(
                        "Share of images",
                        (share, low, high),
                        part_counted(n, total, "image"),
                        form="percent",
                    )
                )
                for share, low, high, n, total in table[
                    ["share", "low", "high", "n", "total"]
                ].itertuples(index=False)
            ]
        )
        .pivot_table(index="set", columns="value", values="text", aggfunc="first")
        .loc[rows, columns]
    )
    about = FACTS[fact]
    unit = f", {about.unit}" if about.unit else ""
    alt = (
        f"Share of images with each value of {about.title}, for {counted(len(rows), 'set')}:"
        " fakes of each"
        " generator, real images of each pool. The values are in the table below."
    )
    return heatmap(
        values,
        alt=alt,
        centre="none",
        limits=(0, 1),
        hover=hover,
        value_title="Share of images",
        column_title=f"{about.title[:1].upper()}{about.title[1:]}{unit}",
        diagonal=False,
        theme=theme,
    )


def within_intervals(
    within: pd.DataFrame, *, selected: str | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """Each detector on its own generator: all test images, and those alike in file facts
    (``matching.within_strata``).
    """
    own = within[within["train"] == within["test"]]
    tables = [
        estimates(own, value, own["test"], series=[series] * len(own), order=range(len(own)))
        for value, series in (
            ("accuracy", "all test images"),
            ("within", "among images with the same file facts"),
        )
    ]
    none = int(own["within"].isna().sum())
    alt = (
        f"Balanced accuracy of {counted(len(own), 'detector')} on their own generators: on"
        " all test images, and among images with the same file facts, with 95% intervals. No"
        f" real test image has the file facts of the fakes for {counted(none, 'generator')}."
    )
    return interval_groups(
        pd.concat(tables, ignore_index=True).sort_values("order", kind="stable"),
        alt=alt,
        value_title=ACCURACY,
        reference=0.5,
        selected=selected,
        theme=theme,
    )


def content_intervals(
    content: pd.DataFrame, *, selected: str | None = None, theme: Theme = LIGHT
) -> go.Figure:
    """How well what images show separates each generator's fakes from its pools' real images."""
    series = ["what images show"] * len(content)
    table = estimates(content, "separable", content["generator"], series=series)
    most = content.sort_values("separable").iloc[-1]
    alt = (
        f"Balanced accuracy from content alone for {counted(len(content), 'generator')}, with 95%"
        " intervals;"
        f" highest for {most['generator']}, {most['separable']:.2f}."
    )
    title = "Balanced accuracy from what the images show (an upper bound)"
    return interval_groups(
        table, alt=alt, value_title=title, reference=0.5, selected=selected, theme=theme
    )


def word_differences(words: pd.DataFrame, generator: str, *, theme: Theme = LIGHT) -> go.Figure:
    """Texts that one generator's fakes (right) and its pools' real images (left) look like more
    (``content_differences``).
    """
    table = estimates(words, "difference", words["text"])
    first, last = table.iloc[0], table.iloc[-1]
    alt = (
        f"Difference between fakes of {generator} and real images for"
        f" {counted(len(table), 'text')}, in"
        f" standard deviations with 95% intervals: from {first['name']} ({first['value']:+z.1f}) to"
        f" {last['name']} ({last['value']:+z.1f})."
    )
    return intervals(
        table.sort_values("value", ascending=False),
        alt=alt,
        reference=0,
        value_title="Fakes minus real images, in standard deviations (sd)",
        theme=theme,
    )


def matched_intervals(
    matched: pd.DataFrame, *, matched_in: str = "file facts", theme: Theme = LIGHT
) -> go.Figure:
    """What removing the confound by matched resampling changes, for each generator that could be
    matched, at home.
    """
    own = matched[matched["in_domain"]]
    table = estimates(own, "change", own["train"], n=own["n_fake"])
    alt = (
        "Change in balanced accuracy on the detector's own generator when fakes and real images"
        " are matched in"
        f" {matched_in}, against as many unmatched images, for"
        f" {counted(len(table), 'generator')}, in percentage points with 95% intervals: "
        + ", ".join(
            f"{row.name} {row.value:+z.1f}" for row in in_points(table).itertuples(index=False)
        )
        + "."
    )
    return intervals(
        table,
        alt=alt,
        value_title="Change by matching (n fakes tested)",
        reference=0,
        points=True,
        theme=theme,
    )
