"""Audit: can the label be guessed without looking? File facts, strata, leaks, content, and what is
left without them.
"""

from functools import partial

import streamlit as st

import ui
from aigi_core import figures
from aigi_core.audit.content import MOST_OF_A_SOURCE
from aigi_core.audit.report import Audit
from aigi_core.audit.verdict import to_frame
from aigi_core.figures.audit import LEVELS
from aigi_core.metrics import DEFAULT_METRIC, intervals_in_words
from ui.bodies import audit as body


def show(page: ui.Page, audit: Audit) -> None:
    generators = [verdict.generator for verdict in audit.verdicts]
    with page.controls():
        generator = page.generator(
            "test", "Generator", body.first_generator(audit), among=generators
        )
    verdict = audit.verdicts[generators.index(generator)]
    page.answer(body.answer(audit, verdict))
    page.stats(body.stats(audit))
    page.protocol(
        facts=(
            "Boosted trees on format, width, height, aspect, bytes per pixel and, as stored, JPEG"
            " quality, pixel mode and metadata; trained on train plus validation, tested on test,"
            " classes weighted equally."
        ),
        detector=(
            "Logistic regression on the embedding, C chosen on validation, classes weighted"
            " equally."
        ),
        reported=(
            "A confound is named only where held-out images show it (Mann-Whitney, Holm over"
            " generators, p < 0.05)."
        ),
        content=(
            f"Of more than {3 * MOST_OF_A_SOURCE:,} images of a generator, or real images of a"
            f" pool, in a split, {MOST_OF_A_SOURCE:,} drawn at random stand for all; each figure"
            " has its n."
        ),
        duplicates=audit.duplicates.rule,
        intervals=intervals_in_words(
            DEFAULT_METRIC, "difference", "association", "shares by group", "share"
        ),
    )

    meaning = "; ".join(f"{mark} {words.lower()}" for mark, words in LEVELS.values())
    either = (
        " The verdict uses the kind of files, stored or original, whose facts reveal more."
        " Its interval is corrected for this choice in the verdict's sentence, but not in"
        " the figure and the table."
    )
    with page.picture():
        left, right = st.columns([5, 3], gap="medium")
        with left:
            st.markdown(
                f"Click a generator to open it. {meaning}.{either if len(audit.facts) > 1 else ''}"
            )
            draw = partial(figures.verdict_intervals, audit.verdicts, selected=generator)
            page.figure("verdicts", draw, table=to_frame(audit.verdicts), clicks=("test",))
        with right, page.section(f"{ui.name(generator)}: {body.level_in_words(verdict)}"):
            body.show_verdict(page, audit, verdict)

    st.subheader("The statistics", anchor=False)
    page.part(body.PARTS, page, audit, generator)


with ui.page(__file__) as page:
    if (audit := body.audited(page)) is not None:
        show(page, audit)
