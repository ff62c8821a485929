"""The best or worst of several, with an interval that allows for the choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.errors import AigiError


@dataclass(frozen=True)
class Winner:
    """What came out on top of several on the very images that it is reported on.

    Attributes:
        value: as measured; the choice makes it better (or, for the worst, worse) than the truth.
        low, high: its interval, moved by ``gain`` on the side that the choice pushes.
        gain: how much the draws' own winners gain on their draw, on average.
        n: what was averaged for it.
        of: among how many it was chosen.
    """

    name: str
    value: float
    low: float
    high: float
    gain: float
    n: int
    of: int

    @property
    def note(self) -> str:
        """The caution, in words."""
        return f"chosen among {self.of} on these images: expect it nearer to the others on new ones"


def winner(table: pd.DataFrame, draws: Float[np.ndarray, "B M"], *, highest: bool = True) -> Winner:
    """The highest (or lowest) value of a table with a selection-aware interval.

    In each draw another may win. What the draw's winner has in the draw above its value on the
    images themselves is the gain of choosing, on average over draws (Efron and Tibshirani 1993,
    chapter 10); the bound on that side is moved by it. The point stays as measured.

    Args:
        table: columns ``name, value, low, high, n``, one row a candidate.
        draws: the candidates' values in each bootstrap draw.

    Raises:
        AigiError: no candidate.
    """
    if table.empty:
        raise AigiError("There is nothing to choose the best of: give at least one candidate.")
    sign = 1.0 if highest else -1.0
    values = table["value"].to_numpy(float)
    at = int((sign * values).argmax())
    on_top = (sign * draws).argmax(axis=1)
    taken = draws[np.arange(len(draws)), on_top].astype(float) - values[on_top]
    gain = max(0.0, float(sign * np.nanmean(taken)))
    row = table.iloc[at]
    low, high = float(row["low"]), float(row["high"])
    if highest:
        low -= gain
    else:
        high += gain
    return Winner(str(row["name"]), float(values[at]), low, high, gain, int(row["n"]), len(table))
