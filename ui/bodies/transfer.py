"""One cell of a transfer matrix opened: counts, ROC, scores, its most certain mistakes, what it
is worth, its detector's words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.calibration import CalibrationError, thresholds
from aigi_core.detectors.methods.neighbours import NeighbourDetector
from aigi_core.errors import NotGivenError
from aigi_core.manifest import FAKE, REAL
from aigi_core.statements import counted, p_text, part_counted, signed_score
from aigi_core.transfer import METRICS, Cell, Metric, Order, TransferMatrix
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies.neighbours import show_evidence as show_neighbours
from ui.results import explanations
from ui.toolkit.images import Tile
from ui.toolkit.kept import cached
from ui.toolkit.page import Page, name
from ui.toolkit.workspaces import open_encoding

MISTAKES = (
    (FAKE, "Fakes called real, most certain first"),
    (REAL, "Real images called fake, most certain first"),
)
SHOWN = 8
CALIBRATIONS = {"as trained": "none", "temperature": "temperature", "Platt": "platt"}


ORDERS: dict[str, Order] = {
    "by family": "family",
    "by mean, best first": "mean",
    "by name": "name",
    "by similar results": "similarity",
}


def choose_look(page: Page) -> dict[str, Any]:
    """How the matrices are drawn: order, what their cells show, where the scale ends."""
    with st.popover("Order, scale, n", icon=":material/sort:"):
        return {
            "order": page.select("order", "Rows and columns", ORDERS),
            "show": page.select(
                "cells",
                "Cells show",
                get_args(figures.Shown),
                help="n: the number of test images that a cell was measured on, fakes and"
                " real images together.",
            ),
            "stretch": page.toggle(
                "stretch",
                "Stretch the scale",
                help="The colour scale then ends at the most extreme value.",
            ),
        }


def opening_cell(matrix: TransferMatrix, metric: str) -> tuple[int, int]:
    """Row and column of the cell that is open at first: the generator that is hardest for
    detectors that have not seen it, and the best of those detectors.
    """
    hardest = matrix.hardest(metric)
    column = matrix.test.index(hardest.name) if hardest else len(matrix.test) - 1
    sign = 1 if METRICS[metric].higher_is_better else -1
    values = sign * matrix.values[metric][:, column]
    unseen = ~matrix.in_domain[:, column] & np.isfinite(values)
    return int(np.argmax(np.where(unseen, values, -np.inf))), column


def seen_by_b(page: Page, setting: results.Setting) -> Workspace:
    """The images by the control *Encoder of B*, where several encoders have encoded them.

    Raises:
        NotGivenError: a view that another encoder lacks, or one that was searched on that of A.
    """
    if len(page.encodings) < 2:
        return page.workspace
    chosen = page.choose_encoder("encoder_b", "Encoder of B", page.encoder)
    if chosen == page.encoder:
        return page.workspace
    if setting.d_search:
        raise NotGivenError(
            "The view of B was searched on this encoder: choose another feature view to compare"
            " encoders."
        )
    return open_encoding(page.encodings[chosen])


def show_summary(
    page: Page,
    setting: results.Setting,
    matrix: TransferMatrix,
    metric: str,
    *,
    row: int,
    train: str,
    test: str,
) -> None:
    """One cell beside the matrix: its value, its counts, and the most certain mistakes."""
    about, column = METRICS[metric], matrix.test.index(test)
    low, high = matrix.interval(metric)
    cell = results.cell(page.workspace, setting, row, test)
    sizes = {label: int((cell.labels == label).sum()) for label in (REAL, FAKE)}
    wrong = {label: cell.mistakes(label) for label in (REAL, FAKE)}
    page.finding(
        f"**Trained on {name(train)}, tested on {name(test)}:** {about.in_words}"
        f" **{matrix.values[metric][row, column]:.3f}** ({low[row, column]:.3f} to"
        f" {high[row, column]:.3f}). It calls"
        f" {part_counted(len(wrong[FAKE]), sizes[FAKE], 'fake')} real and"
        f" {part_counted(len(wrong[REAL]), sizes[REAL], 'real image')} fake."
    )
    for label, title in MISTAKES:
        st.markdown(f"**{title}**")
        show_mistakes(page, wrong[label], f"summary-{label}", 4)
    if not setting.d_search:
        page.link(
            "gallery",
            "All its images",
            tests=[test],
            **results.link_to(setting, setting.sets[row]),
        )


def say_rates(page: Page, metric: Metric, tested: Sequence[str]) -> None:
    """Where a metric's false-alarm rate cannot be set on so few validation photographs: the rate
    taken instead, and the number needed.
    """
    if metric.threshold != "held out":
        return
    by_note: dict[str, list[str]] = {}
    for generator, note in thresholds.rate_notes(page.domains, tested).items():
        by_note.setdefault(note, []).append(name(generator))
    for note, generators in by_note.items():
        page.notice(f"Tested on {', '.join(generators)}: a false-alarm rate of {note}.")


def say_settings(page: Page) -> None:
    """Which generators are settings of one model, so that a detector of one has seen the others."""
    by_model: dict[str, list[str]] = {}
    for generator, model in page.domains.models_of.items():
        by_model.setdefault(model, []).append(name(generator))
    for model, generators in by_model.items():
        page.notice(
            f"{', '.join(sorted(generators))} are settings of one model, {name(model)}: a detector"
            " that was trained on one counts as trained on the others, too."
        )


def show_mistakes(page: Page, wrong: pd.DataFrame, key: str, most: int) -> None:
    """The most certain mistakes of a cell; a click enlarges one."""
    paths = page.workspace.images["path"]
    page.images(
        [
            Tile(int(i), ["", f"score {signed_score(score)}"], "wrong", key=str(paths.iloc[i]))
            for i, score in wrong.head(most)[["row", "score"]].itertuples(index=False)
        ],
        width=90,
        name=key,
        empty="None: all of these images are classified correctly.",
        lightbox=True,
    )


@dataclass(frozen=True, eq=False)
class Opened:
    """The opened cell of a matrix: the row-th detector of a setting, called ``train``, on a test
    generator.
    """

    setting: results.Setting
    matrix: TransferMatrix
    metric: str
    row: int
    train: str
    test: str


def show_scores(page: Page, opened: Opened) -> None:
    """Counts, ROC and scores of the opened cell."""
    train, test = opened.train, opened.test
    cell = results.cell(page.workspace, opened.setting, opened.row, test)
    size = {label: int((cell.labels == label).sum()) for label in (REAL, FAKE)}
    with page.section(
        "The opened cell",
        f"Trained on {name(train)}, tested on {name(test)}: {counted(size[REAL], 'real image')} and"
        f" {counted(size[FAKE], 'fake')}.",
    ):
        page.table("verdicts", cell.verdicts())
        left, right = st.columns(2)
        with left:
            page.figure("roc", partial(figures.cell_roc, cell, train, test), table=cell.roc_frame())
        with right:
            page.figure(
                "scores", partial(figures.cell_histogram, cell, train, test), table=cell.to_frame()
            )


def show_cells_mistakes(page: Page, opened: Opened) -> None:
    """The most certain mistakes of the opened cell, and what decided them."""
    cell = results.cell(page.workspace, opened.setting, opened.row, opened.test)
    for column, (label, title) in zip(st.columns(2, gap="medium"), MISTAKES, strict=True):
        wrong, size = cell.mistakes(label), int((cell.labels == label).sum())
        with (
            column,
            page.section(
                title, f"{part_counted(len(wrong), size, verb='are')} wrong. Click to enlarge."
            ),
        ):
            show_mistakes(page, wrong, f"mistakes-{label}", SHOWN)
    show_deciding(page, opened.setting, opened.row, cell)
    if not opened.setting.d_search:
        page.link(
            "gallery",
            "All its verdicts, in the gallery",
            tests=[opened.test],
            **results.link_to(opened.setting, opened.setting.sets[opened.row]),
        )


def show_worth(page: Page, opened: Opened) -> None:
    """The opened cell at three thresholds and under three calibrations."""
    with page.section(
        "How well its threshold and probabilities hold here",
        "Here validation images set the thresholds, so these detectors are trained without"
        " them. Their numbers can differ from those of the cell above. *False alarms*: the"
        " threshold that flags 5% of the real validation images of the tested generator's"
        " pools, without fakes. Probabilities assume that half of the images are fakes.",
    ):
        calibrated = worth(page.workspace, opened.setting, opened.row, opened.test)
        for _, rule in calibrated.rules[calibrated.rules["rule"] == "false alarms"].iterrows():
            if rule["note"]:
                st.caption(
                    f"False alarms: {rule['note']}. Few images set the threshold, so the true"
                    f" rate can be as high as {rule['may_reach']:.0%}. Of these test images,"
                    f" the share called fake is {rule['false_alarm_rate']:.0%}"
                    f" ({rule['false_alarm_rate_low']:.0%} to"
                    f" {rule['false_alarm_rate_high']:.0%})."
                )
        page.table("thresholds", calibrated.rules.drop(columns=["train", "test"]))
        left, right = st.columns(2, gap="large")
        with left:
            page.table("calibration", calibrated.errors.drop(columns=["train", "test"]))
        with right:
            bins, error = calibrated.reliability[
                page.select("calibrated", "Calibrated on validation", CALIBRATIONS, "Platt")
            ]
            page.figure("reliability", partial(figures.reliability_curve, bins, error), table=bins)


def show_words(page: Page, opened: Opened) -> None:
    """The phrases nearest to the weights of the opened cell's detector."""
    with page.section("What this detector looks at, in words"):
        words = explanations.words(page.workspace, opened.setting, opened.row)
        verdict = (
            "nearer than expected by chance"
            if words.nameable
            else "**but not nearer than expected by chance: do not interpret them**"
        )
        st.markdown(
            f"Phrases nearest to its weights, {verdict} (label permutation,"
            f" {p_text(words.p_value)})."
        )
        page.table(
            "words", words.nearest[["rank", "text", "category", "cosine", "p_value"]].head(6)
        )
        if not opened.setting.d_search:
            page.link(
                "words",
                "All its words",
                **results.link_to(opened.setting, opened.setting.sets[opened.row]),
            )


