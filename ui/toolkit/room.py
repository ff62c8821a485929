"""Room beside a figure for the names of its axes, its legend and its colour bar.

Plotly draws a figure, measures what stands around it, and where that needs more than the margins
draws all of it again: a figure with names twice, a matrix three times. Margins that are wide enough
from the start spare that. They are estimates: plotly still measures, so that nothing is cut off
where names are wider than expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from math import cos, radians, sin
from typing import Any

_LETTERS = {
    0.26: " ',.:;Iijl|",
    0.35: "!()-/[]\\frt{}",
    0.43: '"*?sz',
    0.55: "AEFSTZ`bdhnopqu",
    0.61: "&BCKPR",
    0.66: "DGHNOQU",
    0.79: "MWw",
    0.85: "%@m",
    0.95: "…",
}
"""Widths of Source Sans' letters in parts of their size."""
_WIDTH = {letter: width for width, letters in _LETTERS.items() for letter in letters}
_OTHERS = (0.5, 0.65, 1.0)
"""Of other letters and signs of ASCII, of other alphabets, and of what is written in squares."""
_LINE = 1.3
"""Height of a line in parts of its letters' size."""
_NUMBER = "0.00"
"""As wide as the numbers that plotly itself puts beside an axis are at most, mostly."""
_GAP = 9.0
"""Between an axis and its names, px, and how far an estimate may be wrong."""
_SYMBOL = 45.0
"""Beside a name in the legend, px."""
_WIDE = 1200.0
"""Of a figure, px, for what grows with it."""


PHONE = 350.0
"""Of a figure on a screen of 390 px."""
_PLOT = 130.0
"""Of what a figure's names and scales leave to its data, px, at least."""


