"""The look of every figure: two plotly templates, three scales, one style for each generator.

Colours are made in OKLCH, where equal steps look equal, so that families differ by hue, generators
within a family by hue, lightness, marker and dash, and nothing rests on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any, Literal
from unicodedata import bidirectional

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

FONT = '"Source Sans", "Source Sans 3", "Source Sans Pro", system-ui, sans-serif'
"""Streamlit ships Source Sans; an exported file falls back on the system's own."""

# Family -> hue range in degrees of OKLCH, markers and dashes. Orange, bluish green and blue stay
# apart for the common colour-vision deficiencies; markers differ by family so that a grey print
# still tells them apart.
_FAMILY_HUES: dict[str, tuple[float, float]] = {
    "gan": (30, 85),
    "autoregressive": (155, 178),
    "diffusion": (215, 300),
}
_OTHER_HUES = (330, 360)
_FAMILY_MARKERS: dict[str, tuple[str, ...]] = {
    "gan": (
        "square",
        "diamond",
        "square-open",
        "diamond-open",
        "square-x-open",
        "diamond-cross-open",
    ),
    "autoregressive": ("triangle-up", "triangle-down", "triangle-up-open", "triangle-down-open"),
    "diffusion": (
        "circle",
        "hexagon",
        "circle-open",
        "hexagon-open",
        "circle-cross-open",
        "circle-x-open",
    ),
}
_OTHER_MARKERS = ("star", "cross", "star-open", "cross-open")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def oklch(lightness: float, chroma: float, hue: float) -> str:
    """sRGB hex of an OKLCH colour (lightness and chroma 0..1, hue in degrees), clipped to the
    gamut.

    Source: Björn Ottosson, "A perceptual color space for image processing" (2020).
    """
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    gamma = (
        12.92 * c if c <= 0.0031308 else 1.055 * max(c, 0) ** (1 / 2.4) - 0.055 for c in linear
    )
    return "#" + "".join(f"{round(255 * min(max(c, 0), 1)):02x}" for c in gamma)


def _ramp(
    start: tuple[float, float, float], end: tuple[float, float, float], steps: int = 6
) -> list[str]:
    """Colours from one OKLCH point to another, ends included."""
    return [
        oklch(*(s + (e - s) * i / (steps - 1) for s, e in zip(start, end, strict=True)))
        for i in range(steps)
    ]


Scale = list[tuple[float, str]]


def _scale(colours: Sequence[str]) -> Scale:
    return [(i / (len(colours) - 1), colour) for i, colour in enumerate(colours)]


@dataclass(frozen=True)
class Theme:
    """Colours of one mode.

    Attributes:
        paper: the page behind the figure; figures are transparent and only borders and gaps use it.
        ink, muted, grid: text and strong lines; secondary text; hairlines.
        accent: the one emphasised series, the selected cell.
        real, fake: the two classes, wherever they stand against each other.
        right, wrong: whether a verdict is right, and whether a result can be relied on.
    """

    name: Literal["light", "dark"]
    paper: str
    panel: str
    ink: str
    muted: str
    grid: str
    accent: str
    real: str
    fake: str
    right: str
    wrong: str

    @property
    def series(self) -> tuple[str, str, str, str]:
        """Colours of up to four series that are neither classes nor generators."""
        if self.name == "light":
            return (self.accent, "#a06a00", self.ink, "#6a55a8")
        return (self.accent, "#dcb35c", self.ink, "#b4a4ee")

    @cached_property
    def classes(self) -> Scale:
        """From evidence for real to evidence for fake; the centre, 0, is the paper."""
        return [(0.0, self.real), (0.5, self.paper), (1.0, self.fake)]

    @cached_property
    def diverging(self) -> Scale:
        """Below the centre orange, above it blue; the centre is the paper. Centre: .5 for accuracy,
        0 for differences.
        """
        if self.name == "light":
            low, high = (
                _ramp((0.55, 0.15, 50), (0.975, 0.008, 75)),
                _ramp((0.975, 0.008, 230), (0.38, 0.11, 250)),
            )
        else:
            low, high = (
                _ramp((0.74, 0.14, 60), (0.27, 0.012, 60)),
                _ramp((0.27, 0.012, 240), (0.80, 0.11, 235)),
            )
        return _scale([*low[:-1], low[-1], *high[1:]])

    @cached_property
    def sequential(self) -> Scale:
        """From the paper to the strongest ink, even steps of lightness."""
        ends = (
            ((0.975, 0.01, 200), (0.36, 0.09, 235))
            if self.name == "light"
            else ((0.26, 0.015, 235), (0.88, 0.1, 195))
        )
        return _scale(_ramp(*ends, steps=9))

    @cached_property
    def template(self) -> go.layout.Template:
        axis = dict(
            gridcolor=self.grid,
            linecolor=self.grid,
            zerolinecolor=self.grid,
            zeroline=False,
            ticks="",
            automargin=True,
            title=dict(font=dict(size=13, color=self.muted), standoff=10),
            tickfont=dict(size=12, color=self.ink),
        )
        return go.layout.Template(
            layout=dict(
                font=dict(family=FONT, size=13, color=self.ink),
                paper_bgcolor="rgba(0,0,0,0)",
                plot_bgcolor="rgba(0,0,0,0)",
                colorway=list(self.series),
                xaxis=axis,
                yaxis=axis,
                hoverlabel=dict(
                    bgcolor=self.panel,
                    bordercolor=self.grid,
                    font=dict(family=FONT, size=13, color=self.ink),
                    align="left",
                ),
                legend=dict(
                    orientation="h",
                    yanchor="bottom",
                    y=1.02,
                    x=0,
                    title=dict(text=""),
                    font=dict(size=12),
                ),
                margin=dict(l=8, r=8, t=28, b=8),
                modebar=dict(bgcolor="rgba(0,0,0,0)", color=self.muted, activecolor=self.accent),
                colorscale=dict(diverging=self.diverging, sequential=self.sequential),
            )
        )


