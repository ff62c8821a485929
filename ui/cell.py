"""One cell of a transfer matrix opened: counts, ROC, scores, its surest mistakes, its detector's words."""

from __future__ import annotations

from functools import partial

import streamlit as st

from aigi_core import figures
from aigi_core.manifest import FAKE, REAL
from aigi_core.transfer import open_cell
from ui import explained, results
from ui.images import Tile
from ui.page import Page, name

MISTAKES = ((FAKE, "Fakes it is surest are real"), (REAL, "Real images it is surest are fake"))
SHOWN = 8


def show_cell(page: Page, setting: results.Setting, row: int, train: str, test: str) -> None:
    """The sections of one cell: the row-th detector of a setting, called ``train``, on a test generator."""
    threshold = results.detectors(page.workspace, setting)[row].threshold
    cell = open_cell(results.scores(page.workspace, setting)[row], page.domains, test, threshold=threshold)
    size = {label: int((cell.labels == label).sum()) for label in (REAL, FAKE)}
    with page.section(
        "The chosen cell",
        f"Trained on {name(train)}, tested on {name(test)}: {size[REAL]} real images and {size[FAKE]} fakes.",
    ):
        page.table("verdicts", cell.verdicts())
        charts = (("roc", figures.cell_roc), ("scores", figures.cell_histogram))
        for column, (stem, chart) in zip(st.columns(2), charts, strict=True):
            with column:
                page.figure(stem, partial(chart, cell, train, test))
    for column, (label, title) in zip(st.columns(2, gap="medium"), MISTAKES, strict=True):
        wrong = cell.mistakes(label)
        with column, page.section(title, f"{len(wrong)} of {size[label]} are judged wrongly; the most certain first."):
            surest = wrong.head(SHOWN)[["row", "score"]].to_numpy()
            page.images(
                [Tile(int(image), [f"score {score:+.2f}"], "wrong") for image, score in surest],
                width=100,
                empty="There is none: every one of them is judged rightly.",
            )
    with page.section("What this detector looks at, in words"):
        said = explained.words(page.workspace, setting, row)
        verdict = "nearer than chance puts any" if said.nameable else "**but chance does as well: read nothing into them**"  # fmt: skip
        st.markdown(f"Phrases nearest to its weights, {verdict} (label permutation, p = {said.p_value:.2g}).")
        page.table("words", said.nearest[["rank", "text", "category", "cosine", "p_value"]].head(6))
        page.link("words", "All its words", train=train)