def fitted(data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> dict[str, Any]:
    """``layout`` with :func:`margins`, and with horizontal titles on two lines where one would be
    cut on a phone.
    """
    margin = margins(data, layout)
    folded = {
        name: {**axis, "title": {**axis["title"], "text": _folded(axis["title"]["text"])}}
        for name, axis in _titled(layout)
        if _title_needs(axis, margin) > PHONE
    }
    whole = {**layout, **folded}
    return whole | {"margin": margins(data, whole) if folded else margin}


def width_needed(layout: Mapping[str, Any]) -> float:
    """How narrow a figure may be, px, before a title is cut or its data are squeezed between its
    margins.
    """
    margin = layout["margin"]
    titles = [_title_needs(axis, margin) for _, axis in _titled(layout)]
    return float(max(margin["l"] + margin["r"] + _PLOT, *titles, 0))


def _titled(layout: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Horizontal axes with a title, which stands in the middle of the whole plot."""
    return [
        (name, axis)
        for name, axis in layout.items()
        if name.startswith("xaxis")
        and (axis.get("title") or {}).get("text")
        and tuple(axis.get("domain", (0, 1))) == (0, 1)
    ]


def _title_needs(axis: Mapping[str, Any], margin: Mapping[str, float]) -> float:
    title = axis["title"]
    wide = _width(title["text"], title.get("font", {}).get("size", 13))
    return wide + abs(margin["l"] - margin["r"])


def _folded(text: str) -> str:
    """On two lines, broken before a bracket, behind a comma, or at the space nearest to the
    middle.
    """
    if "<" in text:
        return text
    spaces = [at for at, letter in enumerate(text) if letter == " "]
    told = [at for at in spaces if text[at - 1] == "," or text[at + 1 : at + 2] == "("]
    if not spaces:
        return text
    at = min(told or spaces, key=lambda place: abs(place - len(text) / 2))
    return f"{text[:at]}<br>{text[at + 1 :]}"


def margins(data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> dict[str, Any]:
    """``layout``'s margins, as wide as what plotly will write there needs."""
    made = dict.fromkeys("lrtb", 0.0) | dict(layout.get("margin", {}))
    for name, axis in layout.items():
        if name[1:5] == "axis" and axis.get("automargin") and axis.get("visible", True):
            for side, px in _beside_axis(name, axis, data, layout):
                made[side] = max(made[side], px)
    if named := _in_legend(data, layout):
        wide = _SYMBOL + max(_width(name, 12) for name in named)
        rows = -(-len(named) // max(1, int(_WIDE / wide))) if len(named) * wide > _WIDE else 1
        made["t"] = max(made["t"], 19 * rows + 20 + 0.02 * (layout.get("height") or 450))
    for trace in data:
        bar = trace.get("colorbar") or trace.get("marker", {}).get("colorbar")
        if bar and trace.get("showscale", True) and _has_values(trace):
            made["r"] = max(made["r"], _beside_bar(bar))
    return made


def _beside_axis(
    name: str, axis: Mapping[str, Any], data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """Sides of the figure and what an axis' names and title take there."""
    way = name[0]
    side = axis.get("side", "left" if way == "y" else "bottom")[0]
    size = axis.get("tickfont", {}).get("size", 12)
    texts = _names(name, axis, data) if axis.get("showticklabels", True) else []
    widths = [_width(text, size) for text in texts]
    wide, tall = max(widths, default=0.0), _LINE * size * max(map(_lines, texts), default=0)
    angle = radians(abs(axis.get("tickangle", 0) or 0))
    if angle:  # it hangs to the left of its place
        beyond = max(
            (w * cos(angle) - (at + 0.5) * _WIDE / 3 / len(widths) for at, w in enumerate(widths)),
            default=0.0,
        )
        yield "l", beyond
        wide, tall = wide * cos(angle) + tall * sin(angle), wide * sin(angle) + tall * cos(angle)
    if not _at_rim(axis, side, layout):
        return
    title = axis.get("title", {})
    depth = (wide if way == "y" else tall) + (_GAP if texts else 0.0)
    if title.get("text") is not None:  # plotly leaves room for an empty one, too
        lines = _lines(title["text"])
        depth += _LINE * lines * title.get("font", {}).get("size", 13) + title.get("standoff", 0)
    yield side, depth
    if way == "x" and not angle and widths:  # half of the last name may stand beyond the axis
        yield "r", widths[-1] / 2 + _GAP


def _at_rim(axis: Mapping[str, Any], side: str, layout: Mapping[str, Any]) -> bool:
    """Whether an axis stands at the figure's own side, not between two of its parts."""
    way = "y" if side in "tb" else "x"
    other = layout.get(f"{way}axis{axis.get('anchor', way)[1:]}", {})
    low, high = other.get("domain", (0.0, 1.0))
    return bool(low == 0 if side in "lb" else high == 1)


def _names(name: str, axis: Mapping[str, Any], data: Sequence[Mapping[str, Any]]) -> list[str]:
    """What stands beside an axis: its own texts, its traces' categories, else numbers."""
    if (texts := axis.get("ticktext")) is not None:
        return [str(text) for text in texts]
    way, number = name[0], name[5:]
    found = [
        value
        for trace in data
        if trace.get(f"{way}axis", way)[1:] == number
        for value in trace.get(way, ()) or ()
        if isinstance(value, str)
    ]
    low, high = sorted(axis.get("range") or (0.0, 1.0))
    return list(dict.fromkeys(found)) or ["-" * (low < (low - high) / 20) + _NUMBER]


def _in_legend(data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> list[str]:
    """Names in the legend; plotly shows one of several traces, or where one asks for it."""
    named = [t for t in data if t.get("showlegend", True) and t.get("type") != "heatmap"]
    asked = len(named) > 1 or any(t.get("showlegend") for t in named)
    return [str(t.get("name", "")) for t in named] if layout.get("showlegend", asked) else []


def _has_values(trace: Mapping[str, Any]) -> bool:
    """A heat map of empty cells alone has no scale."""
    cells = [value for line in trace.get("z") or [[0]] for value in line]
    return any(value is not None and value == value for value in cells)


def _beside_bar(bar: Mapping[str, Any]) -> float:
    """What a colour bar takes right of the figure, its distance from it included."""
    title, ticks = bar.get("title", {}), bar.get("tickfont", {}).get("size", 11)
    percent = "%" in (bar.get("tickformat") or "")
    numbers = _width("+100%" if percent else "0.00", ticks)
    beside = _LINE * title.get("font", {}).get("size", 12) if title.get("text") else 0.0
    return float(
        0.02 * _WIDE + 2 * bar.get("xpad", 6) + bar.get("thickness", 30) + numbers + beside
    )


def _lines(text: str) -> int:
    return text.count("<br>") + 1


def _width(text: str, size: float) -> float:
    lines = unescape(re.sub(r"<(?!br>)[^>]*>", "", text)).split("<br>")
    return 1.03 * size * max(sum(map(_letter_width, line)) for line in lines)


def _letter_width(letter: str) -> float:
    return _WIDTH.get(letter, _OTHERS[(letter > "\x7f") + (letter > "\u2e80")])
