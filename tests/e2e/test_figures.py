"""Figures as the browser draws them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly
import plotly.io
import pytest

from aigi_core.figures import heatmap, intervals
from benchmarks._app_in_browser import App
from ui.toolkit.drawings import for_browser

CHANGES = """async (text) => {
  const place = document.body.appendChild(document.createElement('div'))
  const give = () => {
    const figure = JSON.parse(text)
    return Plotly.react(place, figure.data, {width: 700, height: 500, ...figure.layout})
  }
  await give()
  let changes = 0
  const observer = new MutationObserver((seen) => { changes += seen.length })
  observer.observe(place, {childList: true, attributes: true, subtree: true})
  await give()
  return changes + observer.takeRecords().length
}"""
"""Parts of the page that plotly changes when it is given the same figure again, as Streamlit
does."""


@pytest.mark.parametrize("kind", ["matrix", "intervals"])
def test_a_figure_that_is_given_twice_is_drawn_once(browser: Any, kind: str) -> None:
    names = ["one", "two", "three"]
    values = np.linspace(0, 1, 3)
    table = pd.DataFrame({"name": names, "value": values, "low": values, "high": values, "n": 3})
    figure = (
        heatmap(pd.DataFrame(np.eye(3), names, names), alt="a", selected=("one", "two"))
        if kind == "matrix"
        else intervals(table, alt="b", value_title="c")
    )
    page = browser.new_page()
    page.add_script_tag(path=Path(plotly.__file__).parent / "package_data" / "plotly.min.js")
    sent = plotly.io.to_json(for_browser(figure).figure, validate=False)
    assert page.evaluate(CHANGES, sent) < 20  # the mode bar
    assert page.evaluate(CHANGES, figure.to_json()) > 50
    page.close()


GROWN = (
    """plot => [...'lrtb'].map(side => plot._fullLayout._size[side] - plot.layout.margin[side])"""
)
"""By how much plotly made a figure's margins wider, px: it then drew all of it again."""


def test_names_beside_a_figure_have_room_from_the_start(app: App) -> None:
    app.open("overview")
    for name in ("generators", "matrix"):
        if name == "matrix":
            app.navigate("Transfer")
        grown = app.chart(name).locator(".js-plotly-plot").evaluate(GROWN)
        assert len(grown) == 4 and max(map(abs, grown)) < 1, name  # plotly rounds
