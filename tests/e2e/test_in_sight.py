"""What a click or key sets off is seen where the user is: work is said, and what is opened comes
into sight.
"""

from typing import Any

import pytest
from playwright.sync_api import expect

from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def test_work_is_said_in_sight_and_nothing_jumps(browser: Any, demo_url: str) -> None:
    """It stood under the figure, 800 px below; the answer went, and all moved up."""
    app = App(browser, demo_url, height=900).open("train")
    bar = app.page.locator(".st-key-controls-bar")
    before = bar.bounding_box()
    app.page.get_by_role("slider", name="Train on at most").focus()
    app.page.keyboard.press("ArrowRight")
    said = app.page.locator(".st-key-waits").get_by_text("Training and testing every set").first
    expect(said).to_be_visible()
    assert bar.bounding_box() == before
    app.page.get_by_text("How many images does it need?").scroll_into_view_if_needed()
    expect(said).to_be_in_viewport()
    app.page.set_viewport_size({"width": 390, "height": 844})
    expect(said).to_be_in_viewport()
    app.close()


@pytest.mark.parametrize(
    ("page", "button", "part"),
    [("heads", "Ablate it", "Without some heads"), ("words", "Remove it", "Without a concept")],
)
def test_what_a_button_opens_comes_into_sight(app: App, page: str, button: str, part: str) -> None:
    app.page.emulate_media(color_scheme="dark")
    app.resize(1440, 800).open(page, train="beta-diff")
    heading = app.page.get_by_role("heading", name=part)
    expect(heading).to_have_count(0)
    app.press(button)
    expect(heading).to_be_in_viewport()
    opened = app.page.locator(".st-key-part").get_by_role("radio", name=part)
    expect(opened).to_be_focused()  # the keyboard goes on from there
    assert app.resize(800, 1000).still().violations() == [] and app.fits


def test_a_clicked_method_opens_beside_the_board(browser: Any, demo_url: str) -> None:
    app = App(browser, demo_url, height=900).open("methods")
    app.click_point("methods", 4)
    title = app.query["which"][0]
    assert app.selected("Opened method") == title
    expect(app.page.locator("strong", has_text=title).first).to_be_in_viewport()
    bold = app.chart("methods").locator(".ytick tspan[style*=bold]").all_text_contents()
    assert title.replace(" ", "") == "".join(bold).replace(" ", "")
    assert app.violations() == [] and app.fits
    app.close()


@pytest.mark.parametrize(("page", "figure"), [("geometry", "pairs"), ("audit", "verdicts")])
def test_what_a_click_opens_stands_beside_its_figure(
    browser: Any, demo_url: str, page: str, figure: str
) -> None:
    app = App(browser, demo_url, height=900).open(page)
    below = app.page.locator("h3").first
    app.click_point(figure, 4)
    expect(below).to_be_in_viewport()
    plot, opened = app.chart(figure).bounding_box(), below.bounding_box()
    assert plot and opened and opened["x"] > plot["x"] + plot["width"]
    app.close()


def test_the_menu_shows_where_the_keyboard_is(app: App) -> None:
    app.open("gallery", train="beta-diff")
    for _ in range(4):
        app.page.keyboard.press("Tab")
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert app.page.evaluate("document.activeElement.dataset.testid") == "stSidebarNavLink"
    assert app.page.evaluate(style) == "solid"
