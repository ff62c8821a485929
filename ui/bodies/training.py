"""What the page Train says of the recommended set beside others."""

from __future__ import annotations

import pandas as pd

from aigi_core.statements import Finding
from aigi_core.transfer import TargetRanking
from ui.toolkit.page import name

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