LIGHT = Theme(
    "light",
    paper="#fcfbf8",
    panel="#f3f1eb",
    ink="#1f272d",
    muted="#56626b",
    grid="#dedad1",
    accent="#1d5c78",
    real="#2c7a58",
    fake="#a8326a",
    right="#2a7fa5",
    wrong="#b04a10",
)
DARK = Theme(
    "dark",
    paper="#14181b",
    panel="#1d2327",
    ink="#e8e6e1",
    muted="#a3adb4",
    grid="#343c42",
    accent="#7cc0da",
    real="#6cc49c",
    fake="#ee86b4",
    right="#5fb4da",
    wrong="#f0955c",
)


@dataclass(frozen=True)
class Style:
    """How one generator is drawn, wherever it appears."""

    colour: str
    marker: str
    dash: str


def generator_styles(
    generators: Sequence[str], families: Sequence[str], theme: Theme = LIGHT
) -> dict[str, Style]:
    """A style for each generator of a workspace; the hue tells the family, marker and dash the
    generator.

    Give all generators of the workspace, in its own order, so that a generator looks the same in
    every figure.
    """
    styles = {}
    for family in dict.fromkeys(families):
        members = [g for g, f in zip(generators, families, strict=True) if f == family]
        low, high = _FAMILY_HUES.get(family, _OTHER_HUES)
        markers = _FAMILY_MARKERS.get(family, _OTHER_MARKERS)
        for i, generator in enumerate(members):
            hue = low + (high - low) * (i / max(len(members) - 1, 1))
            lightness = (
                (0.50, 0.60, 0.42)[i % 3] if theme.name == "light" else (0.74, 0.84, 0.66)[i % 3]
            )
            styles[generator] = Style(
                oklch(lightness, 0.13, hue), markers[i % len(markers)], _DASHES[i % len(_DASHES)]
            )
    return styles


SELECTION = "selection"
"""Name of what outlines the selected item: it is no part of an exported figure."""


def label(name: str, width: int = 28) -> str:
    """A user's name as figure text: shortened in the middle, inert, and its direction isolated.

    Several names that stand beside each other go through :func:`labels`, which keeps them apart.
    """
    return _inert(_shortened(name, width))


