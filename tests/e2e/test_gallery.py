"""The gallery in a real browser: a click on a tile opens the image, by mouse and by keyboard."""

from typing import Any

import pytest

from tests.e2e.objects import App

pytestmark = pytest.mark.browser


def test_tiles_open_images(app: App, browser: Any) -> None:
    app.open("gallery", train="beta-diff", tests="gamma-diff")
    tiles = app.page.locator(".aigi-tile button")
    first, second = (tiles.nth(i).get_attribute("data-key") for i in (1, 2))
    with app.redrawn():
        tiles.nth(1).click()
    app.wait_for_query("image", first)
    assert app.selected("Image") == first
    tiles.nth(2).focus()
    with app.redrawn():
        app.page.keyboard.press("Enter")
    app.wait_for_query("image", second)
    again = App(browser, app.base)  # a copied link opens the same image in a new session
    again.open("gallery", **{name: values[0] for name, values in app.query.items()})
    assert again.selected("Image") == second
    again.close()


def test_accessible(app: App) -> None:
    app.open("gallery")
    assert app.violations() == []
