"""A winner's interval allows for the choice."""

import numpy as np
import pandas as pd
import pytest

from aigi_core.errors import AigiError
from aigi_core.intervals import count_interval
from aigi_core.winner import Winner, winner


def _candidates(values: np.ndarray, low: np.ndarray, high: np.ndarray, n: int) -> pd.DataFrame:
    names = [str(i) for i in range(len(values))]
    return pd.DataFrame({"name": names, "value": values, "low": low, "high": high, "n": n})


@pytest.mark.parametrize("with_draws", [True, False])
@pytest.mark.parametrize("highest", [True, False])
def test_the_best_of_fifteen_equal_candidates_is_covered(with_draws: bool, highest: bool) -> None:
    """A naive interval holds the truth of a winner among equals far too rarely."""
    rng, truth, n = np.random.default_rng(0), 0.7, 100
    naive, aware = 0, 0
    for _ in range(300):
        hits = rng.binomial(n, truth, 15)
        table = _candidates(hits / n, *count_interval(hits, n), n)
        draws = rng.binomial(n, hits / n, (300, 15)) / n if with_draws else None
        best = winner(table, draws, highest=highest)
        row = table.iloc[int(best.name)]
        naive += bool(row["low"] <= truth <= row["high"])
        aware += bool(best.low <= truth <= best.high)
        assert best.of == 15 and best.value == (table["value"].agg("max" if highest else "min"))
    assert naive / 300 < 0.85 < 0.93 < aware / 300


@pytest.mark.parametrize("with_draws", [True, False])
def test_unequal_candidates_are_covered_and_a_tie_is_seldom_called_clear(with_draws: bool) -> None:
    """One truth above the others in three of four; in the last all are the same, and 105 of them
    share three quarters of their variance."""
    rng, spread = np.random.default_rng(1), 0.02
    for count, ahead, shared in ((5, 0.02, 0.0), (15, 0.04, 0.5), (40, 0.1, 0.5), (105, 0.0, 0.75)):
        held = clear = 0
        truth = np.full(count, 0.01)
        truth[0] += ahead
        for _ in range(300):
            own = rng.normal(0, spread * np.sqrt(1 - shared), count)
            values = truth + rng.normal(0, spread * np.sqrt(shared)) + own
            table = _candidates(values, values - 1.96 * spread, values + 1.96 * spread, 14)
            common = rng.normal(0, spread * np.sqrt(shared), (200, 1))
            drawn = values + common + rng.normal(0, spread * np.sqrt(1 - shared), (200, count))
            best = winner(table, drawn if with_draws else None)
            held += bool(best.low <= truth[int(best.name)] <= best.high)
            clear += best.clear
        assert held / 300 > 0.92
        assert clear / 300 < 0.07 if ahead == 0 else clear
    assert clear / 300 < 0.07


def test_the_lowest_moves_its_upper_bound_and_stays_within_limits() -> None:
    table = _candidates(np.array([0.5, 0.52, np.nan]), np.full(3, 0.4), np.full(3, 0.6), 9)
    draws = np.random.default_rng(0).normal([0.5, 0.52, 0.1], 0.05, (500, 3))
    worst = winner(table, draws, highest=False)
    assert worst.name == "0" and worst.low == 0.4 and worst.high > 0.61
    assert worst.of == 2 and not worst.clear
    assert winner(table, draws, highest=False, limits=(0, 0.605)).high == 0.605
    assert "the other detector" in worst.rivals_in_words("detector")
    with pytest.raises(AigiError, match="nothing to choose"):
        winner(table[:0], draws[:, :0])


def test_one_candidate_is_no_choice() -> None:
    table = _candidates(np.array([0.5]), np.array([0.4]), np.array([0.6]), 9)
    only = winner(table)
    assert (only.low, only.high, only.clear) == (pytest.approx(0.4), 0.6, True)
    assert "choice" not in only.numbers()


def test_a_winner_like_all_others() -> None:
    same = Winner("a", 0.8, 0.7, 0.9, 9, 4, 3)
    assert same.rivals_in_words("detector").startswith("None of the other 3 detectors is")
