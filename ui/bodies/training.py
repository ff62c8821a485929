"""What pages say of training: the recommended set beside others, the penalty of a detector."""

from __future__ import annotations

import pandas as pd

from aigi_core.detectors.detector import Detector, LinearDetector
from aigi_core.detectors.methods.base import at_grid_edge, penalty_in_words, tied_in_words
from aigi_core.statements import Finding
from aigi_core.transfer import TargetRanking
from ui.toolkit.page import name
from ui.toolkit.report import Stat

PAIRED = "paired generator"
"""What the comparisons are means of."""


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
