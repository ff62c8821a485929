"""On a narrow screen, in the dark, every page is accessible and shows its answer first; its
controls are one line, which stays in sight and opens them.
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


SIZES = [(390, 844), (800, 1000)]
"""Width and height of a telephone and of half a screen."""


def test_answer_and_figure_come_before_the_controls(browser: Any, demo_url: str) -> None:
    app = App(browser, demo_url, scheme="dark").resize(*SIZES[0]).open()
    low, tall, cut, inaccessible = {}, {}, {}, {}
    for number, stem in enumerate(PAGES):
        app.resize(*SIZES[0])
        if number:  # the app opens with its first page
            app.navigate_folded(stem)
        for turn, (width, height) in enumerate(SIZES):
            begins, bar = app.resize(width, height).still().page.evaluate(FIRST_DRAWN)
            assert app.errors == [] and app.fits, stem
            here = stem, width
            if turn == number % 2 and (found := app.violations()):  # a page at one of both widths
                inaccessible[here] = found
            if found := app.page.evaluate(CUT):
                cut[here] = found
            if stem in BEGIN_OTHERWISE:
                continue
            if begins > height - 60:
                low[here] = begins
            if bar > 90:
                tall[here] = bar
    assert low == {} and tall == {} and cut == {} and inaccessible == {}
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
