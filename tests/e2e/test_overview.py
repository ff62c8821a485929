"""The overview in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def test_deep_link_on_a_fresh_server(browser: Any, serve: Any, synthetic_path: Path) -> None:
    server = serve(synthetic_path)
    app = App(browser, server.url).open("overview")
    images = Workspace.open(synthetic_path).images
    assert app.stats["Fakes"] == (str((images["label"] == 1).sum()), "4 generators")
    assert app.errors == []
    assert "lifespan" not in server.log.read_text()  # what a server does as it starts was done
    app.close()


def test_accessible_and_nothing_cut_off(seen: Callable[[str], App], server: Any) -> None:
    app = seen(server.url).open("overview")
    assert app.violations() == [] and app.fits


def test_an_address_that_is_no_page(browser: Any, server: Any) -> None:
    """The page of nearly that name, or the first, which says so."""
    app = App(browser, server.url).open("new-generator")
    assert "never seen" in app.title
    app.open("settings")
    assert "There is no page 'settings' here. This is Overview." in app.page.inner_text("body")
    assert app.errors == []
    app.close()
