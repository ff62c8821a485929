"""Forest plots: the unit of what they show."""

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
import pytest

from aigi_core.figures.points import interval_groups, intervals


def test_a_second_value_of_each_line_has_a_mark_and_a_name_of_its_own() -> None:
    table = pd.concat([TABLE, TABLE.assign(name="b")]).assign(second=[0.5, 0.25])
    figure = intervals(table, alt="", value_title="AUC", marks=("Test", "Validation"))
    first, second = figure.data
    assert (first.name, second.name) == ("Test", "Validation") and first.showlegend
    assert list(second.x) == [0.5, 0.25] and second.error_x.array is None
    assert second.marker.symbol != first.marker.symbol[0]
    assert [row[0] for row in second.customdata] == ["a", "b"]
    assert "AUC: 0.062" in first.hovertext[1] and "Validation: 0.250" in first.hovertext[1]


TABLE = pd.DataFrame(
    {"name": ["a"], "series": ["s"], "value": [0.0625], "low": [-0.01], "high": [0.125]}
)


@pytest.mark.parametrize("draw", [intervals, interval_groups])
def test_differences_of_shares_are_drawn_in_percentage_points(
    draw: Callable[..., go.Figure],
) -> None:
    shares, points = (
        draw(TABLE, alt="", value_title="Change", reference=0, points=points)
        for points in (False, True)
    )
    assert shares.layout.xaxis.title.text == "Change" and shares.data[0].x[0] == 0.0625
    assert points.layout.xaxis.title.text == "Change, points" and points.data[0].x[0] == 6.25
    assert points.data[0].error_x.array[0] == pytest.approx(6.25)
    said = points.data[0].hovertext or points.data[0].text
    assert "+6.2 points<br>95% interval: -1.0 to +12.5" in said[0]
