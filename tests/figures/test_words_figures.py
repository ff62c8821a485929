"""What lists of words show: the band of chance, and which texts go beyond it."""

import pandas as pd
import pytest

from aigi_core import figures


def test_band_and_bold_say_what_is_beyond_chance() -> None:
    table = pd.DataFrame(
        {
            "text": ["beyond", "within"],
            "cosine": [0.4, 0.1],
            "p_value": [0.02, 0.6],
            "null_low": [0.05, 0.04],
            "null_high": [0.2, 0.15],
        }
    )
    figure = figures.word_list(table, alt="x")
    band, points = figure.data
    assert (band.base + band.x).tolist() == pytest.approx([0.2, 0.15]) and band.base.tolist() == [
        0.05,
        0.04,
    ]
    assert figure.layout.yaxis.ticktext == ("<b>beyond</b>", "within")
    assert points.marker.color[0] != points.marker.color[1]
    assert [row[0] for row in points.customdata] == ["beyond", "within"]


def test_without_a_null_nothing_is_claimed() -> None:
    figure = figures.word_list(pd.DataFrame({"text": ["a"], "cosine": [0.4]}), alt="x")
    assert len(figure.data) == 1 and "<b>" not in figure.layout.yaxis.ticktext[0]


def test_spans_add_up_in_the_hover_text() -> None:
    figure = figures.span_bars(
        pd.DataFrame({"text": ["a", "b"], "explained": [0.5, 0.25]}), alt="x"
    )
    assert "75.0% so far" in figure.data[0].hovertext[1]
