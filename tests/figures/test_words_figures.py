"""What lists of words show: the threshold of chance, and which texts go beyond it."""

import numpy as np
import pandas as pd
import pytest

from aigi_core import figures


def test_the_line_drawn_is_the_one_that_decides() -> None:
    table = pd.DataFrame(
        {
            "text": ["beyond", "within"],
            "cosine": [0.4, 0.1],
            "p_value": [0.02, 0.6],
            "threshold": 0.3,
        }
    )
    figure = figures.word_list(table, alt="x")
    [points] = figure.data
    lines = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert [line.x0 for line in lines] == [0.3]
    between = figures.word_list(table.drop(columns="threshold"), alt="x").layout.shapes
    assert [s.x0 for s in between if s.type == "line"] == pytest.approx([0.25])
    first = figures.word_list(table.drop(columns="threshold"), 1, alt="x")
    assert [s.x0 for s in first.layout.shapes if s.type == "line"] == pytest.approx([0.25])
    assert len(first.data[0].x) == 1
    assert figure.layout.yaxis.ticktext == ("<b>beyond</b>", "within")
    assert points.marker.color[0] != points.marker.color[1]
    assert [row[0] for row in points.customdata] == ["beyond", "within"]


def test_texts_on_two_lines_stand_apart() -> None:
    """A line of 12 px letters is 16 px high."""
    texts = [f"a rather long description of photograph number {i}" for i in range(12)]
    table = pd.DataFrame({"text": texts, "cosine": np.linspace(0.4, 0.1, 12)})
    layout = figures.word_list(table, alt="x").layout
    assert all("<br>" in text for text in layout.yaxis.ticktext)
    plot = layout.height - (layout.margin.t or 0) - (layout.margin.b or 0)
    assert plot / np.ptp(layout.yaxis.range) >= 32


def test_without_a_null_nothing_is_claimed() -> None:
    figure = figures.word_list(pd.DataFrame({"text": ["a"], "cosine": [0.4]}), alt="x")
    assert len(figure.data) == 1 and "<b>" not in figure.layout.yaxis.ticktext[0]


def test_spans_add_up_in_the_hover_text() -> None:
    figure = figures.span_bars(
        pd.DataFrame({"text": ["a", "b"], "explained": [0.5, 0.25]}), alt="x"
    )
    assert "75.0% so far" in figure.data[0].hovertext[1]
