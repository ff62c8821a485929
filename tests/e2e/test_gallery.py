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
    with app.redrawn():
        app.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    app.wait_for_query("image", second)  # the one last seen
    assert app.selected("Image") == second
    assert app.page.locator(".aigi-chosen").count() == 1
    tiles.nth(1).focus()
    with app.redrawn():
        app.page.keyboard.press("Enter")
    app.page.keyboard.press("Escape")
    app.wait_for_query("image", first)
    expect(tiles.nth(1)).to_be_focused()  # which the dialog had taken
    tiles.nth(2).focus()
    with app.redrawn():
        app.page.keyboard.press("Enter")
    app.page.keyboard.press("Escape")
    app.wait_for_query("image", second)
    again = App(browser, app.base)  # a copied link opens the same image in a new session
    again.open("gallery", **{name: values[0] for name, values in app.query.items()})
    assert again.selected("Image") == second and again.violations() == []
    again.close()


def test_arrow_keys_keep_the_size_and_a_pinned_image(app: App) -> None:
    app.open("gallery", train="beta-diff", tests="gamma-diff", verdict="all mistakes")
    tiles = app.page.locator(".st-key-grid-all-mistakes button[data-key]")
    with app.redrawn():
        tiles.first.click()
    dialog = app.page.get_by_role("dialog")
    for size in ("100%", "200%"):
        dialog.get_by_role("button", name="Larger").click()
        expect(dialog.get_by_text(f"Size: {size}")).to_be_visible()
    app.page.keyboard.press("ArrowRight")
    expect(dialog.get_by_text("2 of")).to_be_visible()
    expect(dialog.get_by_text("Size: 200%")).to_be_visible()
    dialog.get_by_role("button", name="Pin", exact=True).click()
    expect(dialog.get_by_role("button", name="Unpin")).to_be_visible()
    app.page.keyboard.press("ArrowRight")
    expect(dialog.locator(".aigi-large")).to_have_count(2)
    pinned = str(tiles.nth(1).get_attribute("data-key"))
    expect(dialog.locator(".aigi-large").first.get_by_text(pinned)).to_be_visible()


def test_a_source_that_cannot_be_loaded_leaves_the_preview_alone_and_says_so(
    browser: Any, demo_url: str
) -> None:
    app = App(browser, demo_url)
    app.page.route(lambda url: not url.startswith(demo_url), lambda route: route.abort())
    app.open("gallery", verdict="all mistakes")
    with app.redrawn():
        app.page.locator(".st-key-grid-all-mistakes button[data-key]").first.click()
    dialog = app.page.get_by_role("dialog")
    expect(dialog.get_by_text("this is its preview")).to_be_visible()
    picture, widths = dialog.locator(".aigi-large .aigi-picture"), []
    assert dialog.locator("img").evaluate("img => getComputedStyle(img).opacity") == "0"
    for size in ("100%", "200%"):
        dialog.get_by_role("button", name="Larger").click()
        expect(dialog.get_by_text(f"Size: {size}")).to_be_visible()
        expect(dialog.get_by_text("this is its preview")).to_be_visible()
        expect(picture).to_be_visible()  # it has a size once its preview is drawn
        widths.append(picture.evaluate("picture => picture.offsetWidth"))
    assert widths[1] == 2 * widths[0]
    app.close()
