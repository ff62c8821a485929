"""Heads: every attention head alone, several together, and one opened: words, images, evidence,
ablation.
"""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

import ui
from aigi_core import figures
from aigi_core.detectors.heads import most_validated
from aigi_core.errors import NotGivenError
from aigi_core.metrics import intervals_in_words
from aigi_core.transfer import METRICS
from ui import results
from ui.bodies import choices
from ui.bodies import heads as body
from ui.results import attention
from ui.toolkit.jobs import steps

SHOWN = {
    "Validation": ("accuracy", ("low", "high"), "on the validation generator"),
    "Out of domain": ("ood", ("ood_low", "ood_high"), "out of domain"),
    "In-domain": ("in_domain", ("in_domain_low", "in_domain_high"), "in-domain"),
}
ABLATION = "Without some heads"
"""The part that measures all detectors without some heads."""

with ui.page(__file__) as page:
    workspace, generators = page.workspace, page.domains.generators
    with page.controls():
        used = choices.choose_protocol(page)
        train = page.generator("train", "Trained on", attention.best_trained(workspace))
        others = [name for name in generators if name != train]
        if not others:
            raise NotGivenError(
                "Heads are trained on one generator and scored on another: add images of a"
                " second generator."
            )
        page.refuse(
            "validate",
            train,
            "The heads are trained on this generator, so they must be scored on another:"
            " choose a different one.",
        )
        validation = page.generator(
            "validate",
            "Validated on",
            most_validated(page.domains, others),
            among=others,
            help=(
                "Heads are chosen by their score on this generator. Out-of-domain results leave out"
                " both generators."
            ),
        )
        shown, ends, where = page.select("shows", "Map shows", SHOWN)
        k = int(page.slider("k", "Heads together", 1, attention.MOST, 3))
        way = page.select(
            "way",
            "Chosen",
            attention.way_names(used),
            help=(
                "Best alone: the heads with the best single scores, as in the paper. Chosen"
                " jointly: one by one, each adding most to those already chosen."
            ),
        )
    takes = attention.work_in_words(workspace, train, used)
    with steps("Training a detector on every head", takes):
        table = attention.heads_table(workspace, train, validation, used)
        chosen = attention.chosen_heads(workspace, way, train, validation, used)[:k]
        gain = attention.heads_against_embedding(workspace, train, validation, chosen, used)
    scores = attention.head_scores(workspace, train, validation, used)
    names, metric = attention.named(chosen), METRICS[used.metric]
    title = f"{metric.title} {where}"
    page.answer(attention.answer(table, scores, gain, names, train, validation, used=used))
    page.stats(attention.stats(scores, gain, len(chosen), used))
    page.protocol(
        training=results.protocol_in_words(used),
        heads=(
            "Logistic regression on each head's direct contribution to the embedding, in its exact"
            " low-dimensional form; C chosen on the training generator's validation split."
            if used.head_penalty == "own"
            else "Logistic regression on each head's output in the residual stream, before the"
            " final norm and projection; the grid's point chosen on the validation generator's"
            " images, which score it, too."
        ),
        choice=(
            f"By {metric.in_words} on the validation split of the validation generator; joint"
            f" selection among the {attention.OFFERED} best alone. No test image takes part."
        ),
        out_of_domain=(
            "Test images of all generators but the two, each against the real images of its own"
            " pools."
        ),
        intervals=intervals_in_words(used.metric, "difference", "winner", "share"),
    )

    heads = sorted(table["head"], key=attention.parse_head)
    with page.controls():
        head = page.select(
            "head", "Opened head", heads, table["head"][0], help="layer.index, both counted from 0."
        )
        st.button(
            "Ablate it",
            on_click=ui.open_part,
            args=(ABLATION,),
            kwargs={"ablate": [head]},
            icon=":material/content_cut:",
            help="Replace it by its mean and measure all detectors again, below.",
        )
    with page.picture():
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.markdown("Each head alone. Outlined: the heads chosen. Click a head to open it.")
            draw = partial(
                figures.head_map,
                table,
                shown,
                ends=ends,
                value_title=title,
                measured_on=attention.measured_on(workspace, shown, scores, table),
                selected=head,
                chosen=names,
                texts=attention.span_texts(workspace),
            )
            page.figure("map", draw, table=table, clicks=("head",))
        with right:
            body.show_summary(page, head, table, train, metric)

    def together() -> None:
        with page.section(
            "Several together",
            "Detectors on the first 1, 2, … heads of each list, on all generators but the two"
            " chosen.",
        ):
            with steps("Choosing heads jointly"):
                ways = {
                    name: attention.chosen_heads(workspace, name, train, validation, used)
                    for name in attention.way_names(used)
                }
                grown = {
                    name: attention.grown(workspace, train, validation, first, used)
                    for name, first in ways.items()
                }
            curves = partial(
                figures.head_curves,
                grown,
                whole=gain.embedding,
                chosen=k,
                about=metric.title,
            )
            table = pd.concat(grown, names=["chosen"]).reset_index("chosen")
            page.figure("curves", curves, table=table)

    def census() -> None:
        with page.section(
            "Which heads are chosen most often?",
            "For all searched pairs of generators: how often each head is among the three"
            " best on the validation images of the pair's second generator. Intervals draw"
            " generators, because pairs share them.",
        ):
            page.table("census", chosen_often)

    parts: dict[str, Callable[[], None]] = {
        "Images": partial(body.show_images, page, head, train),
        "Words": partial(body.show_words, page, head, train, heads),
        "Where it helps": partial(body.show_roles, page, head, train),
        ABLATION: partial(body.show_ablation, page, train, heads),
        "Several together": together,
    }
    if not (chosen_often := attention.census(workspace, used.name)).empty:
        parts["Most often chosen"] = census
    page.part(
        parts,
        holds={"ablate": ABLATION} | dict.fromkeys(("says", "bank", "every"), "Words"),
    )
    page.link("words", "What its detector says", train=train)
