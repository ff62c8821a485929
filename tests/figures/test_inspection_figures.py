"""Figures of one image: the map's scale and clicks, what alternative texts say, names made
inert.
"""

import numpy as np
import pandas as pd
import pytest

from aigi_core.calibration.probabilities import calibration_error, reliability
from aigi_core.figures import (
    DARK,
    LIGHT,
    Theme,
    alt_text,
    judges,
    patch_map,
    reliability_curve,
    survival_curves,
)

EVIL = "<img src=x onerror=alert(1)>%{x}"
VERDICTS = pd.DataFrame(
    {
        "detector": ["all", EVIL],
        "probability": [0.8, 0.3],
        "low": [0.7, 0.2],
        "high": [0.9, 0.4],
        "verdict": ["fake", "real"],
    }
)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=lambda theme: theme.name)
def test_the_map_is_centred_at_nothing(theme: Theme) -> None:
    evidence = np.array([[0.5, -0.1, 0.0], [0.0, 0.2, -0.3]])
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    figure = patch_map(pixels, evidence, what="all heads", selected=[(1, 2)], theme=theme)
    heat, points = figure.data
    assert (heat.zmin, heat.zmax) == (-0.5, 0.5)
    middle = [colour for at, colour in heat.colorscale if at == 0.5]
    assert middle and middle[0].endswith(",0.000)"), "where nothing speaks the picture is clear"
    assert list(points.customdata[5]) == ["1.2"] and "-0.300" in points.text[5]
    assert figure.layout.images[0].source.startswith("data:image/png;base64,")
    assert figure.layout.shapes[0].x0 == 1.5 and figure.layout.shapes[0].y1 == 1.5
    assert "sum over all patches is +0.30" in alt_text(figure) and "patch 0.0 (+0.500)" in alt_text(
        figure
    )
    assert patch_map(pixels, np.zeros((2, 2)), what="x").data[0].zmax > 0


def test_judges_name_and_escape() -> None:
    figure = judges(VERDICTS, selected="all")
    assert "all: 0.80 (0.70 to 0.90)" in alt_text(figure)
    assert not any("<img" in str(tick) for tick in figure.layout.yaxis.ticktext)


def test_reliability_shows_what_chance_would() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(400)
    labels = (rng.random(400) < p).astype(int)
    bins, error = reliability(p, labels), calibration_error(p, labels, draws=50)
    figure = reliability_curve(bins, error)
    np.testing.assert_allclose(figure.data[2].y, bins["share"])
    assert f"error {error.ece:.3f}" in alt_text(figure) and f"{error.null_mean:.3f}" in alt_text(
        figure
    )


def test_survival_starts_at_the_image_itself() -> None:
    rows = [
        ("", np.nan, "as it came", 0.9, "fake"),
        ("jpeg", 90.0, "JPEG at quality 90", 0.8, "fake"),
        ("jpeg", 30.0, "JPEG at quality 30", 0.2, "real"),
        ("palette", 64.0, "reduced to a palette of 64 colours", 0.7, "fake"),
        ("screenshot", np.nan, "screenshot-like", 0.5, "uncertain"),
    ]
    table = pd.DataFrame(
        rows, columns=["kind", "strength", "description", "probability", "verdict"]
    )
    table = table.assign(low=table["probability"] - 0.1, high=table["probability"] + 0.1)
    figure = survival_curves(table)
    jpeg, palette, screenshot = figure.data[:3]
    assert list(palette.x) == ["as it came", "64"], "no number of colours leaves an image as it is"
    assert list(jpeg.x) == [100, 90, 30] and list(jpeg.y) == [0.9, 0.8, 0.2]
    assert list(screenshot.x) == ["as it came", "screenshot"] and list(screenshot.y) == [0.9, 0.5]
    assert jpeg.marker.symbol[0] != jpeg.marker.symbol[2], "the verdict is not told by place alone"
    assert "from 0.20 to 0.90" in alt_text(figure) and "changes on 2 of" in alt_text(figure)
