"""Figures for papers: always light, of a column's width, without the selection."""

import xml.etree.ElementTree as ET
from functools import partial

import numpy as np
import pandas as pd
import pytest

from aigi_core import figures
from aigi_core.errors import AigiError
from benchmarks._server import chromium

NAMES = list("abc")
DRAW = partial(figures.heatmap, pd.DataFrame(np.eye(3), NAMES, NAMES), alt="m", selected=("a", "b"))


def test_no_selection_no_transparency() -> None:
    assert len(DRAW().layout.shapes) == 3
    figure = figures.for_paper(DRAW)
    assert [shape.name for shape in figure.layout.shapes] == [None], "the diagonal stays"
    assert figure.layout.paper_bgcolor == "white"
    assert figure.layout.template.layout.font.color == figures.LIGHT.ink


@pytest.mark.skipif(not chromium(), reason="needs a Chromium browser")
def test_files_can_be_opened_and_have_the_width_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kaleido", reason="needs requirements-export.txt")
    monkeypatch.setenv("BROWSER_PATH", str(chromium()))
    svg = ET.fromstring(figures.export(DRAW, "svg", width_mm=85, font_pt=7))
    assert float(svg.attrib["width"]) == pytest.approx(85 * 96 / 25.4, rel=0.01)
    assert "Chance" not in ET.tostring(svg, encoding="unicode")
    pdf = figures.export(DRAW, "pdf", width_mm=85)
    assert pdf.startswith(b"%PDF") and len(pdf) > 3000


def test_without_the_packages_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> bytes:
        raise ValueError("kaleido is not installed")

    monkeypatch.setattr("plotly.graph_objects.Figure.to_image", missing)
    with pytest.raises(AigiError, match=r"requirements-export\.txt"):
        figures.export(DRAW, "png")
