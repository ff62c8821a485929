"""Addresses that are no page's, in a real browser."""

from typing import Any

import pytest

from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def test_an_address_that_is_no_page(browser: Any, server: Any) -> None:
    """The page of nearly that name, or the first, which says so."""
    app = App(browser, server.url).open("new-generator")
    assert "never seen" in app.title
    app.open("settings")
    assert "There is no page 'settings' here. This is Overview." in app.page.inner_text("body")
    assert app.errors == []
    app.close()
