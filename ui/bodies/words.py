"""How explanations are shown: what the pages on words and heads say and draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from aigi_core import figures
from aigi_core.audit.facts import FACTS
from aigi_core.explain.effect import Effect
from aigi_core.explain.nulls import SIGNS
from aigi_core.explain.words import Words
from aigi_core.figures.words import decisive_cosine
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, counted, p_number, p_text
from aigi_core.transfer.bootstrap import Estimate
from ui import results
from ui.results import Setting, explanations
from ui.toolkit.costly import lasting
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat
from ui.toolkit.tables import DIFFERENCE, POINTS
from ui.toolkit.waiting import saying

if TYPE_CHECKING:
    from aigi_core.audit.exposure import Exposure


def answer(words: Words, train: str) -> str:
    """What a detector says, in a sentence of markdown: at most three texts, and only such as go
    beyond chance.
    """
    if not words.nameable:
        return (
            "**No text describes this detector.** The text nearest to the detector trained"
            f" on {name(train)} is {inert(str(words.nearest['text'][0]))}, but detectors"
            f" trained on shuffled labels come as near to a text ({p_text(words.p_value)},"
            f" {counted(words.draws, 'draw')})."
        )
    beyond = words.nearest[words.nearest["p_value"] <= ALPHA]["text"].head(3)
    listed = ", ".join(f"**{inert(str(text))}**" for text in beyond)
    return (
        f"The detector trained on {name(train)} points towards {listed}: nearer than expected"
        f" by chance for any text ({p_text(words.p_value)} over all texts,"
        f" {counted(words.draws, 'draw')})."
    )


def stats(words: Words, texts: int, ood: Estimate) -> list[Stat]:
    """What a detector says, in numbers."""
    bound = decisive_cosine(words.nearest)
    draws = counted(words.draws, "draw")
    return [
        Stat("Nearest text's cosine", f"{words.top_cosine:z.3f}", counted(texts, "text")),
        Stat(
            "By chance",
            f"{words.chance[1]:.3f}",
            # No bound where no text decides it: that of two sides would be another one.
            f"at most {bound:.3f} in 95% of {draws}"
            if bound is not None and isfinite(bound)
            else f"median of {draws}",
            help=(
                "Detectors trained on shuffled labels: the median cosine with the text nearest to"
                " each, and the bound that decides which texts are nearer than chance; the figure"
                " draws the same."
            ),
        ),
        Stat(
            "p",
            p_number(words.p_value),
            counted(words.draws, "shuffled training"),
            help=(
                "Share of detectors trained on shuffled labels whose nearest text, whichever it"
                " is, is at least as near (family-wise)."
            ),
        ),
        Stat(
            "Balanced accuracy out of domain",
            f"{ood.value:.3f}",
            counted(ood.n, "generator"),
            (ood.low, ood.high),
        ),
    ]


def both_sides(
    page: Page,
    key: str,
    words: Words,
    titles: tuple[str, str],
    rows: int,
    clicks: Sequence[str] = (),
) -> None:
    """The nearest texts of a direction beside the farthest, each under its title (markdown)."""
    for column, side, title in zip(st.columns(2, gap="medium"), SIGNS, titles, strict=True):
        with column:
            st.markdown(f"**{title}**")
            draw = partial(figures.listed_words, words, side, rows)
            page.figure(f"{key}{side}", draw, table=words.listed(side), clicks=clicks)


CONTROLS = dict.fromkeys(("control_mean", "control_low", "control_high"), POINTS)


def effect(
    page: Page, key: str, measured: Effect, detector: str, rows: Sequence[str] | None = None
) -> None:
    """What a change of the embedding does: to one detector in words, to each before its controls,
    and to every cell.
    """
    page.finding(f"The detector trained on {name(detector)}. {measured.in_words(detector)}")
    draw = partial(figures.effect_intervals, measured, selected=detector)
    page.figure(key, page.styled(draw), table=measured.table, formats=CONTROLS)
    families = (measured.before.train_families, measured.before.test_families)
    cells = partial(
        figures.difference_heatmap, measured.change, families, rows=rows, what="after − before"
    )
    page.figure(f"{key}-matrix", cells, table=measured.change.to_frame(), formats=DIFFERENCE)


def opened(page: Page, words: Words, text: str) -> None:
    """The texts that one row of a list stands for."""
    folded = words.opened(text)
    if len(folded) > 1:
        st.markdown(f"{name(text)} stands for {counted(len(folded), 'text')} that say the same.")
        page.table("folded", folded)
    else:
        st.caption(f"No other text says the same as {name(text)}.")


def exposed(page: Page, exposure: Exposure) -> None:
    """What else gives fakes away: a sentence each, and the facts of the files."""
    for sentence in exposure.sentences:
        page.finding(f"- {inert(sentence)}")
    if len(exposure.facts):
        page.table("facts", facts_shown(exposure.facts))


def facts_shown(facts: pd.DataFrame) -> pd.DataFrame:
    """Facts by their titles; of a median no share, as few images have its very value."""
    facts = facts.drop(columns=["generator", "values"])
    categories = np.array([FACTS[fact].category for fact in facts["fact"]], bool)
    for share in ("fake_share", "real_share"):
        facts[share] = facts[share].where(categories | (facts[share] >= 0.5))
    return facts.assign(fact=[FACTS[fact].title for fact in facts["fact"]])


def nameability(
    page: Page, setting: Setting, names: Sequence[str], row: int, texts: explanations.Texts
) -> None:
    """Names against generality: the finding, one point a detector, the correlation of each family,
    and the table.
    """
    workspace, matrix = page.workspace, results.matrix(page.workspace, setting, DEFAULT_METRIC)
    if not explanations.stored(workspace, setting, texts) and not page.toggle(
        "all",
        "Read all detectors",
        help="Trains each detector again on three hundred sets of shuffled labels. This takes"
        f" {lasting(explanations.shuffled_seconds(workspace, setting.sets))} of one core.",
    ):
        st.caption(
            "Not computed yet for these settings: switch it on, or run"
            f" `{workspace.command('words')}` once for the default ones."
        )
        return
    with saying(f"Reading {counted(len(names), 'detector')}"):
        table = explanations.all_words(workspace, setting, texts)
    from aigi_core.explain.nameability import (
        nameability as correlate,
    )  # brings scipy.stats, which other pages spare

    correlations = correlate(table)
    page.finding(correlations.in_words())
    left, right = st.columns([3, 2], gap="medium")
    with left:
        draw = partial(
            figures.nameability_scatter,
            correlations,
            x_title="Nearest text's cosine",
            selected=matrix.train_names[row],
        )
        page.figure(
            "nameability",
            page.styled(draw),
            clicks=("train",) if set(names) == set(matrix.train_names) else (),
        )
    with right:
        page.figure(
            "spearman",
            partial(figures.nameability_intervals, correlations),
            table=correlations.correlations,
        )
    st.markdown(
        "Each detector's nearest text and its accuracy; q is corrected for the number of detectors."
    )
    page.table("detectors", table)
