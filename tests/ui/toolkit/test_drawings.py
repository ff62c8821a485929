"""Figures drawn once for all sessions, by the content of what they show."""

from functools import partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from aigi_core.figures import DARK, LIGHT, Theme
from ui.toolkit import drawings
from ui.toolkit.drawings import Styled, drawn


def curve(table: pd.DataFrame, *, theme: Theme) -> go.Figure:
    return go.Figure(go.Scatter(y=table["y"]), layout={"font_color": theme.ink})


def colours(names: list[str], *, styles: dict[str, object], theme: Theme) -> go.Figure:
    marker = {"color": [styles[name].colour for name in names]}  # type: ignore[attr-defined]
    return go.Figure(go.Scatter(y=[1, 2], marker=marker))


def test_same_values_are_drawn_once_and_others_anew() -> None:
    table = pd.DataFrame({"y": [1.0, 2.0]})
    first = drawn(partial(curve, table), LIGHT)
    assert drawn(partial(curve, table.copy()), LIGHT) is first
    assert drawn(partial(curve, table), DARK).layout.font.color == DARK.ink
    table.loc[0, "y"] = 3.0
    assert list(drawn(partial(curve, table), LIGHT).data[0].y) == [3.0, 2.0]


def test_what_cannot_be_written_down_is_drawn_anew() -> None:
    table = pd.DataFrame({"y": [1.0]})
    draw = lambda theme: curve(table, theme=theme)  # noqa: E731
    first = drawn(draw, LIGHT)
    table.loc[0, "y"] = 5.0
    assert list(first.data[0].y) == [1.0]
    assert list(drawn(draw, LIGHT).data[0].y) == [5.0]


def test_generators_look_as_the_theme_says() -> None:
    draw = Styled(partial(colours, ["a", "b"]), ("a", "b"), ("gan", "diffusion"))
    light, dark = (list(drawn(draw, theme).data[0].marker.color) for theme in (LIGHT, DARK))
    assert len({*light, *dark}) == 4
    assert list(draw(theme=LIGHT).data[0].marker.color) == light


def test_what_is_large_is_drawn_anew_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"y": np.zeros(4096)})
    monkeypatch.setattr(drawings, "MOST", 10_000)
    assert drawn(partial(curve, table), LIGHT) is not drawn(partial(curve, table), LIGHT)
    monkeypatch.setattr(drawings, "MOST", 100_000)
    assert drawn(partial(curve, table), LIGHT) is drawn(partial(curve, table), LIGHT)
