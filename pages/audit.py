"""Audit: can the label be guessed without looking? File facts, strata, leaks, content, and what is
left without them.
"""

from functools import partial
from typing import get_args

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.audit.facts import View
from aigi_core.audit.report import Audit
from aigi_core.audit.verdict import to_frame
from ui.bodies import audit as body


def show(page: ui.Page, found: Audit) -> None:
    generators = [verdict.generator for verdict in found.verdicts]
    views = [view for view in get_args(View) if view in found.facts]
    with page.controls():
        generator = page.generator(
            "test", "Generator", body.first_generator(found), among=generators
        )
        view: View = page.select(
            "files",
            "File facts of",
            {body.FILES[v]: v for v in views},
            help=(
                "Stored: what was encoded. Original: before the collection was resized or saved"
                " anew, where its manifest says so."
            ),
        )
    verdict = found.verdicts[generators.index(generator)]
    page.answer(body.answer(found, verdict))
    page.stats(body.stats(found))
    page.protocol(
        facts=(
            "Boosted trees on format, width, height, aspect, bytes a pixel and, as stored, JPEG"
            " quality, pixel mode and metadata; trained on train plus validation, tested on test,"
            " classes weigh alike."
        ),
        detector=(
            "Logistic regression on the embedding, C chosen on validation, classes weigh alike."
        ),
        reported=(
            "A confound is named only where held-out images show it (Mann-Whitney, Holm over"
            " generators, .05)."
        ),
        duplicates=found.duplicates.rule,
        intervals="95 %, bootstrap of groups of images, 1,000 draws.",
    )

    with page.picture(
        "Each generator: the detector beside file facts alone, and the verdict. Click to open one."
    ):
        draw = partial(figures.verdict_intervals, found.verdicts, selected=generator)
        page.figure("verdicts", draw, table=to_frame(found.verdicts), clicks=("test",))
    with page.section(
        "The verdict", f"{ui.name(generator)}: **{body.LEVELS[verdict.level].lower()}**."
    ):
        for sentence in verdict.sentences:
            page.finding(f"- {ui.inert(sentence)}")
        page.link("gallery", "Its images, right and wrong", train=generator, tests=[generator])
        page.link("words", "What its detector looks at, in words", train=generator)

    with page.section(
        "The same matrix without a look at the images",
        "Left: detectors that see the images. Right: detectors that see file facts only. Click a"
        " cell to open its generator.",
    ):
        body.show_matrices(page, found, view, generator)
        page.link("transfer", "The matrix in full", train=generator, test=generator)

    with page.section(
        "Among images with the same file facts",
        "Real images are reweighted to match the fakes' file facts; fakes without a match are"
        " dropped.",
    ):
        own = found.within[found.within["train"] == found.within["test"]]
        page.figure(
            "within",
            partial(figures.within_intervals, found.within, selected=generator),
            table=own,
            clicks=("test",),
        )

    with page.section(
        "Which facts give it away",
        f"How strongly each fact goes with the label of {ui.name(generator)}'s fakes and the real"
        " images of its pools, and how one fact is distributed in every set of images.",
    ):
        body.show_facts(page, found, view, generator)

    with page.section(
        "With the confound removed",
        "Equally many fakes and real images in each stratum, trained and tested again.",
    ):
        body.show_matched(page, found)

    with page.section(
        "Do fakes and real images show the same?",
        "What the images show, by phrases. An upper bound: traces of generation also change these"
        " scores.",
    ):
        if found.content is None:
            st.markdown(
                "This needs a bank of phrases: run `python -m precompute text` on the workspace."
            )
        else:
            left, right = st.columns(2, gap="large")
            with left:
                draw = partial(figures.content_intervals, found.content, selected=generator)
                page.figure("content", draw, table=found.content, clicks=("test",))
            with right:
                words = found.words[generator]
                page.figure(
                    "words", partial(figures.word_differences, words, generator), table=words
                )

    with page.section("Marks shared by all images of a generator"):
        if found.overlays is None:
            st.markdown(
                "Looked for where the images can be read: `python -m precompute audit --images"
                " DIR`."
            )
        else:
            page.table("marks", found.overlays.sort_values("adjusted"))

    with page.section(
        "Within pairs: generation without content",
        "Where a fake and a real image share a group (one caption, one scene, a translation), what"
        " they show cancels and what differs is generation.",
    ):
        body.show_paired(page, generator)

    with page.section(
        "If the images were divided otherwise",
        "Splits drawn anew for five seeds, every detector trained and tested again.",
    ):
        body.show_resplit(page)

    with page.section("Images that occur twice", ui.inert(f"Pairs {found.duplicates.rule}.")):
        body.show_pairs(page, found)


with ui.page(__file__) as page:
    if (found := body.audited(page)) is not None:
        show(page, found)
