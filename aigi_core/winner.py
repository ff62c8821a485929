"""The best or worst of several, with an interval that allows for the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import ndtri

from aigi_core.errors import AigiError
from aigi_core.intervals import LEVEL, Interval, difference_interval
from aigi_core.statements import allows_for_choice, counted, number


@dataclass(frozen=True)
class Winner:
    """What came out on top of several on the very images that it is reported on.

    Attributes:
        value: as measured; the choice makes it better (or, for the worst, worse) than the truth.
        low, high: its interval, moved outwards on the side that the choice pushes.
        n: what was averaged for it.
        of: among how many it was chosen.
        rivals: how many of the others its value is not told apart from.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    of: int
    rivals: int

    @property
    def clear(self) -> bool:
        """Whether it differs from each of the others. Under a tie of all this is so in at most
        5% of cases, as it takes the difference to the next one alone (Hung and Fithian 2019)."""
        return self.rivals == 0

    def times(self, factor: float) -> Winner:
        """In another unit, such as percentage points; ``factor`` is above 0."""
        ends = {name: factor * getattr(self, name) for name in ("value", "low", "high")}
        return replace(self, **ends)

    def points(self) -> str:
        """The largest of several differences of shares, in percentage points.

        >>> Winner("a", 0.0125, -0.002, 0.022, 9, 15, 3).points()
        '+1.2 points (95% interval -0.2 to +2.2, corrected for the choice among 15)'
        """
        return self.times(100).numbers(1, signed=True, unit=" points")

    def numbers(self, digits: int = 3, *, signed: bool = False, unit: str = "") -> str:
        """The value with its interval, and what that allows for; ``unit`` is set behind it.

        >>> Winner("a", 0.8125, 0.7, 0.84, 9, 15, 3).numbers(2)
        '0.81 (95% interval 0.70 to 0.84, corrected for the choice among 15)'
        """
        value, low, high = (
            number(x, digits, signed=signed) for x in (self.value, self.low, self.high)
        )
        value += unit
        if self.of < 2:
            return f"{value} (95% interval {low} to {high})"
        return f"{value} (95% interval {low} to {high}, {allows_for_choice(self.of)})"

    def rivals_in_words(self, thing: str) -> str:
        """From how many of the others it cannot be told apart; empty where it can from all.

        >>> Winner("a", 0.8125, 0.7, 0.84, 9, 15, 3).rivals_in_words("detector")
        '3 of the other 14 detectors are not significantly different from it.'
        """
        if self.clear:
            return ""
        if self.of == 2:
            return f"It is not significantly different from the other {thing}."
        others = counted(self.of - 1, thing)
        if self.rivals == self.of - 1:
            return f"None of the other {others} is significantly different from it."
        are = "is" if self.rivals == 1 else "are"
        return f"{self.rivals} of the other {others} {are} not significantly different from it."


def estimates(
    table: pd.DataFrame, value: str, names: Sequence[str] | pd.Series, **others: Any
) -> pd.DataFrame:
    """One column of a table with its interval, as :func:`winner` and figures of intervals read it.

    Args:
        value: the column; its bounds are ``VALUE_low`` and ``VALUE_high``, else ``low`` and
            ``high``.
        names: what each row is called.
        others: further columns, such as ``n`` or ``series``.

    >>> table = pd.DataFrame({"ood": [0.7], "ood_low": [0.6], "ood_high": [0.8]})
    >>> estimates(table, "ood", ["svm"], n=[14]).to_dict("records")
    [{'name': 'svm', 'value': 0.7, 'low': 0.6, 'high': 0.8, 'n': 14}]
    """
    prefix = f"{value}_" if f"{value}_low" in table else ""
    columns = {"value": value, "low": f"{prefix}low", "high": f"{prefix}high"}
    shown = {title: table[column].to_numpy() for title, column in columns.items()}
    return pd.DataFrame({"name": list(names), **shown, **{k: list(v) for k, v in others.items()}})


def winner(
    table: pd.DataFrame,
    draws: Float[np.ndarray, "B M"] | None = None,
    *,
    highest: bool = True,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> Winner:
    """The highest (or lowest) value of a table with a selection-aware interval.

    Only the bound on the side that the choice pushes is moved: the highest of several lies too
    high and never too low. With draws it moves by the gain of choosing: what the draw's winner has
    in the draw above its value on the images themselves, on average over draws (Efron and
    Tibshirani 1993, chapter 10). Without, it is the bound at which all candidates' intervals hold
    at once (Bonferroni), which is wider where candidates go up and down together. The point stays
    as measured.

    Args:
        table: columns ``name, value, low, high, n``, one row a candidate; rows without a value take
            no part.
        draws: the candidates' values in each bootstrap draw.
        limits: what values can be.

    Raises:
        AigiError: no candidate.

    >>> candidates = pd.DataFrame(
    ...     {"name": ["a", "b"], "value": [0.5, 0.7], "low": [0.4, 0.6], "high": [0.6, 0.8], "n": 9}
    ... )
    >>> winner(candidates).numbers(2)
    '0.70 (95% interval 0.59 to 0.80, corrected for the choice among 2)'
    """
    there = table["value"].notna().to_numpy()
    table = table[there]
    if table.empty:
        raise AigiError("There is nothing to choose the best of: give at least one candidate.")
    sign = 1.0 if highest else -1.0
    values, lows, highs = (table[name].to_numpy(float) for name in ("value", "low", "high"))
    at = int((sign * values).argmax())
    low, high = lows[at], highs[at]
    if draws is not None:
        drawn = draws[:, there].astype(float)
        moved = choice_gain(values, drawn, highest=highest)
        same = _same_by_draws(values, drawn, at)
    else:
        wider = ndtri(1 - (1 - LEVEL) / 2 / len(values)) / ndtri(0.5 + LEVEL / 2) - 1
        moved = wider * (values[at] - low if highest else high - values[at])
        ends = Interval(lows, highs)
        gap = difference_interval((values[at], values), (Interval(low, high), ends))
        same = (gap.low <= 0) & (gap.high >= 0)
    if highest:
        low = max(low - moved, limits[0])
    else:
        high = min(high + moved, limits[1])
    return Winner(
        str(table["name"].iloc[at]),
        float(values[at]),
        float(low),
        float(high),
        int(table["n"].iloc[at]),
        len(values),
        int(np.delete(same, at).sum()),
    )


def choice_gain(
    values: Float[np.ndarray, " M"], draws: Float[np.ndarray, "B M"], *, highest: bool = True
) -> float:
    """How much the winner of each draw has in the draw above its own value, on average; never below
    0. Candidates without a value in a draw cannot win it."""
    sign = 1.0 if highest else -1.0
    held = np.where(np.isfinite(draws), sign * draws, -np.inf)
    on_top = held.argmax(axis=1)
    taken = held[np.arange(len(draws)), on_top] - sign * values[on_top]
    return max(0.0, float(taken[np.isfinite(taken)].mean())) if np.isfinite(taken).any() else 0.0


def _same_by_draws(
    values: Float[np.ndarray, " M"], draws: Float[np.ndarray, "B M"], at: int
) -> np.ndarray:
    spread = np.nanstd(draws[:, at : at + 1] - draws, axis=0)
    same: np.ndarray = np.abs(values[at] - values) <= ndtri(0.5 + LEVEL / 2) * spread
    return same
