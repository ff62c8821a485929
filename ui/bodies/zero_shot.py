"""Zero-shot detection with the reader's own texts, measured beside the board of methods."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.detectors.methods.zero_shot import ZeroShot, ZeroShotMean, ZeroShotSoftmax
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.transfer import board as boards
from aigi_core.transfer.matrix import TransferMatrix
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace
from ui.bodies import compared
from ui.results import explanations
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, name

WAYS: dict[str, type[ZeroShot]] = {
    ZeroShotMean.title: ZeroShotMean,
    ZeroShotSoftmax.title: ZeroShotSoftmax,
}
OWN = "your texts"


@cached
def measured(workspace: Workspace, way: str, real: str, generated: str) -> boards.Measured:
    """Scores by texts typed on two lines."""
    texts = [
        unit_rows(explanations.embedded(workspace, line).astype("float64"))
        for line in (real, generated)
    ]
    return boards.measure(workspace, WAYS[way]((texts[0], texts[1])))


@cached
def row_beside(workspace: Workspace, way: str, real: str, generated: str) -> pd.DataFrame:
    """The board with the row of these texts."""
    table = compared.board(workspace)
    own = measured(workspace, way, real, generated)
    return boards.with_row(table, workspace, OWN, f"{way}: your texts", own)


@cached
def matrix(workspace: Workspace, way: str, real: str, generated: str) -> TransferMatrix:
    return measured(workspace, way, real, generated).matrix(workspace)


def show(page: Page) -> None:
    """The controls ``real_texts``, ``generated_texts`` and ``way``, and what these texts reach."""
    with page.section(
        "Zero-shot with your own texts",
        "No training: an image is called generated if it lies nearer to your texts for"
        " generated images than to those for real ones. Only the threshold is set on"
        " validation images.",
    ):
        if not page.workspace.text_banks:
            page.workspace.need("texts")
        with page.controls("Texts"):
            real, generated = (
                page.text(f"{kind}_texts", f"Texts for images that are {kind}", placeholder=example)
                for kind, example in (
                    ("real", "a real photograph; an unedited photo"),
                    ("generated", "an image made by a computer; a fake photo"),
                )
            )
            way = page.select("way", "Way of reading texts", list(WAYS))
        if not (real.strip() and generated.strip()):
            st.caption(
                "Type texts for both kinds, several separated by semicolons. Texts of the"
                " text banks need no computation; others need the encoder's text tower."
            )
            return
        table = row_beside(page.workspace, way, real, generated)
        own = table[table["method"] == OWN].iloc[0]
        gap = boards.difference_of(own, boards.comparisons_with(table, own), "cell")
        page.finding(
            f"Out of domain these texts reach a balanced accuracy of **{own['ood']:.3f}**"
            f" (95% interval {own['ood_low']:.3f} to {own['ood_high']:.3f}), AUC"
            f" {own['auc']:.3f} ({own['auc_low']:.3f} to {own['auc_high']:.3f}); difference"
            f" to logistic regression: {gap.numbers()}. q does not correct for texts"
            " that you tried before, so decide on your texts before you look at results. The"
            f" lowest balanced accuracy is on {name(str(own['worst_on']))}"
            f" ({own['worst']:.3f}, 95% interval {own['worst_low']:.3f} to"
            f" {own['worst_high']:.3f}, corrected for the choice of the lowest)."
            f" {boards.calibration_in_words(own)}"
        )
        judged = matrix(page.workspace, way, real, generated)
        page.figure(
            "zero-shot",
            partial(figures.transfer_heatmap, judged, metric=DEFAULT_METRIC),
            table=judged.to_frame([DEFAULT_METRIC]),
        )
