"""Figures drawn once for all sessions, by the content of what they show."""

import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest

from aigi_core.figures import DARK, LIGHT, Theme, finish
from ui.toolkit import drawings
from ui.toolkit.drawings import Drawn, Styled, drawn, for_browser


def curve(table: pd.DataFrame, *, theme: Theme) -> go.Figure:
    return go.Figure(go.Scatter(y=table["y"]), layout={"font_color": theme.ink})


def colours(names: list[str], *, styles: dict[str, object], theme: Theme) -> go.Figure:
    marker = {"color": [styles[name].colour for name in names]}  # type: ignore[attr-defined]
    return go.Figure(go.Scatter(y=[1, 2], marker=marker))


def sent(drawing: Drawn) -> dict[str, Any]:
    """What the browser gets."""
    return json.loads(plotly.io.to_json(drawing.figure, validate=False))


def test_same_values_are_drawn_once_and_others_anew() -> None:
    table = pd.DataFrame({"y": [1.0, 2.0]})
    first = drawn(partial(curve, table), LIGHT)
    assert drawn(partial(curve, table.copy()), LIGHT) is first
    assert sent(drawn(partial(curve, table), DARK))["layout"]["font"]["color"] == DARK.ink
    table.loc[0, "y"] = 3.0
    assert sent(drawn(partial(curve, table), LIGHT))["data"][0]["y"] == [3.0, 2.0]


def test_what_cannot_be_written_down_is_drawn_anew() -> None:
    table = pd.DataFrame({"y": [1.0]})
    draw = lambda theme: curve(table, theme=theme)  # noqa: E731
    first = drawn(draw, LIGHT)
    table.loc[0, "y"] = 5.0
    assert sent(first)["data"][0]["y"] == [1.0]
    assert sent(drawn(draw, LIGHT))["data"][0]["y"] == [5.0]


def test_generators_look_as_the_theme_says() -> None:
    draw = Styled(partial(colours, ["a", "b"]), ("a", "b"), ("gan", "diffusion"))
    light, dark = (
        sent(drawn(draw, theme))["data"][0]["marker"]["color"] for theme in (LIGHT, DARK)
    )
    assert len({*light, *dark}) == 4
    assert list(draw(theme=LIGHT).data[0].marker.color) == light


def test_what_is_large_is_drawn_anew_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"y": np.zeros(4096)})
    monkeypatch.setattr(drawings, "MOST", 10_000)
    assert drawn(partial(curve, table), LIGHT) is not drawn(partial(curve, table), LIGHT)
    monkeypatch.setattr(drawings, "MOST", 100_000)
    assert drawn(partial(curve, table), LIGHT) is drawn(partial(curve, table), LIGHT)


def test_what_is_sent_looks_the_same_without_template_and_binary_arrays() -> None:
    figure = go.Figure([go.Scatter(y=np.zeros(4)), go.Heatmap(z=np.eye(3), xaxis="x2")])
    figure.update_xaxes(title_text="Score").update_layout(yaxis_tickfont_size=9)
    made = for_browser(finish(figure, DARK, "Two traces", 300, least_width=460), "clicks")
    assert (made.alt, made.least_width) == ("Two traces", 460)
    content = sent(made)
    layout, wanted = content["layout"], DARK.template.layout
    assert content["data"][0]["y"] == [0] * 4 and content["data"][1]["z"][1] == [0, 1, 0]
    assert not {"template", "meta"} & layout.keys() and layout["height"] == 300
    assert layout["font"]["color"] == wanted.font.color
    assert layout["yaxis"]["tickfont"] == {"size": 9, "color": DARK.ink}
    assert layout["xaxis2"]["gridcolor"] == layout["xaxis"]["gridcolor"] == DARK.grid
    assert layout["xaxis"]["title"]["text"] == "Score" and layout["clickmode"] == "event+select"


@dataclass(frozen=True)
class Values:
    """Values that keep what was once computed from them."""

    values: tuple[float, ...]

    @cached_property
    def total(self) -> float:
        return sum(self.values)


def of_values(values: Values, *, theme: Theme) -> go.Figure:
    return curve(pd.DataFrame({"x": [0, 1], "y": values.values}), theme=theme)


def test_what_an_object_has_kept_meanwhile_does_not_count() -> None:
    asked = Values((1.0, 2.5))
    first = drawn(partial(of_values, asked), LIGHT)
    assert asked.total == 3.5  # kept in the object from here on
    assert drawn(partial(of_values, asked), LIGHT) is first
    assert drawn(partial(of_values, Values((1.0, 2.5))), LIGHT) is first
    assert drawn(partial(of_values, Values((1.0, 3.5))), LIGHT) is not first
