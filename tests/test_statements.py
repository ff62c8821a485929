"""The table of cases: what each combination of estimate, interval, p, q and n lets one say."""

import numpy as np
import pytest

from aigi_core.statements import Finding, best_of, number, p_text

NAN = float("nan")
CASES = [
    # value, low, high, p, q -> what may be claimed
    (0.1, 0.02, 0.18, 0.01, None, "higher"),
    (-0.1, -0.18, -0.02, 0.01, None, "lower"),
    (0.1, 0.02, 0.18, 0.17, None, "undecided"),  # the interval alone says more
    (0.1, -0.02, 0.22, 0.01, None, "undecided"),  # p alone says more
    (-0.025, -0.048, -0.001, 0.04, 0.2, "undecided"),  # corrected for its number
    (-0.025, -0.048, -0.001, 0.01, 0.03, "lower"),
    (0.0, 0.0, 0.0, 1.0, None, "undecided"),
    (0.1, 0.02, 0.18, NAN, None, "undecided"),
    (0.1, 0.02, 0.18, None, None, "higher"),
    (NAN, NAN, NAN, NAN, None, "unknown"),
    (0.1, NAN, NAN, 0.01, None, "unknown"),
]


@pytest.mark.parametrize(("value", "low", "high", "p", "q", "expected"), CASES)
def test_what_may_be_claimed(
    value: float, low: float, high: float, p: float | None, q: float | None, expected: str
) -> None:
    finding = Finding(value, low, high, p, q, n=0, what="generators", needed=1)
    assert finding.direction == expected
    text = finding.claim("up", "down", "cannot be told")
    words = {"higher": "up", "lower": "down", "undecided": "cannot be told"}
    assert text == words.get(
        expected, "cannot be estimated from 0 generators, at least 1 generators are needed"
    )
    assert "nan" not in finding.numbers() and "-0.00 " not in finding.numbers(2)


def test_numbers_have_no_negative_zero_and_no_nan() -> None:
    assert number(-0.001, 2) == "0.00" and number(-0.001, 2, signed=True) == "0.00"
    assert number(NAN) == "unknown" and number(-0.25, 2) == "-0.25"
    assert p_text(0.5) == "p = .500" and p_text(NAN) == "p unknown" and p_text(1.0) == "p = 1.000"
    assert np.isfinite(float(number(1e-9)))


def test_a_winner_is_called_one() -> None:
    assert "best of 72 heads" in best_of(72, "heads")
