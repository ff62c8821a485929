"""Two detectors of the board beside each other, by name: the page Methods, and what leads to it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pandas as pd

from aigi_core import figures
from aigi_core.errors import NotMadeError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, counted, estimated, part_counted
from aigi_core.transfer import board as boards
from aigi_core.transfer.imported import threshold_in_words
from aigi_core.workspace import Workspace
from ui.toolkit.controls import distinct
from ui.toolkit.jobs import step
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, name
from ui.toolkit.tables import DIFFERENCE
from ui.toolkit.workspaces import open_encoding

PART = "Compare two"
"""The part of the page that shows it."""


@cached
def board(workspace: Workspace) -> pd.DataFrame:
    return boards.stored_board(workspace, step)


@cached
def compared(first: Workspace, a: str, second: Workspace, b: str) -> boards.Compared:
    return boards.compare((first, a), (second, b))


@cached
def threshold(workspace: Workspace, row: str) -> str:
    """The threshold of an imported row of the board, and where it comes from."""
    return threshold_in_words(workspace, row.removeprefix(boards.IMPORTED))


def _detectors(page: Page, table: pd.DataFrame) -> dict[str, tuple[Workspace, str]]:
    """Title -> encoding of the images and row of its board: of the chosen encoder and of all others
    that have a board."""
    found = [(page.workspace, name, title) for name, title in table[["method", "title"]].to_numpy()]
    for encoder, folder in page.encodings.items():
        if folder != page.workspace.path:
            with suppress(NotMadeError):
                other = open_encoding(folder)
                rows = board(other)[["method", "title"]].to_numpy()
                found += [(other, name, f"{title} ({encoder})") for name, title in rows]
    titles = distinct(title for *_, title in found)
    return {title: (one, name) for title, (one, name, _) in zip(titles, found, strict=True)}


def show(page: Page, table: pd.DataFrame) -> None:
    """The controls ``detector_a`` and ``detector_b``, and how the two differ, cell by cell."""
    with page.section(
        "Two detectors beside each other",
        "Any two of this workspace: methods, feature views, other encoders, imported and fine-tuned"
        " detectors. Both are measured on the same test images and compared image by image.",
    ):
        known = _detectors(page, table)
        reference = next(title for title, (_, row) in known.items() if row == boards.REFERENCE)
        with page.controls("Two detectors"):
            first = page.select(
                "detector_a",
                "Detector A",
                list(known),
                next((t for t in known if t != reference), ""),
            )
            second = page.select("detector_b", "Detector B", list(known), reference)
        if first == second:
            page.finding("A and B are the same detector: choose another one.")
            return
        both = compared(*known[first], *known[second])
        gap = both.change.mean(both.outside)
        means = [one.mean(DEFAULT_METRIC, both.outside) for one in (both.a, both.b)]
        verdict = gap.finding("paired cell")
        where = "On generators that neither was trained on"
        if not both.told:
            where = (
                "On all generators that neither is known to be trained on (the training generators"
                " of an imported detector are not known)"
            )
        claim = verdict.claim("A is better", "B is better", "Neither is shown to be better")
        page.finding(
            f"{where}, A ({name(first)}) reaches balanced"
            f" accuracy {estimated(means[0], 'cell')} and B ({name(second)})"
            f" {estimated(means[1], 'cell')}. {claim}: A minus B is {verdict.points()}."
        )
        thresholds = [
            f"{one}'s threshold is {threshold(workspace, row)}."
            for one, (workspace, row) in (("A", known[first]), ("B", known[second]))
            if row.startswith(boards.IMPORTED)
        ]
        if thresholds:
            page.finding(f"{' '.join(thresholds)} {boards.OPERATING_POINTS}")
        sure = both.change.q_value < ALPHA
        higher = int((sure & (both.change.values > 0)).sum())
        page.finding(
            "A minus B in percentage points; faded: not statistically significant (5% FDR over all"
            f" cells). A is significantly better in {part_counted(higher, sure.size, 'cell')}, B in"
            f" {counted(int(sure.sum()) - higher, 'cell')}; intervals stand in the table."
        )
        families = (
            both.a.train_families if len(both.rows) == len(both.a.test) else (),
            both.a.test_families,
        )
        page.figure(
            "compared",
            partial(figures.difference_heatmap, both.change, families, rows=list(both.rows)),
            table=both.change.to_frame().assign(
                train=[row for row in both.rows for _ in both.a.test]
            ),
            formats=DIFFERENCE,
        )
