"""The gallery in a real browser: a click on a tile enlarges the image, by mouse and by keyboard."""

from typing import Any

import pytest
from playwright.sync_api import expect

from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def test_tiles_open_images(app: App, browser: Any) -> None:
    app.open("gallery", train="beta-diff", tests="gamma-diff", verdict="all mistakes")
    tiles = app.page.locator(".st-key-grid-all-mistakes button[data-key]")
    first, second = (tiles.nth(i).get_attribute("data-key") for i in (1, 2))
    with app.redrawn():
        tiles.nth(1).click()
    dialog = app.page.get_by_role("dialog")
    expect(dialog.get_by_text(str(first)).first).to_be_visible()
    app.page.keyboard.press("ArrowRight")
    expect(dialog.get_by_text(str(second)).first).to_be_visible()
    expect(dialog.get_by_text("3 of")).to_be_visible()
    app.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    app.wait_for_query("image", first)
    assert app.page.locator(".aigi-chosen").count() == 1
    tiles.nth(2).focus()
    with app.redrawn():
        app.page.keyboard.press("Enter")
    app.page.keyboard.press("Escape")
    app.wait_for_query("image", second)
    again = App(browser, app.base)  # a copied link opens the same image in a new session
    again.open("gallery", **{name: values[0] for name, values in app.query.items()})
    assert again.selected("Image") == second
    again.close()


def test_a_pinned_image_stays_beside_the_next(app: App) -> None:
    app.open("gallery", train="beta-diff", tests="gamma-diff", verdict="all mistakes")
    with app.redrawn():
        app.page.locator(".st-key-grid-all-mistakes button[data-key]").first.click()
    dialog = app.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Pin", exact=True).click()
    expect(dialog.get_by_role("button", name="Unpin")).to_be_visible()
    app.page.keyboard.press("ArrowRight")
    expect(dialog.locator(".aigi-large")).to_have_count(2)


def test_accessible(app: App) -> None:
    app.open("gallery")
    assert app.violations() == []