def show_means(page: Page, opened: Opened) -> None:
    """Means of the whole matrix by family and by tested generator."""
    matrix, metric = opened.matrix, opened.metric
    with page.section(
        "By family and generator", "Means over out-of-domain cells, with 95% intervals."
    ):
        left, right = st.columns(2)
        with left:
            blocks = matrix.blocks(metric)
            page.figure("families", partial(figures.block_intervals, blocks, metric), table=blocks)
        with right:
            draw = partial(figures.generator_intervals, matrix, metric, selected=opened.test)
            page.figure(
                "generators", page.styled(draw), table=matrix.by_test(metric), clicks=("test",)
            )


PARTS: dict[str, Callable[[Page, Opened], None]] = {
    "Rates and scores": show_scores,
    "Mistakes": show_cells_mistakes,
    "Threshold and probabilities": show_worth,
    "Words": show_words,
    "By family and generator": show_means,
}
"""Parts below the matrix, one of which is shown at a time -> what draws it."""


def show_deciding(page: Page, setting: results.Setting, row: int, cell: Cell) -> None:
    """Of a detector of nearest neighbours: those that decide its most certain mistakes; of others
    nothing."""
    detector = results.detectors(page.workspace, setting)[row]
    if not isinstance(detector, NeighbourDetector):
        return
    for label in (FAKE, REAL):
        wrong = cell.mistakes(label)
        if len(wrong):
            image = int(wrong["row"].iloc[0])
            kind = "fake is called real" if label == FAKE else "real image is called fake"
            with page.section(
                f"Why the most certain {kind}",
                f"{name(str(page.workspace.images['path'].iloc[image]))}: the images that it is"
                " compared with.",
            ):
                features = detector.view.matrix(page.workspace, np.array([image]))[0]
                show_neighbours(page, f"deciding-{label}", detector, features, image)


@dataclass(frozen=True, eq=False)
class Worth:
    """What the threshold and the probabilities of one cell are worth.

    Attributes:
        rules: one row a threshold (:func:`aigi_core.calibration.thresholds.threshold_table`).
        errors: one row a calibration (``calibration_table``).
        reliability: calibration -> the diagram's bins and its error.
    """

    rules: pd.DataFrame
    errors: pd.DataFrame
    reliability: dict[str, tuple[pd.DataFrame, CalibrationError]]


@cached
def worth(workspace: Workspace, setting: results.Setting, row: int, test: str) -> Worth:
    """One cell at three thresholds and under three calibrations."""
    scores = results.held_out(workspace, setting)[row]
    domains = workspace.domains
    names = setting.sets[row]
    methods = tuple(CALIBRATIONS.values())
    return Worth(
        thresholds.threshold_table(scores, domains, [names], [test]),
        thresholds.calibration_table(scores, domains, [names], [test], methods=methods),
        {
            method: thresholds.cell_reliability(scores, domains, names, test, method)
            for method in methods
        },
    )
