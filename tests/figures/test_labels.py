"""Names in figures: shortened so that they stay different, directions isolated, ticks readable."""

import numpy as np
import pandas as pd
import pytest

from aigi_core import figures
from aigi_core.figures.theme import label, labels

LONG = [f"stable-diffusion-xl-base-1.0-{kind}-finetuned-on-photographs" for kind in "abc"]
RIGHT_TO_LEFT = "מחולל-1"
OVERRIDE = "safe\u202egnp.exe"


def test_two_long_names_stay_different() -> None:
    shown = labels([*LONG, LONG[0], "short"])
    assert len(set(shown[:3])) == 3 and shown[0] == shown[3] and shown[4] == "short"
    assert all(len(text) <= 33 for text in shown)
    apart = ["x" * 100 + str(i) + "y" * 100 for i in range(12)]
    assert len(set(labels(apart))) == 12


@pytest.mark.parametrize("draw", ["heatmap", "intervals", "groups"])
def test_ticks_of_long_names_stay_different(draw: str) -> None:
    table = pd.DataFrame({"name": LONG, "value": 0.5, "low": 0.4, "high": 0.6, "series": "s"})
    figure = {
        "heatmap": lambda: figures.heatmap(pd.DataFrame(np.eye(3), LONG, LONG), alt="a"),
        "intervals": lambda: figures.intervals(table, alt="a", value_title="v"),
        "groups": lambda: figures.interval_groups(table, alt="a", value_title="v"),
    }[draw]()
    assert len(set(figure.layout.yaxis.ticktext)) == 3


def test_directions_do_not_leak() -> None:
    assert label(RIGHT_TO_LEFT) == f"\u2068{RIGHT_TO_LEFT}\u2069"
    assert "\u202e" not in label(OVERRIDE) and "gnp.exe" in label(OVERRIDE)
    assert label("plain-1") == "plain-1"


def test_a_large_matrix_grows_and_thins_its_ticks() -> None:
    names = [f"generator-{i}" for i in range(120)]
    figure = figures.heatmap(pd.DataFrame(np.zeros((120, 120)), names, names), alt="a")
    rows, columns = figure.layout.yaxis, figure.layout.xaxis
    plot = figure.layout.height - 150
    assert plot / len(rows.tickvals) >= 12, "lines of text would overlap"
    assert len(columns.tickvals) <= 60 and columns.ticktext[0] == "generator-0"
    assert list(columns.tickvals)[-1] < 120


def test_family_names_are_not_cut_in_the_middle() -> None:
    names = list("abc")
    figure = figures.heatmap(
        pd.DataFrame(np.zeros((3, 3)), names, names),
        alt="a",
        column_families=["gan", "diffusion", "gan"],
    )
    shown = [annotation.text for annotation in figure.layout.annotations]
    assert "…" not in "".join(shown) and shown == ["GAN", "D", "GAN"]
