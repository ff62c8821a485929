"""Components: which dimensions of the embedding a search on two generators drops, and what that is
worth elsewhere.
"""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.detectors.components import MOST_OF_A_CLASS, images_scored
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.solvers.elimination import Cut
from aigi_core.detectors.training import training_seconds
from aigi_core.metrics import intervals_in_words
from aigi_core.statements import agreeing, counted
from aigi_core.transfer import (
    METRICS,
    d_eval,
    search_curves,
    selection_stability,
)
from ui import results
from ui.bodies import choices
from ui.bodies import components as body
from ui.toolkit.costly import lasting
from ui.toolkit.jobs import job, steps

TIES: dict[str, Cut | None] = {
    "As the protocol": None,
    "Least log-loss": "log-loss",
    "First": "first",
    "Last": "last",
}
"""Which of the steps with the best accuracy ends a list."""
CUTS = {"log-loss": "at the least log-loss", "first": "at the first", "last": "at the last"}


with ui.page(__file__) as page:
    with page.controls():
        used = choices.choose_protocol(page)
        atlas, domains = results.atlas(page.workspace, used.name), page.domains
        metric = METRICS[used.metric]
        searched = body.Searched.of(atlas, used.metric)
        pair = choices.choose_pair(page, used=used)
        at_cut = page.toggle(
            "cut",
            "Cut at the best scores",
            True,
            help=(
                "On: each list is cut at its best score, and a component is removed only if"
                " both lists remove it. Off: the slider sets where both lists are cut."
            ),
        )
        ties = page.select(
            "ties",
            "Among equal scores",
            TIES,
            disabled=not at_cut,
            help=(
                "Several steps can have the same best accuracy, and the paper does not say"
                " which one to take. Our protocol takes the one with the lowest log-loss,"
                " the paper's protocol the last one."
            ),
        )
    first, second = pair
    directions = atlas.components(pair)
    longest = min(len(d.removed) for d in directions)
    depth = None
    if not at_cut:
        depth = int(page.slider("removed", "Removals along both lists", 0, longest, longest // 2))
    removed = atlas.removed(pair, depth, ties)
    kept = atlas.about["components"] - len(removed)
    names = d_eval(domains, pair)
    views = (EmbeddingView(), EmbeddingView(without=removed))
    seconds = sum(
        training_seconds(page.workspace, len(names), view, used.training) for view in views
    )
    waiting = f"Training with and without these components: {lasting(seconds)}"
    with steps("Matrices measured, with and without these components", waiting):
        before, after, change = results.removal(page.workspace, used, removed, tuple(names))
    out = ~before.in_domain
    gap = change.mean(out)
    was = before.mean(used.metric, out)
    now = after.mean(used.metric, out)
    random = atlas.random_band(pair, kept)
    page.answer(searched.answer())
    opened = f"Searched on {ui.name(first)} and {ui.name(second)}, **{len(removed)} of"
    opened += f" {counted(atlas.about['components'], 'component')}** are removed. "
    if gap.n:
        opened += (
            f"On the {counted(len(names), 'other generator')} {metric.in_words} changes from"
            f" {was.value:.3f} to **{now.value:.3f}**:"
            f" {gap.finding('paired cell').points()}; removing equally many"
            f" at random gives {random[0]:.3f} ({random[1]:.3f} to {random[2]:.3f})."
        )
        if at_cut and (warning := results.best_pair_warning(page.workspace, pair, used)):
            opened += f" **{warning}** The interval above is not corrected for the choice."
    else:
        opened += (
            "Only one other generator is left, so no detector can be tested out of domain:"
            " add images of a fourth generator."
        )
    kept_of = ui.Stat("Components kept", f"{kept}", f"of {atlas.about['components']}")
    outcomes = [
        ui.Stat(
            "OOD before",
            f"{was.value:.3f}",
            counted(was.n, "cell"),
            (was.low, was.high),
            "D_eval: detectors of the other generators, tested on the other generators.",
        ),
        ui.Stat("OOD after", f"{now.value:.3f}", counted(now.n, "cell"), (now.low, now.high)),
        ui.Stat(
            "OOD, random removal",
            f"{random[0]:.3f}",
            counted(atlas.random_repeats, "removal"),
            (random[1], random[2]),
            "Mean and 95% range of removals of equally many random components.",
        ),
    ]
    page.stats([kept_of, *(outcomes if gap.n else [])])
    page.protocol(
        search=(
            "From all components down to one: each step drops the one whose removal gives the best"
            f" {metric.in_words} of a detector trained on D1's training images and scored on D2's"
            " validation images (ties: log-loss), and the same from D2 to D1. Every reported score"
            " is that of an exactly refitted detector. Of more than"
            f" {MOST_OF_A_CLASS:,} images per class and split, that many are drawn at random"
            " (standard error of a score: 0.7 points at most)."
        ),
        removal=(
            "A component is removed only if both lists remove it, each cut at its best score; among"
            f" equal scores {CUTS[ties or used.cut]}."
        ),
        evaluation=(
            f"{results.protocol_in_words(used)} Trained and tested on all other generators"
            " (D_eval); test split."
        ),
        intervals=intervals_in_words(used.metric, "difference", "largest"),
        atlas=(
            f"{counted(len(atlas.pairs), 'pair')}, {atlas.stored.parameters['draws']:,} bootstrap"
            " draws;"
            f" computed by python -m precompute search, key {atlas.stored.path.name}."
        ),
    )

    with page.picture():
        left, right = st.columns([5, 3], gap="medium")
        with left:
            st.markdown(
                "Change on other generators by each pair's removal, in percentage points. Faded:"
                " not statistically significant (5% FDR). Click a pair to open it."
            )
            family = [domains.family_of[g] for g in atlas.generators]
            draw_pairs = partial(
                figures.pair_map,
                searched.pairs,
                atlas.generators,
                family,
                used.metric,
                selected=(first, second),
            )
            page.figure("atlas", draw_pairs, table=searched.pairs, clicks=("d1", "d2"))
        with right:
            page.finding(opened)
            st.markdown(f"**The paper:** {body.PAPER}")
            page.finding(body.here(atlas, pair, own=at_cut and ties is None))
            page.link("geometry", "Over all pairs", d1=first, d2=second)
            page.link("transfer", "Its matrix", view="Components removed", d1=first, d2=second)

    def cell_by_cell() -> None:
        with page.controls("Cells"):
            shown = page.select("shown", "Matrix", ["change", "after", "before"], kind="segmented")
        with page.section(
            "The opened pair, cell by cell",
            f"Change in {metric.in_words} (after minus before), in percentage points."
            " Faded: not statistically significant (5% FDR)."
            if shown == "change"
            else f"The matrix {shown} removal.",
        ):
            families = (before.train_families, before.test_families)
            draw = (
                partial(figures.difference_heatmap, change, families, what="after − before")
                if shown == "change"
                else partial(
                    figures.transfer_heatmap, after if shown == "after" else before, used.metric
                )
            )
            page.figure("change", draw, table=change.to_frame(), formats=ui.DIFFERENCE)

    def space() -> None:
        with page.section("The shape of the space"):
            shape = results.removal_geometry(page.workspace, pair, removed)
            page.figure(
                "geometry",
                partial(figures.geometry_change, shape.table, shape.images, shape.controls),
                table=shape.table,
                formats=ui.OWN_UNITS,
            )
            st.caption(
                f"Geometry of {counted(shape.images, 'test image')} of D_eval; random:"
                f" {counted(shape.controls, 'removal')}"
                " of as many components."
            )

    def search() -> None:
        scored = [images_scored(domains, one.val) for one in directions]
        with page.section(
            "The search",
            f"{metric.title} on the other generator's validation images. Two lists of removals, one"
            " each way; circles mark where each is cut. A component is removed only if both cut"
            f" lists hold it: {len(removed)} {agreeing(len(removed), 'are')}.",
        ):
            page.figure(
                "search",
                partial(figures.removal_curves, directions, scored, at=depth),
                table=search_curves(directions),
            )

    def stable() -> None:
        with page.section(
            "Is the selection stable?",
            "The search repeated on bootstrap draws of its training and validation images.",
        ):
            stability = job(
                page,
                "stability",
                "Repeat the search 10 times",
                lambda progress: selection_stability(
                    page.workspace, pair, repeats=10, progress=progress
                ),
                about="About a minute.",
                pair=pair,
            )
            if stability:
                st.markdown(
                    f"Of the {counted(int(stability.reference.sum()), 'component')} kept, a repeat"
                    " shares"
                    f" **{stability.overlap:.2f}** (Jaccard index,"
                    f" {counted(len(stability.kept), 'repeat')});"
                    f" random sets of the same sizes {stability.chance_overlap():.2f}."
                )
                page.table("stability", stability.to_frame())

    parts = {
        "The search": search,
        "Cell by cell": cell_by_cell,
        "Shape of the space": space,
        "Stability": stable,
    }
    page.part(parts, holds={"shown": "Cell by cell"})
