"""Audit: can the label be guessed without looking? File facts, strata, leaks, content, and what is left without them."""

from functools import partial
from typing import get_args

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.audit.facts import View
from aigi_core.audit.report import Audit
from aigi_core.audit.verdict import METRIC, to_frame
from aigi_core.transfer import difference
from ui import audited


def body(page: ui.Page, found: Audit) -> None:
    generators = [verdict.generator for verdict in found.verdicts]
    views = [view for view in get_args(View) if view in found.facts]
    with page.controls():
        generator = page.generator("test", "Generator", audited.telling(found), among=generators)
        view: View = page.select(
            "files", "File facts of", {audited.FILES[v]: v for v in views},
            help="Stored: what was encoded. Original: before the collection was resized or saved anew, where its manifest "
            "says so.",
        )  # fmt: skip
    verdict = found.verdicts[generators.index(generator)]
    explained = sum(v.level == "explained" for v in found.verdicts)
    own_cells = found.detector.in_domain
    gap = {v: difference(found.detector, found.facts[v], METRIC) for v in views}
    page.answer(
        f"For **{explained} of {len(generators)} generators** file facts alone tell fake from real as well as the detector "
        f"that sees the images, or better. {ui.inert(verdict.headline)}"
    )
    page.stats(audited.stats(found))
    page.protocol(
        facts="Boosted trees on format, width, height, aspect, bytes a pixel and, as stored, JPEG quality, pixel mode and "
        "metadata; trained on train plus validation, tested on test, classes weigh alike.",
        detector="Logistic regression on the embedding, C chosen on validation, classes weigh alike.",
        reported="A confound is named only where held-out images show it (Mann-Whitney, Holm over generators, .05).",
        duplicates=found.duplicates.rule,
        intervals="95 %, bootstrap of groups of images, 1,000 draws.",
    )

    with page.section("By generator", "A click on a line, or the control above, chooses a generator."):
        left, right = st.columns([3, 2], gap="large")
        with left:
            draw = partial(figures.verdict_intervals, found.verdicts, selected=generator)
            page.figure("verdicts", draw, table=to_frame(found.verdicts), clicks=("test",))
        with right:
            st.markdown(f"**{ui.name(generator)}: {audited.LEVELS[verdict.level].lower()}**")
            for sentence in verdict.sentences:
                page.finding(f"- {ui.inert(sentence)}")
            page.link("words", "What its detector looks at, in words", train=generator)

    with page.section(
        "The same matrix without a look at the images",
        "Left the detectors of the embedding, right detectors of file facts alone. Click a cell to choose its column.",
    ):
        for column, name, matrix in zip(
            st.columns(2), ("detector", "facts"), (found.detector, found.facts[view]), strict=True
        ):
            with column:
                st.markdown("**Sees the images**" if name == "detector" else "**Sees file facts only**")
                draw = partial(figures.transfer_heatmap, matrix, METRIC, selected=(generator, generator), compact=True)
                page.figure(f"matrix-{name}", draw, table=matrix.to_frame([METRIC]), clicks=("train", "test"))
        for cells, where in ((own_cells, "In-domain"), (~own_cells, "Out of domain")):
            mean = gap[view].mean(cells)
            if mean.n:
                page.finding(
                    f"{where}, detectors are **{mean.value:+.3f}** against file facts (95 % interval {mean.low:+.3f} to "
                    f"{mean.high:+.3f}, p = {mean.p_value:.2g}, {mean.n} cells, paired)."
                )
        page.link("transfer", "The matrix in full", train=generator, test=generator)

    with page.section(
        "Among images alike in file facts",
        "Real images weighted to the fakes' mix of strata of equal propensity; fakes without a real image like them are left out.",
    ):
        own = found.within[found.within["train"] == found.within["test"]]
        page.figure(
            "within", partial(figures.within_intervals, found.within, selected=generator), table=own, clicks=("test",)
        )

    with page.section("Which facts give it away"):
        left, right = st.columns([2, 3], gap="large")
        with left:
            associations = found.associations[view]
            page.figure("association", partial(figures.association_intervals, associations, generator),
                        table=associations[associations["generator"] == generator])  # fmt: skip
        with right:
            fact = page.select("fact", "Distribution of", audited.known_facts(page.workspace, view))
            shares = audited.shares(page.workspace, view, fact)
            page.figure("shares", partial(figures.fact_shares, shares, fact), table=shares)

    with page.section("With the confound removed", "Equally many fakes and real images in each stratum, trained and tested again."):  # fmt: skip
        if found.matched.empty:
            st.markdown(ui.inert(found.matched_note))
        else:
            page.figure("matched", partial(figures.matched_intervals, found.matched), table=found.matched)
            page.table("matched-means", found.means)
        page.table("matched-kept", found.kept)
        st.caption(
            "Another way is to encode every image after the same re-encoding and resizing: 'python -m precompute encode "
            "--canonicalize jpeg:90,short:256'."
        )

    with page.section("Do fakes and real images show the same?", "An upper bound: traces of generation colour the concepts, too."):  # fmt: skip
        if found.content is None:
            st.markdown("This needs a bank of phrases: run `python -m precompute text` on the workspace.")
        else:
            left, right = st.columns(2, gap="large")
            with left:
                draw = partial(figures.content_intervals, found.content, selected=generator)
                page.figure("content", draw, table=found.content, clicks=("test",))
            with right:
                words = found.words[generator]
                page.figure("words", partial(figures.word_differences, words, generator), table=words)

    with page.section("Marks that all images of a generator share"):
        if found.overlays is None:
            st.markdown("Looked for where the images can be read: `python -m precompute audit --images DIR`.")
        else:
            page.table("marks", found.overlays.sort_values("adjusted"))

    with page.section("Images that occur twice", ui.inert(f"Pairs {found.duplicates.rule}.")):
        audited.show_pairs(page, found)


with ui.page(__file__) as page:
    if (found := audited.audited(page)) is not None:
        body(page, found)
