"""On a narrow screen every page shows its answer first; its controls are one line, which stays in
sight and opens them.
"""

from typing import Any

import pytest

from benchmarks._app_in_browser import App
from ui.toolkit.router import PAGES

pytestmark = pytest.mark.browser
FIRST_DRAWN = """() => {
  const top = (one) => one ? one.getBoundingClientRect().top : Infinity
  const bar = document.querySelector('.st-key-controls-bar')
  const main = document.querySelector('.stMain')
  const drawn = [...main.querySelectorAll('[data-testid=stPlotlyChart], .aigi-tile')]
  return [Math.min(...drawn.map(top)), bar ? bar.getBoundingClientRect().height : 0]
}"""
"""Where the first figure or image begins, and how tall the bar of controls is, in px."""

CUT = """() => [...document.querySelectorAll('.js-plotly-plot')].flatMap(figure => {
  const {left, right} = figure.getBoundingClientRect()
  const cut = [...figure.querySelectorAll('.xtitle')].filter(title => {
    const own = title.getBoundingClientRect()
    return own.left < left - 2 || own.right > right + 2
  }).map(title => title.textContent)
  const room = figure._fullLayout._size.w
  return room < 100 ? [...cut, `${figure.closest('[class*=st-key-]').className}: ${room}`] : cut
})"""
"""Titles of horizontal axes that leave their figure, and figures without room for their data."""

BEGIN_OTHERWISE = {"overview", "inspect", "new_generator"}
"""Pages that begin with what a visitor can do, or with the field for images of one's own."""


def standing(app: App) -> tuple[float, float]:
    """What :data:`FIRST_DRAWN` finds once nothing moves any more."""
    before: Any = None
    for _ in range(50):
        now = app.page.evaluate(FIRST_DRAWN)
        if now == before:
            break
        before = now
        app.page.wait_for_timeout(400)
    begins, bar = now
    return begins, bar


SIZES = [(390, 844), (800, 1000)]
"""Width and height of a telephone and of half a screen."""


def test_answer_and_figure_come_before_the_controls(browser: Any, demo_url: str) -> None:
    app = App(browser, demo_url)
    low, tall, cut = {}, {}, {}
    for stem in PAGES:
        app.resize(*SIZES[0]).open(stem)
        for width, height in SIZES:
            begins, bar = standing(app.resize(width, height))
            assert app.errors == [], stem
            here = stem, width
            if found := app.page.evaluate(CUT):
                cut[here] = found
            if stem in BEGIN_OTHERWISE:
                continue
            if begins > height - 60:
                low[here] = begins
            if bar > 90:
                tall[here] = bar
    assert low == {} and tall == {} and cut == {}
    app.close()


def test_controls_open_by_one_key_and_stay_open_while_they_are_used(
    browser: Any, demo_url: str
) -> None:
    app = App(browser, demo_url, width=390, height=844, scheme="dark").open("transfer")
    line, field = app.page.locator(".aigi-settings"), app.page.locator(".st-key-test input")
    opener = app.page.locator(".aigi-controls summary")
    assert not field.is_visible() and "Metric: Balanced accuracy" in line.inner_text()
    opener.press("Enter")
    app.choose("Tested on", "sdxl")
    assert field.is_visible() and app.violations() == [] and app.fits
    opener.click()
    assert not field.is_visible()
    assert "Tested on: sdxl" in line.inner_text() and app.query["test"] == ["sdxl"]
    app.page.locator(".stMain").evaluate("main => main.scrollBy(0, 1500)")
    assert opener.is_visible() and 0 <= opener.bounding_box()["y"] < 120
    assert app.violations() == [] and app.fits
    assert "Tested on: sdxl" in app.download_report()
    app.close()
