"""Figures of a page, drawn once for all sessions: plotly takes longer to check a figure than all
else that a click asks of the server.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pickle import HIGHEST_PROTOCOL, Pickler, PicklingError
from typing import Any, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from aigi_core.figures import LEAST_WIDTHS, Theme, alt_text, generator_styles, least_width
from aigi_core.manifest import Domains
from ui.toolkit.room import PHONE, fitted, width_needed

Draw = Callable[..., go.Figure]
"""A figure function with everything but ``theme`` filled in."""
Use = Literal["read", "clicks", "picks"]
"""What a figure is for: reading alone, points to click, points to draw around."""


class Drawn(NamedTuple):
    """A figure for the browser, what it shows in words, and its least width in px."""

    figure: go.Figure
    alt: str
    least_width: int


MODES: dict[Use, dict[str, str]] = {
    "read": {},
    "clicks": {"clickmode": "event+select", "dragmode": "pan", "hovermode": "closest"},
    "picks": {"clickmode": "event", "dragmode": "select", "hovermode": "closest"},
}
"""What Streamlit would set in the browser, which would draw the figure again."""
MOST = 32 * 2**20
"""Bytes of arguments beyond which reading them all takes longer than to draw anew."""


@dataclass(frozen=True)
class Styled:
    """A figure function that also takes the generators' ``styles``, which depend on the theme.

    Attributes:
        generators, families: those of the workspace, in its order.
    """

    draw: Draw
    generators: tuple[str, ...]
    families: tuple[str, ...]

    @classmethod
    def of(cls, draw: Draw, domains: Domains) -> Styled:
        """With the generators of a workspace."""
        return cls(draw, tuple(domains.generators), tuple(domains.families))

    def __call__(self, theme: Theme) -> go.Figure:
        styles = generator_styles(self.generators, self.families, theme)
        return self.draw(styles=styles, theme=theme)


def drawn(draw: Draw, theme: Theme, use: Use = "read") -> Drawn:
    """The figure as :func:`for_browser` makes it; from memory where the same function drew the same
    values before. It is shared: do not change it.

    What decides is the content of ``draw``'s arguments, so that nothing outdated is shown. What
    cannot be written down, as a lambda, or is larger than :data:`MOST` is drawn anew.
    """
    content = _Digest()
    try:
        _Pickler(content, HIGHEST_PROTOCOL).dump((draw, theme, use))
    except (PicklingError, AttributeError, TypeError):
        return for_browser(draw(theme=theme), use)
    return _drawn(content.sum.hexdigest(), draw, theme, use)


def for_browser(figure: go.Figure, use: Use = "read") -> Drawn:
    """A figure in a form that the browser draws once.

    Streamlit's component gives plotly.js every figure twice, the second time as a copy. Plotly
    does nothing for a copy whose ``datarevision`` is the same, unless it holds a template, ``meta``
    or arrays in binary form, which are compared by identity. So the template's settings are put
    where they apply, ``meta`` stays here, and arrays are lists. Margins have room for names (see
    :mod:`ui.toolkit.room`), for plotly draws all again to make it.
    """
    content = figure.to_plotly_json()
    layout = _merged(MODES[use], content["layout"]) | {"datarevision": 1}
    template = layout.pop("template", {}).get("layout", {})
    layout.pop("meta", None)
    axes = {name for name in layout if name[1:5] == "axis"}
    for trace in content["data"]:
        axes |= {f"{way}axis{trace.get(f'{way}axis', way)[1:]}" for way in "xy"}
    for name, settings in template.items():
        for place in (a for a in axes if a[:5] == name) if name[1:] == "axis" else (name,):
            layout[place] = (
                _merged(settings, layout.get(place, {}))
                if isinstance(settings, Mapping)
                else layout.get(place, settings)
            )
    shown = _lists({"data": content["data"], "layout": dict(sorted(layout.items()))})
    shown["layout"] = fitted(**shown)
    return Drawn(_Content(shown), alt_text(figure), _least_width(figure, shown["layout"]))


def _least_width(figure: go.Figure, layout: Mapping[str, Any]) -> int:
    """What the figure asks for, or more where its names and titles need it."""
    needed = width_needed(layout)
    enough = (width for width in LEAST_WIDTHS[:-1] if needed <= max(width, PHONE))
    return max(least_width(figure), next(enough, LEAST_WIDTHS[-2]))


class _Content(go.Figure):  # type: ignore[misc]
    """A figure as it is sent: plotly would give one of its own a template, and turn it into this
    for every run of a page.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__()
        self._content = content

    def to_dict(self) -> dict[str, Any]:
        return self._content


def _merged(settings: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where ``over`` counts where both have a value."""
    made = dict(settings) | dict(over)
    for name in settings.keys() & over.keys():
        if isinstance(settings[name], Mapping) and isinstance(over[name], Mapping):
            made[name] = _merged(settings[name], over[name])
    return made


def _lists(content: Any) -> Any:
    """Plotly's arrays in binary form, and numpy's, as lists."""
    if isinstance(content, Mapping):
        if "bdata" not in content:
            return {name: _lists(value) for name, value in content.items()}
        array = np.frombuffer(b64decode(content["bdata"]), content["dtype"])
        shape = [int(side) for side in str(content.get("shape", -1)).split(",")]
        return array.reshape(shape).tolist()
    if isinstance(content, np.ndarray):
        return content.tolist()
    if isinstance(content, list | tuple):
        return [_lists(value) for value in content]
    return content


class _Digest:
    """A file that keeps the digest of what is written; PicklingError beyond :data:`MOST` bytes."""

    def __init__(self) -> None:
        self.sum = hashlib.blake2b(digest_size=16)
        self.size = 0

    def write(self, part: bytes) -> None:
        self.size += memoryview(part).nbytes
        if self.size > MOST:
            raise PicklingError("too large to be compared")
        self.sum.update(part)


class _Pickler(Pickler):
    """Writes objects without their cached properties: these follow from the rest, and would make
    two digests of one value, asked for something in between or not.
    """

    def reducer_override(self, value: object) -> Any:
        known = _cached_properties(type(value))  # type: ignore[arg-type]  # types are hashable
        if not known:
            return NotImplemented
        state = {name: part for name, part in vars(value).items() if name not in known}
        return object.__new__, (type(value),), state


@cache
def _cached_properties(kind: type) -> frozenset[str]:
    """Names of those that instances of a class keep."""
    return frozenset(
        name
        for one in kind.__mro__
        for name, part in vars(one).items()
        if isinstance(part, cached_property)
    )


@st.cache_resource(show_spinner=False, max_entries=128)
def _drawn(content: str, _draw: Draw, _theme: Theme, _use: Use) -> Drawn:
    del content  # the key
    return for_browser(_draw(theme=_theme), _use)
