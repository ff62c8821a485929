"""The app's style sheet."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import ui.toolkit
from aigi_core.figures.matrix import heatmap
from aigi_core.figures.theme import DARK, LEAST_WIDTHS, LIGHT, least_width
from tests.conftest import ROOT
from ui.toolkit import frame


def test_each_least_width_of_a_figure_has_its_rule() -> None:
    css = (Path(ui.toolkit.__file__).parent / "frame.css").read_text("utf-8")
    for width in LEAST_WIDTHS[1:]:
        assert f"[class*=st-key-least-width-{width}-]>*{{min-width:{width}px}}" in css


def test_every_colour_of_the_style_sheet_is_one_of_the_theme() -> None:
    for theme in (LIGHT, DARK):
        style = frame.STYLES[theme.name]
        used, given = (
            set(re.findall(form, style)) for form in (r"var\((--[\w-]+)", r"(--aigi-\w+):#")
        )
        assert len(given) == 5 and used - {"--tile", "--size", "--tall", "--ratio"} == given


def test_the_sidebar_shows_every_term_of_the_glossary() -> None:
    def sidebar() -> None:
        from ui.toolkit import frame

        frame.terms()

    app = AppTest.from_function(sidebar).run()
    assert not app.exception
    shown = "\n".join(element.value for element in app.markdown)
    terms = re.findall(
        r"^- \*\*.+", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(terms) > 30 and [term for term in terms if term not in shown] == []


@pytest.mark.parametrize("columns", [3, 9, 17, 25])
def test_a_matrix_of_more_columns_asks_for_more_room(columns: int) -> None:
    names = [f"c{i}" for i in range(columns)]
    values = pd.DataFrame(np.eye(2, columns), ["a", "b"], names)
    width = least_width(heatmap(values, alt=""))
    assert width == {3: 0, 9: 540, 17: 640, 25: 1100}[columns]
