"""What a point of a figure says under the pointer: what it is, its value with unit and interval,
and what it was measured on, in the formats of the sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Literal, NamedTuple

import numpy as np

from aigi_core.statements import number

Form = Literal["value", "points", "percent"]
WIDTH = 60
"""Letters of a line."""


class _Form(NamedTuple):
    factor: int
    digits: int
    signed: bool
    unit: str
    """Behind the value."""
    unit_of_ends: str

    def text(self, value: float) -> str:
        return number(self.factor * value, self.digits, signed=self.signed)


_FORMS: dict[Form, _Form] = {
    "value": _Form(1, 3, signed=False, unit="", unit_of_ends=""),
    "points": _Form(100, 1, signed=True, unit=" points", unit_of_ends=""),
    "percent": _Form(100, 0, signed=False, unit="%", unit_of_ends="%"),
}


def tip(name: str, *lines: str) -> str:
    """Lines of a tooltip, the name first; empty ones are left out, long ones are folded.

    Args:
        name: made inert (:func:`aigi_core.figures.theme.label`), as are names within the lines.

    >>> tip("ADM", "", "n = 27")
    'ADM<br>n = 27'
    """
    return "<br>".join([name, *(part for line in lines for part in _folded(line))])


def _folded(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line] if line else []
    # a word is left whole: the letters of an entity, such as &lt;, belong together
    return wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)


def measured(
    title: str,
    estimate: Sequence[float],
    n: float | str = "",
    *,
    form: Form = "value",
    ends: str = "95% interval",
) -> list[str]:
    """The lines of a statistic, as far as they are known.

    Args:
        title: what was measured.
        estimate: the value, then the ends of its interval where it has one.
        n: a number, or in words what was counted ("27 images").
        form: how shares are written: ``points`` for differences, ``percent`` without decimals.
        ends: what ``low`` and ``high`` are.

    >>> measured("Change", (0.0214, -0.003, 0.0458), 12, form="points")
    ['Change: +2.1 points', '95% interval: -0.3 to +4.6', 'n = 12']
    >>> measured("Balanced accuracy", [0.8472])
    ['Balanced accuracy: 0.847']
    """
    value, low, high = (*estimate, np.nan, np.nan)[:3]
    if not np.isfinite(value):
        return [f"{title}: no value"]
    lines = [f"{title}: {_FORMS[form].text(value)}{_FORMS[form].unit}"]
    if np.isfinite(low) and np.isfinite(high):
        lines.append(between(ends, low, high, form))
    if n != "":
        lines.append(n if isinstance(n, str) else f"n = {int(n):,}")
    return lines


def between(title: str, low: float, high: float, form: Form = "value") -> str:
    """A range.

    >>> between("95% interval", 0.05, 0.211, "percent")
    '95% interval: 5% to 21%'
    """
    unit = _FORMS[form].unit_of_ends
    return f"{title}: {_FORMS[form].text(low)}{unit} to {_FORMS[form].text(high)}{unit}"
