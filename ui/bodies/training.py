"""What pages say of training: the recommended set beside others, the penalty of a detector."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from aigi_core.detectors.detector import Detector, LinearDetector
from aigi_core.detectors.methods.base import at_grid_edge, penalty_in_words, tied_in_words
from aigi_core.statements import Finding
from aigi_core.transfer import TargetRanking
from ui.toolkit.controls import set_control
from ui.toolkit.page import inert, name
from ui.toolkit.report import Stat

PAIRED = "paired generator"
"""What the comparisons are means of."""


def named_alike(chosen: Sequence[str], generators: Sequence[str]) -> list[str]:
    """Generators that are not chosen and whose names begin with the word of one that is.

    >>> named_alike(["mj-2022", "sdxl"], ["mj-2022", "mj-shoes", "sd-1.4", "sdxl"])
    ['mj-shoes']
    """
    words = {_first_word(one) for one in chosen} - {""}
    return [one for one in generators if one not in chosen and _first_word(one) in words]


def _first_word(name: str) -> str:
    found = re.match(r"[^\W\d_]+", name.lower())
    return found[0] if found else ""


def offer_alike(chosen: Sequence[str], generators: Sequence[str], control: str) -> None:
    """A button that adds :func:`named_alike` to what a control has chosen; nothing where there is
    none: who looks for a word takes the first generator of that name, and there may be more."""
    if alike := named_alike(chosen, generators):
        st.button(
            f"Add {inert(', '.join(alike))}",
            key=f"alike-{control}",
            icon=":material/playlist_add:",
            on_click=set_control,
            args=(control, [*chosen, *alike]),
            help="Named like one that is chosen, but not chosen itself.",
        )


def against_others(ranking: TargetRanking) -> str:
    """Whether the recommended set is better, on test images, than the next one and than the best of
    fewer generators, in words: once where these two are one.
    """
    row, fewer = ranking.table.iloc[0], ranking.smaller()
    said: list[str] = []
    if "next" in row and not pd.isna(row["next"]):
        gap = Finding.of_row(
            row, "next", p_value=row["next_p"], n=int(row["n_targets"]), what=PAIRED
        )
        following, is_what = ranking.test.train[1], "the next set"
        if fewer and fewer[0] == following:
            fewer, is_what = None, f"{is_what} and the best of fewer generators"
        said.append(_compared(gap, " + ".join(following), is_what))
    if fewer:
        names, means = fewer
        gap = means.finding(PAIRED)
        said.append(_compared(gap, " + ".join(names), "the best set of fewer generators"))
    return f" On test images {'; '.join(said)}." if said else ""


def _compared(gap: Finding, other: str, is_what: str) -> str:
    """How the recommended set differs from another one: a clause whose subject is the recommended
    set."""
    claim = gap.claim(
        "is significantly better than",
        "is significantly worse than",
        "is not significantly different from",
    )
    shown = name(other)
    return f"it {claim} {shown}, {is_what}: this set minus {shown} is {gap.points()}"


def penalty(detector: Detector) -> list[Stat]:
    """The C of a detector's weights, and whether validation images tell it from others; nothing for
    a method without one."""
    if not isinstance(detector, LinearDetector) or "C" not in detector.provenance.get(
        "parameters", {"C": detector.C}
    ):
        return []
    edge = ", at the edge of its grid" if at_grid_edge(detector) else ""
    how = tied_in_words(detector) or "chosen on validation"
    return [Stat("C", f"{detector.C:g}", how + edge, help=penalty_in_words(detector))]
