"""A winner's interval allows for the choice."""

import numpy as np
import pandas as pd
import pytest

from aigi_core.errors import AigiError
from aigi_core.intervals import count_interval
from aigi_core.transfer.winner import winner


def test_the_best_of_fifteen_equal_candidates_is_covered() -> None:
    """A naive interval holds the truth of a winner among equals far too rarely."""
    rng, truth, n = np.random.default_rng(0), 0.7, 100
    naive, aware = 0, 0
    for _ in range(300):
        hits = rng.binomial(n, truth, 15)
        low, high = count_interval(hits, n)
        table = pd.DataFrame(
            {"name": [str(i) for i in range(15)], "value": hits / n, "low": low, "high": high}
        ).assign(n=n)
        draws = rng.binomial(n, hits / n, (300, 15)) / n
        best = winner(table, draws)
        row = table.iloc[int(best.name)]
        naive += bool(row["low"] <= truth <= row["high"])
        aware += bool(best.low <= truth <= best.high)
        assert best.of == 15 and best.value == table["value"].max()
    assert naive / 300 < 0.85 < 0.93 < aware / 300


def test_the_lowest_moves_its_upper_bound() -> None:
    table = pd.DataFrame(
        {"name": ["a", "b"], "value": [0.5, 0.52], "low": 0.4, "high": 0.6, "n": 9}
    )
    draws = np.random.default_rng(0).normal([0.5, 0.52], 0.05, (500, 2))
    worst = winner(table, draws, highest=False)
    assert worst.name == "a" and worst.low == 0.4 and worst.high > 0.61
    with pytest.raises(AigiError, match="nothing to choose"):
        winner(table[:0], draws)
