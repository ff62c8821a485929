"""What a statistic lets one say: estimate, interval, p or q, n and correction, turned into words by
one rule.

A direction is claimed only where everything that is given agrees: the interval excludes zero, and
the q-value (the p-value where nothing was corrected) is below .05. An estimate that does not exist
is said to need more data, with how much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np

ALPHA = 0.05
DEFAULT_RATE = 0.05
"""False alarms allowed where no other rate is asked for, as a share of real images."""
SMALLEST_P = 0.001
"""Smaller p-values are not told apart."""
DISAGREE = "interval and p come from two methods and disagree: no difference is claimed"
"""Beside an interval that contains zero and a p below .05, or the other way round."""
Direction = Literal["higher", "lower", "undecided", "unknown"]


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number for a sentence: never "-0.00", never "nan".

    >>> number(-0.0004), number(float("nan")), number(0.25, 2, signed=True)
    ('0.000', 'unknown', '+0.25')
    """
    if not np.isfinite(value):
        return "unknown"
    rounded = round(float(value), digits) + 0.0  # -0.0 + 0.0 is 0.0
    if rounded == 0:
        return f"{0:.{digits}f}"
    return f"{rounded:{'+' if signed else ''}.{digits}f}"


def signed_score(value: float, digits: int = 2) -> str:
    """A score or logit, whose sign decides a verdict: one that is not zero is never written as
    zero, but with more digits. (A difference that rounds to zero has no sign: :func:`number`.)

    >>> signed_score(1.234), signed_score(-0.0021), signed_score(0.0), signed_score(-2e-9)
    ('+1.23', '-0.002', '0.00', '-2e-09')
    """
    if value == 0 or not np.isfinite(value) or round(float(value), digits):
        return number(value, digits, signed=True)
    enough = next((more for more in range(digits + 1, 7) if round(float(value), more)), None)
    return f"{value:+z.{enough}f}" if enough else f"{value:+z.0e}"


def counted(n: float, thing: str, verb: str = "") -> str:
    """A number of things, in the singular for one; and what they do, given in the plural.

    >>> counted(1, "pool"), counted(2, "family"), counted(1200, "search")
    ('1 pool', '2 families', '1,200 searches')
    >>> counted(1, "image", "were"), counted(3, "image", "have"), counted(1, "row", "lie")
    ('1 image was', '3 images have', '1 row lies')
    """
    n = int(n)
    if n == 1:
        return f"1 {thing}" + (f" {agreeing(1, verb)}" if verb else "")
    return f"{n:,} {_plural(thing)}" + (f" {verb}" if verb else "")


def part_counted(k: float, n: float, thing: str = "", verb: str = "") -> str:
    """``k`` of ``n`` things, and what these ``k`` do, given in the plural.

    >>> part_counted(1, 5, "image", "are"), part_counted(2, 5, "image", "are")
    ('1 of 5 images is', '2 of 5 images are')
    >>> part_counted(1, 1, "row", "lack"), part_counted(1200, 3000)
    ('1 of 1 row lacks', '1,200 of 3,000')
    """
    whole = counted(n, thing) if thing else f"{int(n):,}"
    done = f" {agreeing(k, verb)}" if verb else ""
    return f"{int(k):,} of {whole}{done}"


def agreeing(n: float, verb: str) -> str:
    """A verb, given in the plural, as ``n`` things ask for.

    >>> agreeing(1, "call"), agreeing(2, "call"), agreeing(1, "are")
    ('calls', 'call', 'is')
    """
    return _SINGULAR.get(verb, f"{verb}s") if int(n) == 1 else verb


_SINGULAR = {"are": "is", "were": "was", "have": "has"}


def _plural(thing: str) -> str:
    if thing.endswith("y") and thing[-2] not in "aeou":
        return f"{thing[:-1]}ies"
    return thing + ("es" if thing.endswith(("s", "x", "ch", "sh")) else "s")


def p_text(p: float, name: str = "p") -> str:
    """A p- or q-value.

    >>> p_text(0.0312), p_text(0.00001, "q")
    ('p = .031', 'q < .001')
    """
    if not np.isfinite(p):
        return f"{name} unknown"
    return f"{name} {p_number(p)}" if p < SMALLEST_P else f"{name} = {p_number(p)}"


def p_number(p: float) -> str:
    """A p- or q-value where its name stands beside it: the cell of a table, a tile.

    >>> p_number(0.0312), p_number(0.00001), p_number(1.0)
    ('.031', '< .001', '1.000')
    """
    if not np.isfinite(p):
        return "unknown"
    return "< .001" if p < SMALLEST_P else f"{p:.3f}".removeprefix("0")


