"""Stress: what compression, resizing, blur and noise do to detectors, on both classes and on one,
and what helps.
"""

from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from aigi_core.stress import CLEAN, Side
from ui.bodies import stress as body
from ui.toolkit.jobs import steps


def show(page: ui.Page) -> None:
    ops = body.op_options(page.workspace)
    with steps("Testing every detector under every operation"):
        summary, by_generator = body.tables(page.workspace)
    with page.controls():
        op_title = page.select("op", "Operation", list(ops), body.hardest(summary))
        side = page.select(
            "side",
            "Applied to",
            body.SIDE_OPTIONS,
            help=(
                "Applied to one class alone, it shows whether the operation makes real"
                " images look generated, or fakes look real."
            ),
        )
        cells = page.select(
            "cells",
            "Cells",
            body.cell_options(summary),
            kind="segmented",
            help="In-domain: each detector on its own generator. Out of domain: on all others.",
        )
    op = ops[op_title]
    page.answer(body.answer(summary))
    page.stats(body.stats(summary, op))
    page.protocol(
        training=(
            "One detector per generator: logistic regression on the embedding, C chosen on"
            " validation, classes weighted equally; trained on clean images unless stated"
            " otherwise."
        ),
        testing=(
            "The same test images and bootstrap draws under every operation, so that every change"
            " is paired."
        ),
        operations=body.descriptions(page.workspace),
        intervals=(
            f"{intervals_in_words(DEFAULT_METRIC, 'difference', 'largest', 'component')} q:"
            " Benjamini-Hochberg."
        ),
    )

    with page.picture(
        "Change in accuracy by each operation. A loss on fakes alone: the operation hides traces of"
        " generation. A loss on real images alone: it makes them look generated. The two add up to"
        " the change on both. Click to choose an operation."
    ):
        draw = partial(figures.side_changes, summary, cells, selected=op_title)
        page.figure("sides", draw, table=summary, clicks=("op",))

    parts = {
        "By generator": partial(by_tested_generator, page, by_generator, op, op_title, cells, side),
        "Before and after": partial(before_and_after, page, op, op_title, side),
        "Training on copies": partial(training_on_copies, page),
        "Components": partial(stable_components, page, op, op_title),
        "Heads": partial(robust_heads, page, op),
    }
    holds = dict.fromkeys(("kind", "tests"), "By generator") | {"copies": "Training on copies"}
    page.part(parts, holds=holds)


def before_and_after(page: ui.Page, op: str, op_title: str, side: Side) -> None:
    with steps("Testing every detector under the operation"):
        stress = body.tested(page.workspace, op, side)
    clean = stress.matrices[CLEAN, CLEAN, "both"]
    moved = stress.matrices[CLEAN, op, side]
    change = stress.change(op, side)
    with page.section("The matrix before and after"):
        for column, name, matrix in zip(
            st.columns(2), ("clean", "perturbed"), (clean, moved), strict=True
        ):
            with column:
                st.markdown("**Clean test images**" if name == "clean" else f"**{op_title}**")
                page.figure(
                    f"matrix-{name}",
                    partial(figures.transfer_heatmap, matrix, DEFAULT_METRIC, compact=True),
                    table=matrix.to_frame(),
                )
        st.markdown(
            "Change in balanced accuracy (perturbed minus clean), in percentage points. Faded: not"
            " statistically significant (5% FDR)."
        )
        families = (moved.train_families, moved.test_families)
        page.figure(
            "difference",
            partial(figures.difference_heatmap, change, families, what="perturbed − clean"),
            table=change.to_frame(),
            formats=ui.DIFFERENCE,
        )


def by_tested_generator(
    page: ui.Page, changes: pd.DataFrame, op: str, op_title: str, cells: str, side: Side
) -> None:
    with page.section(
        "By generator",
        f"Each tested generator under {op_title}; change from clean images,"
        " paired, mean of n detectors.",
    ):
        left, right = st.columns(2, gap="large")
        with left:
            draw = partial(figures.generator_changes, changes, op, cells, side)
            page.figure(
                "generators",
                page.styled(draw),
                table=changes,
            )
        with right:
            kinds = body.kind_options(page.workspace)
            if kinds:
                kind = page.select("kind", "Over the strength of", kinds)
                chosen = page.generators("tests", "Generators", page.domains.generators[:4])
                line = partial(figures.strength_curves, changes, kind, cells, chosen)
                page.figure(
                    "strength",
                    page.styled(line),
                    table=body.of_kind(changes, kind, chosen),
                )


def training_on_copies(page: ui.Page) -> None:
    with page.section(
        "Does training on perturbed images help?",
        "How much better detectors trained on perturbed images do than those trained on clean"
        " images, on the same test images.",
    ):
        if options := body.training_options(page.workspace):
            trained = page.select("copies", "Training images", options)
            with steps("Training on the copies"):
                gains = body.gains(page.workspace, trained)
            page.figure(
                "gains", partial(figures.training_gains, gains), table=gains, formats=ui.DIFFERENCE
            )
        else:
            st.markdown(body.no_training_copies(page.workspace))


def stable_components(page: ui.Page, op: str, op_title: str) -> None:
    with page.section(
        "Which components are stable?",
        f"Each component of the embedding under {op_title}. Vertical: correlation of image and"
        " changed copy. Horizontal: shift of its mean.",
    ):
        stability = body.component_stability(page.workspace, op)
        page.finding(body.components_in_words(stability))
        page.figure(
            "components", partial(figures.component_scatter, stability, op), table=stability
        )


def robust_heads(page: ui.Page, op: str) -> None:
    with page.section(
        "Which heads are robust?",
        "Each head alone, trained on clean images, tested on both.",
    ):
        if body.has_heads(page.workspace, op):
            train = page.generator("train", "Detector trained on")
            if (heads := body.robust_heads(page, op, train)) is not None:
                page.figure("heads", partial(figures.robust_head_map, heads, op), table=heads)
        else:
            st.markdown(body.no_heads(page.workspace, op))


with ui.page(__file__) as page:
    if body.op_options(page.workspace):
        show(page)
    else:
        page.answer(
            "**Not tested yet:** this workspace holds no perturbed copies of its test images."
        )
        page.notice(body.no_copies(page.workspace))
