"""The heads page in a real browser: numbers, clicks, keyboard, looks."""

from typing import Any

import pytest
from playwright.sync_api import expect

from aigi_core.detectors.heads import score_heads
from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def test_click_a_head_and_ablate_it(app: App, synthetic: Workspace) -> None:
    app.open("heads", train="beta-diff", validate="alpha-gan")
    best = score_heads(synthetic, "beta-diff", "alpha-gan").table.iloc[0]
    assert app.stats["Best head alone"][0] == f"{best['accuracy']:.3f}"
    assert app.selected("Opened head") == f"{int(best['layer'])}.{int(best['index'])}"
    app.click_cell("map", 1, 2)
    app.wait_for_query("head", "1.2")
    assert app.selected("Opened head") == "1.2"
    app.press("Ablate it")
    app.wait_for_query("ablate", "1.2")
    assert app.errors == [] and "20 controls" in app.alt("ablation")
    assert app.violations() == [] and app.fits


def test_keyboard_path_and_link(app: App, browser: Any, server: Any) -> None:
    app.open("heads", train="beta-diff")
    app.choose("Opened head", "0.1")
    app.wait_for_query("head", "0.1")
    app.choose("Chosen", "chosen jointly")
    app.wait_for_query("way", "chosen jointly")
    app.show_part("Where it helps")
    other = App(browser, server.url)
    other.page.goto(app.share_link())
    other.settled()
    assert (
        other.stats == app.stats
        and other.selected("Opened head") == "0.1"
        and "head 0.1" in other.alt("roles")
    )
    other.close()


def test_an_extreme_image_opens_in_inspect(app: App) -> None:
    app.open("heads", train="beta-diff")
    first = app.page.locator(".aigi-tile button[data-key]").first
    path = first.get_attribute("data-key")
    with app.redrawn():
        first.click()
    dialog = app.page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    with app.redrawn():
        dialog.get_by_role("link", name="Inspect this image").click()
    app.settled()
    assert app.title.startswith("Is this image generated") and app.errors == []
    assert [path] == app.query["image"]