class WithInterval(Protocol):
    """A value with its 95% interval and what it was measured on."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def n(self) -> int: ...


def estimated(one: WithInterval, what: str, digits: int = 3) -> str:
    """An estimate for a sentence of markdown, with its interval and its n, which counts ``what``
    (in the singular).

    >>> estimated(Finding(0.8472, 0.8191, 0.8719, n=15), "generator")
    '**0.847** (95% interval 0.819 to 0.872, 15 generators)'
    """
    value, low, high = (number(x, digits) for x in (one.value, one.low, one.high))
    return f"**{value}** (95% interval {low} to {high}, {counted(one.n, what)})"


@dataclass(frozen=True)
class Finding:
    """A statistic whose sign is of interest.

    Attributes:
        value, low, high: NaN where there are too few data.
        p_value: without correction; None where there is none.
        q_value: corrected; None where nothing was compared besides.
        n, what: what ``n`` counts, in the singular: cell, detector, image.
        corrected_over: in words, what the q-value is corrected over.
        needed: the ``n`` from which an estimate exists.
        chosen_among: among how many it is the largest, which its interval allows for.
    """

    value: float
    low: float
    high: float
    p_value: float | None = None
    q_value: float | None = None
    n: int = 0
    what: str = "image"
    corrected_over: str = ""
    needed: int = 0
    chosen_among: int = 0

    @classmethod
    def of_row(cls, row: Any, column: str, **about: Any) -> Finding:
        """The statistic in a row's ``column``, its bounds in ``<column>_low`` and
        ``<column>_high``.

        >>> Finding.of_row({"gap": 0.2, "gap_low": 0.1, "gap_high": 0.3}, "gap", n=4).numbers()
        '+0.200 (95% interval +0.100 to +0.300, 4 images)'
        """
        value, low, high = (float(row[f"{column}{end}"]) for end in ("", "_low", "_high"))
        return cls(value, low, high, **about)

    @property
    def direction(self) -> Direction:
        """What may be claimed."""
        given = (self.value, self.low, self.high)
        if not all(np.isfinite(one) for one in given):
            return "unknown"
        decisive = self.p_value if self.q_value is None else self.q_value
        significant = decisive is None or (np.isfinite(decisive) and decisive < ALPHA)
        if not significant or self.low <= 0 <= self.high:
            return "undecided"
        return "higher" if self.value > 0 else "lower"

    def claim(self, higher: str, lower: str, undecided: str) -> str:
        """One of three claims, or what is missing for any.

        >>> Finding(0.9, 0.2, 1.0, p_value=0.17, n=4).claim("more", "less", "cannot be told")
        'cannot be told'
        """
        if self.direction == "unknown":
            more = (
                f", at least {counted(self.needed, self.what, 'are')} needed" if self.needed else ""
            )
            return f"cannot be estimated from {counted(self.n, self.what)}{more}"
        return {"higher": higher, "lower": lower, "undecided": undecided}[self.direction]

    def times(self, factor: float) -> Finding:
        """In another unit, such as percentage points; ``factor`` is above 0."""
        ends = {name: factor * getattr(self, name) for name in ("value", "low", "high")}
        return replace(self, **ends)

    @property
    def _disagree(self) -> bool:
        """Whether interval and p, neither corrected, say different things of zero."""
        p = self.p_value
        if p is None or self.q_value is not None or self.chosen_among > 1:
            return False
        known = bool(np.isfinite([self.low, self.high, p]).all())
        return known and (self.low <= 0 <= self.high) == (p < ALPHA)

    def points(self) -> str:
        """A difference of shares, as every sentence gives it: in percentage points.

        >>> Finding(-0.025, -0.048, -0.001, n=5, what="cell").points()
        '-2.5 points (95% interval -4.8 to -0.1, 5 cells)'
        """
        return self.times(100).numbers(1, " points")

    def numbers(self, digits: int = 3, unit: str = "") -> str:
        """The estimate with all that stands behind it, in brackets and commas; ``unit`` is set
        behind the value.

        >>> Finding(-0.025, -0.048, -0.001, 0.04, 0.2, 5, "cell", "5 operations").numbers()
        '-0.025 (95% interval -0.048 to -0.001, q = .200 over 5 operations, 5 cells)'
        """
        if self.direction == "unknown":
            return self.claim("", "", "")
        parts = [
            f"95% interval {number(self.low, digits, signed=True)} to"
            f" {number(self.high, digits, signed=True)}"
        ]
        if self.chosen_among > 1:
            parts.append(allows_for_choice(self.chosen_among))
        if self.q_value is not None:
            over = f" over {self.corrected_over}" if self.corrected_over else ""
            parts.append(p_text(self.q_value, "q") + over)
        elif self.p_value is not None:
            parts.append(p_text(self.p_value))
        if self.n:
            parts.append(counted(self.n, self.what))
        if self._disagree:
            parts.append(DISAGREE)
        return f"{number(self.value, digits, signed=True)}{unit} ({', '.join(parts)})"


def span(value: float, low: float, high: float, digits: int = 3, *, signed: bool = False) -> str:
    """An estimate with its interval in brackets, for tables and lists.

    >>> span(-0.0004, -0.05, 0.04, 2, signed=True)
    '0.00 [-0.05, +0.04]'
    """
    first, *ends = (number(x, digits, signed=signed) for x in (value, low, high))
    return f"{first} [{', '.join(ends)}]"


def allows_for_choice(count: int) -> str:
    """What is said of an interval that allows for the choice of the largest of several.

    >>> allows_for_choice(15)
    'corrected for the choice among 15'
    """
    return f"corrected for the choice among {count}"


def best_of(count: int, what: str) -> str:
    """The caution beside a winner among several.

    >>> best_of(72, "head")
    'the best of 72 heads on these images; expect less on new ones'
    """
    return f"the best of {counted(count, what)} on these images; expect less on new ones"
