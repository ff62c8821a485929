"""How explanations are shown: what the pages on words and heads say and draw alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from aigi_core import figures
from aigi_core.explain.effect import Effect
from aigi_core.explain.words import Words
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import counted
from aigi_core.transfer.bootstrap import Estimate
from ui import results
from ui.results import Setting, explanations
from ui.toolkit.page import Page, inert, name
from ui.toolkit.report import Stat

if TYPE_CHECKING:
    from aigi_core.audit.exposure import Exposure


def answer(said: Words, train: str) -> str:
    """What a detector says, in a sentence of markdown: at most three texts, and only such as go
    beyond chance.
    """
    if not said.nameable:
        return (
            "**Nothing that words can tell.** The text nearest to the detector trained on"
            f" {name(train)} is {inert(str(said.nearest['text'][0]))}, and detectors trained on"
            " shuffled labels come as near to some text."
        )
    beyond = said.nearest[said.nearest["p_value"] <= 0.05]["text"].head(3)
    listed = ", ".join(f"**{inert(str(text))}**" for text in beyond)
    return (
        f"The detector trained on {name(train)} points towards {listed}: nearer than chance puts"
        " any text."
    )


def stats(said: Words, texts: int, ood: Estimate) -> list[Stat]:
    """What a detector says, in numbers."""
    low, median, high = said.chance
    return [
        Stat("Nearest text's cosine", f"{said.top_cosine:.3f}", f"{texts:,} texts"),
        Stat(
            "By chance",
            f"{median:.3f}",
            f"95 % of {said.draws} draws: {low:.3f} to {high:.3f}",
            help=(
                "Median, over detectors trained on shuffled labels, of the cosine of whichever text"
                " is nearest."
            ),
        ),
        Stat(
            "p-value",
            f"{said.p_value:.2g}",
            f"{said.draws} shuffled trainings",
            help=(
                "Family-wise: the share of shuffled trainings whose nearest text, whichever it be,"
                " is as near."
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
    said: Words,
    titles: tuple[str, str],
    rows: int,
    clicks: Sequence[str] = (),
) -> None:
    """The nearest texts of a direction beside the farthest, each under its title (markdown)."""
    for column, side, title in zip(
        st.columns(2, gap="medium"), explanations.SIDES, titles, strict=True
    ):
        with column:
            st.markdown(f"**{title}**")
            draw = partial(figures.listed_words, said, side, rows)
            page.figure(f"{key}{side}", draw, table=said.listed(side), clicks=clicks)


def effect(
    page: Page, key: str, found: Effect, detector: str, rows: Sequence[str] | None = None
) -> None:
    """What a change of the embedding does: to one detector in words, to each before its controls,
    and to every cell.
    """
    page.finding(f"The detector trained on {name(detector)}. {found.in_words(detector)}")
    draw = partial(figures.effect_intervals, found, selected=detector)
    page.figure(key, lambda theme: draw(styles=page.styles(theme), theme=theme), table=found.table)
    families = (found.before.train_families, found.before.test_families)
    cells = partial(figures.difference_heatmap, found.change, families, rows=rows)
    page.figure(f"{key}-matrix", cells, table=found.change.to_frame())


def opened(page: Page, said: Words, text: str) -> None:
    """The texts that one row of a list stands for."""
    folded = said.opened(text)
    if len(folded) > 1:
        st.markdown(f"{name(text)} stands for {len(folded)} texts that say the same.")
        page.table("folded", folded)
    else:
        st.caption("No other text of these says the same.")


def exposed(page: Page, found: Exposure) -> None:
    """What else gives fakes away: a sentence each, and the facts of the files."""
    for sentence in found.sentences:
        page.finding(f"- {inert(sentence)}")
    if len(found.facts):
        page.table("facts", found.facts.drop(columns=["generator", "values"]))


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
        help="Trains each detector anew on three hundred sets of shuffled labels: some seconds.",
    ):
        st.caption(
            "Not computed yet for these settings: switch it on, or run"
            f" `{workspace.command('words')}` once for the default ones."
        )
        return
    with st.spinner(f"Reading {counted(len(names), 'detector')} …"):
        table = explanations.all_words(workspace, setting, texts)
    from aigi_core.explain.nameability import (
        nameability as correlate,
    )  # brings scipy.stats, which other pages spare

    found = correlate(table)
    page.finding(found.in_words())
    left, right = st.columns([3, 2], gap="medium")
    with left:
        draw = partial(
            figures.nameability_scatter,
            found,
            x_title="Nearest text's cosine",
            selected=matrix.train_names[row],
        )
        page.figure(
            "nameability",
            lambda theme: draw(styles=page.styles(theme), theme=theme),
            clicks=("train",) if set(names) == set(matrix.train_names) else (),
        )
    with right:
        page.figure(
            "spearman", partial(figures.nameability_intervals, found), table=found.correlations
        )
    st.markdown(
        "What each detector says first, and how it does; q is corrected over the detectors."
    )
    page.table("detectors", table)