def labels(names: Sequence[str], width: int = 28) -> list[str]:
    """Names that stand beside each other as figure texts; different names stay different.

    A name that would be shortened to the text of another is cut where the two differ; where that
    does not help either, names are numbered.
    """
    short = {name: _shortened(name, width) for name in dict.fromkeys(names)}
    for text in {text for text in short.values() if list(short.values()).count(text) > 1}:
        same = [name for name in short if short[name] == text]
        at = next(i for i, letters in enumerate(zip(*same, strict=False)) if len({*letters}) > 1)
        start = max(0, at - width // 3)
        for number, name in enumerate(same, 1):
            part = name[start : start + width - 2]
            short[name] = (
                f"{'…' if start else ''}{part}{'…' if start + len(part) < len(name) else ''}"
            )
            if short[name] in [short[other] for other in short if other != name]:
                short[name] = f"{text} ({number})"
    return [_inert(short[name]) for name in names]


_CONTROLS = {ord(mark): None for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
"""Unicode's explicit directions, which could turn round the text after a name."""


def _shortened(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    keep = width - 1
    return f"{name[: keep - keep // 3]}…{name[-(keep // 3) :]}"


def _inert(text: str) -> str:
    """Tags, entities and template fields do nothing; letters written from right to left stay in
    their name.
    """
    if text.isascii():  # of thousands of images' names, nearly all
        return escape(text, quote=False).replace("%{", "%&#123;")
    text = escape(text.translate(_CONTROLS), quote=False).replace("%{", "%&#123;")
    turned = any(bidirectional(letter) in ("R", "AL", "AN") for letter in text)
    return f"\u2068{text}\u2069" if turned else text


LEAST_WIDTHS = (0, 460, 540, 640, 1100)
"""Each has a rule in the app's style sheet."""


def colour_bar(title: str, theme: Theme, tickformat: str | None = None) -> dict[str, Any]:
    """The scale beside a figure whose colours are values."""
    return dict(
        title=dict(text=title, side="right", font=dict(size=12)),
        thickness=10,
        outlinewidth=0,
        len=0.6,
        tickfont=dict(size=11, color=theme.muted),
        xpad=6,
        tickformat=tickformat,
    )


def points_bar(title: str, theme: Theme, low: float, high: float) -> dict[str, Any]:
    """The scale of differences of shares, in percentage points."""
    at = np.linspace(low, high, 5)
    texts = [f"{100 * v:+z.1f}" if v else "0" for v in at]
    bar = colour_bar(f"{title}, points", theme)
    return bar | dict(tickvals=at, ticktext=texts)


def error_bars(
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    colour: str,
    *,
    thickness: float = 2,
    width: float = 4,
) -> dict[str, Any]:
    """Intervals around values as Plotly's error bars."""
    return dict(
        type="data",
        symmetric=False,
        array=np.subtract(high, value),
        arrayminus=np.subtract(value, low),
        color=colour,
        thickness=thickness,
        width=width,
    )


LINE_OF_NAME = 30
"""Letters of a name, and of what stands behind it, that take one line beside an axis: more would
leave a phone no room for the data."""


def on_lines(name: str, behind: str = "", *, bold: bool = False) -> str:
    """A name beside an axis, in HTML, on two lines where it is long: broken behind a comma or sign,
    before a bracket or what stands behind it, wherever that is nearest to the middle.

    >>> on_lines("Ridge regression", " (n = 210)")
    'Ridge regression (n = 210)'
    >>> on_lines("Logistic regression, before the projection", " (n = 210)", bold=True)
    '<b>Logistic regression,<br>before the projection</b> (n = 210)'
    >>> on_lines("Linear SVM (squared hinge)", " (n = 210)")
    'Linear SVM<br>(squared hinge) (n = 210)'
    """
    marks = ("<b>", "</b>") if bold else ("", "")
    spaces = [at for at, letter in enumerate(name) if letter == " "]
    told = [at for at in spaces if name[at - 1] in ",+" or name[at + 1] == "("]
    places = told or spaces
    if behind[:1] == " " and behind[1:2] == "(":
        places = [*places, len(name)]
    if len(name) + len(behind) <= LINE_OF_NAME or not places:
        return f"{marks[0]}{name}{marks[1]}{behind}"
    at = min(places, key=lambda place: abs(2 * place - len(name) - len(behind)))
    if at == len(name):
        return f"{marks[0]}{name}{marks[1]}<br>{behind[1:]}"
    return f"{marks[0]}{name[:at]}<br>{name[at + 1 :]}{marks[1]}{behind}"


def name_lines(figure: go.Figure, ticks: Sequence[str], **axis: Any) -> None:
    """Name the lines at 0, 1, ... of the vertical axis, from top to bottom."""
    figure.update_yaxes(
        tickvals=list(range(len(ticks))),
        ticktext=ticks,
        range=[len(ticks) - 0.4, -0.6],
        showgrid=False,
        **axis,
    )


def finish(
    figure: go.Figure,
    theme: Theme,
    alt: str,
    height: int | None = None,
    *,
    least_width: int = 0,
    **layout: object,
) -> go.Figure:
    """Put theme, alternative text and height on a figure; the last step of every figure
    function.

    Args:
        least_width: see :func:`least_width`.
    """
    meta = {"alt": alt, "least_width": least_width}
    figure.update_layout(template=theme.template, height=height, meta=meta, **layout)
    return figure


def alt_text(figure: go.Figure) -> str:
    """What the figure shows, in words, for those who cannot see it."""
    meta = figure.layout.meta or {}
    return str(meta.get("alt", ""))


def least_width(figure: go.Figure) -> int:
    """How narrow a figure stays readable, px: on a narrower screen it scrolls sideways on its own;
    0 where any width will do. One of :data:`LEAST_WIDTHS`.
    """
    return int((figure.layout.meta or {}).get("least_width", 0))
