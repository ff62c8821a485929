"""Margins that are wide enough before plotly has measured."""

import pandas as pd
import plotly.graph_objects as go
import pytest

from aigi_core.figures import LIGHT, finish, out_of_domain_intervals
from aigi_core.transfer import board as boards
from ui.toolkit.drawings import for_browser


def room(figure: go.Figure) -> dict[str, float]:
    margin: dict[str, float] = for_browser(finish(figure, LIGHT, "a", 300)).figure.to_dict()[
        "layout"
    ]["margin"]
    return margin


def test_names_take_what_their_letters_take() -> None:
    short, long, marked, foreign = (
        room(go.Figure(go.Bar(y=[name], x=[1], orientation="h")))["l"]
        for name in ("sdxl", "m" * 40, f"<b>{'m' * 40}</b>", "漢" * 40)
    )
    assert short < 50 < 400 < long == marked < foreign


def test_an_axis_between_two_parts_takes_no_margin() -> None:
    figure = go.Figure([go.Scatter(y=["a"]), go.Scatter(y=["m" * 40], xaxis="x2", yaxis="y2")])
    axes = dict(xaxis={"domain": [0, 0.4]}, xaxis2={"domain": [0.6, 1]}, yaxis2={"anchor": "x2"})
    figure.update_layout(**axes)
    assert room(figure)["l"] < 100
    figure.update_layout(yaxis2_side="right")
    assert room(figure)["l"] < 100 and room(figure)["r"] > 400


@pytest.mark.parametrize(
    ("traces", "side", "wider"),
    [
        ([go.Scatter(y=[1], name="one")], "t", False),
        ([go.Scatter(y=[1], name="one"), go.Scatter(y=[2], name="two")], "t", True),
        ([go.Heatmap(z=[[1]], colorbar={"title": "c"})], "r", True),
        ([go.Heatmap(z=[[1]], colorbar={"title": "c"}, showscale=False)], "r", False),
        ([go.Heatmap(z=[[None]], colorbar={"title": "c"})], "r", False),
    ],
)
def test_legend_and_scale_take_room_where_they_are_shown(
    traces: list[go.Scatter], side: str, wider: bool
) -> None:
    assert (room(go.Figure(traces))[side] > 40) is wider


def test_turned_names_hang_below_and_to_the_left() -> None:
    names = dict(tickvals=[0, 1], ticktext=["m" * 40, "b"], tickangle=-50)
    turned = room(go.Figure(go.Scatter(y=[1]), layout={"xaxis": names}))
    straight = room(go.Figure(go.Scatter(y=[1]), layout={"xaxis": names | {"tickangle": 0}}))
    assert turned["b"] > straight["b"] + 200 and turned["l"] > straight["l"]


@pytest.mark.parametrize(
    ("title", "name", "folded", "least"),
    [
        ("Recall", "sdxl", "Recall", 0),
        (f"{'m' * 20} (n cells)", "m" * 10, f"{'m' * 20}<br>(n cells)", 0),
        (f"Of accuracy, {'m' * 20}", "m" * 10, f"Of accuracy,<br>{'m' * 20}", 0),
        ("Recall", "m" * 25, "Recall", 460),
        ("m" * 40, "sdxl", "m" * 40, 540),
        ("Recall", "m" * 90, "Recall", 640),
    ],
)
def test_titles_are_folded_and_figures_scroll_where_a_phone_would_cut_them(
    title: str, name: str, folded: str, least: int
) -> None:
    figure = go.Figure(go.Bar(y=[name], x=[1], orientation="h")).update_xaxes(title_text=title)
    made = for_browser(finish(figure, LIGHT, "a", 300))
    layout = made.figure.to_dict()["layout"]
    assert (layout["xaxis"]["title"]["text"], made.least_width) == (folded, least)


def test_names_of_methods_leave_a_phone_room_for_their_values() -> None:
    """They took 200 of 350 px, and the values stood out of sight."""
    names = [row.title for row in boards.rows_of_methods().values()]
    values = dict.fromkeys(("value", "low", "high"), 0.5)
    table = pd.DataFrame({"name": names, **values, "n": 210})
    figure = out_of_domain_intervals(table, "method", selected=names[0])
    assert for_browser(figure).least_width == 0
