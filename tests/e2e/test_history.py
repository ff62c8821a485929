"""The browser's Back and Forward: through pages and controls, and out of the app."""

import pytest

from benchmarks._app_in_browser import App

pytestmark = pytest.mark.browser


def test_the_first_back_leaves_the_app(app: App) -> None:
    """What the app makes of the address that it is opened by is no step: neither the page that
    stands for none, nor the workspace it adds, nor a setting that it leaves out or corrects.
    """
    for address in ("", "transfer?metric=Balanced+accuracy", "no-such-page", "audit?workspace=x"):
        app.page.goto(f"about:blank#before-{address}")
        app.page.goto(f"{app.base}/{address}")
        app.settled()
        app.page.wait_for_function("new URLSearchParams(location.search).has('workspace')")
        app.page.go_back()
        assert app.page.url == f"about:blank#before-{address}"


def test_back_and_forward_through_pages_and_controls(app: App) -> None:
    app.open("transfer")
    begin = app.page.evaluate("history.length")
    app.choose("Detector trained on", "beta-diff")
    app.wait_for_query("train", "beta-diff")
    app.choose("Metric", "AUC")
    app.wait_for_query("metric", "AUC")
    app.navigate("Gallery")
    app.choose("Verdict", "all mistakes")
    app.wait_for_query("verdict", "all mistakes")
    app.navigate("Map")

    def gallery(verdict: str | None) -> None:
        app.page.wait_for_url("**/gallery?**")
        app.wait_for_query("verdict", verdict)
        assert app.title.startswith("Which images")
        assert (app.selected("Verdict") == "all mistakes") == (verdict is not None)

    def transfer(metric: str | None) -> None:
        app.page.wait_for_url("**/transfer?**")
        app.wait_for_query("metric", metric)
        assert app.title.startswith("Does a detector")
        assert app.selected("Metric") == (metric or "Balanced accuracy")
        assert app.selected("Detector trained on") == "beta-diff"

    app.back()
    gallery("all mistakes")
    app.back()
    gallery(None)
    app.back()
    transfer("AUC")
    app.back()
    transfer(None)
    app.forward()
    transfer("AUC")
    app.forward()
    gallery(None)
    app.forward()
    gallery("all mistakes")
    app.forward()
    app.page.wait_for_url("**/map?**")
    assert app.settled().title.startswith("Where do")
    assert app.page.evaluate("history.length") == begin + 5
    assert app.violations() == [] and app.fits


def test_a_link_between_pages_is_one_step(app: App) -> None:
    """Also where the page that it opens leaves out a setting at its default; that a page which has
    just been opened completes its address is no step of its own.
    """
    app.open("transfer")
    before = app.page.evaluate("history.length")
    app.follow("All its images")
    app.page.wait_for_url("**/gallery?**")
    assert app.settled().page.evaluate("history.length") == before + 1
    app.back()
    app.page.wait_for_url("**/transfer?**")
    app.navigate("Gallery")
    app.navigate("Map")
    steps = app.page.evaluate("history.length")
    app.back()
    app.page.wait_for_url("**/gallery?**")
    assert app.settled().title.startswith("Which images")
    app.back()
    app.page.wait_for_url("**/transfer?**")
    assert app.page.evaluate("history.length") == steps
