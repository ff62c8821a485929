"""Imported and fine-tuned detectors before any method was measured: their own numbers."""

from __future__ import annotations

from functools import partial

from aigi_core import figures
from aigi_core.errors import NotMadeError
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.statements import counted
from aigi_core.transfer import board as boards
from aigi_core.transfer.imported import NOT_TOLD, origin_in_words
from aigi_core.winner import estimates
from aigi_core.workspace import Workspace
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, name
from ui.toolkit.report import Stat

board_of_imports = cached(boards.board_of_imports)


@cached
def origin(workspace: Workspace, method: str) -> str:
    """Which job stored a row of the board that is of no method, in a sentence."""
    return origin_in_words(workspace, method.removeprefix(boards.IMPORTED))


SHOWN = (
    "title",
    "measured_on",
    "threshold_from",
    "ood",
    "all_generators",
    "in_domain",
    "auc",
    "real",
    "fake",
    "worst_on",
    "worst",
    "cells",
)
"""Columns of the board that are not a comparison."""


def show(page: Page, missing: NotMadeError) -> None:
    """What is stored, and the command that compares it; raises ``missing`` where nothing is."""
    table = board_of_imports(page.workspace)
    if table.empty:
        raise missing
    first, unknown = table.iloc[0], boards.unknown(table)
    note = f" {NOT_TOLD}." if unknown.iloc[0] else ""
    scope = boards.where_measured(table)
    page.answer(
        f"{counted(len(table), 'imported or fine-tuned detector', 'are')} stored, but not"
        f" compared with logistic regression yet. {name(first['title'])} has a balanced"
        f" accuracy {boards.where_measured(table.head(1))} of **{first['ood']:.3f}** (95% interval"
        f" {first['ood_low']:.3f} to {first['ood_high']:.3f},"
        f" {counted(int(first['cells']), 'cell')}).{note}"
    )
    page.stats(
        [
            Stat(
                row["title"],
                f"{row['ood']:.3f}",
                counted(row["cells"], "cell"),
                (row["ood_low"], row["ood_high"]),
                "The interval of this detector alone: no detectors are compared here.",
            )
            for _, row in table.head(3).iterrows()
        ]
    )
    page.protocol(
        detectors="Scores that were not computed by a method of this app. Sorted by name, not by"
        " accuracy.",
        thresholds=boards.thresholds_in_words(table, name),
        testing=(
            "Each generator's test fakes against the real test images of its own pools; out of"
            " domain: the detector never saw the generator."
        ),
        intervals=intervals_in_words(DEFAULT_METRIC, "largest"),
    )
    with page.picture(f"Balanced accuracy {scope}, by detector, with 95% intervals."):
        drawn = estimates(table, "ood", table["title"], n=table["cells"])
        draw = partial(figures.out_of_domain_intervals, drawn, "detector", scope)
        page.figure("imported", draw, table=drawn)
    with page.section("All numbers"):
        ends = [f"{column}{end}" for column in SHOWN for end in ("", "_low", "_high")]
        split = boards.by_what_is_measured(table)
        page.table("imported-board", split[[one for one in ends if one in split]])
    with page.section(
        "Compare it",
        "This command measures logistic regression on the same images; without --methods it"
        " measures all methods, which takes longer.",
    ):
        page.command(page.workspace.command("methods", methods=boards.REFERENCE))
