"""Components and Geometry in a real browser, on the embedded demo and its atlas: links, sliders,
clicks, looks.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from aigi_core.geometry.isotropy import pair_changes, rank_correlation_of_pairs
from aigi_core.transfer import Atlas
from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App
from tests.conftest import ROOT

pytestmark = pytest.mark.browser
PAIR = ("sd-1.4", "dalle-2")


@pytest.fixture
def app(browser: Any, demo_url: str) -> Iterator[App]:
    app = App(browser, demo_url)
    yield app
    app.close()


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return Atlas.open(Workspace.open(ROOT / "assets" / "demo"))


def test_a_deep_link_and_the_removal_by_slider(app: App, atlas: Atlas) -> None:
    app.open("components", d1=PAIR[0], d2=PAIR[1])
    d = atlas.about["components"]
    assert app.violations() == [] and app.fits
    assert app.errors == [] and app.stats["Components kept"] == (
        str(d - len(atlas.removed(PAIR))),
        f"of {d}",
    )
    app.switch("Cut at the best scores")
    app.slide("Removals along both lists", "ArrowRight")
    depth = int(app.query["removed"][0])
    assert app.stats["Components kept"][0] == str(d - len(atlas.removed(PAIR, depth)))
    again = App(app.context.browser, app.base)  # type: ignore[arg-type]
    again.page.goto(app.share_link())
    assert again.settled().stats == app.stats
    again.close()


def test_a_click_opens_a_pair(app: App, atlas: Atlas) -> None:
    app.open("components", d1=PAIR[0], d2=PAIR[1])
    app.click_cell("atlas", 2, 6)
    wanted = {atlas.generators[2], atlas.generators[6]}
    assert {app.selected("D1"), app.selected("D2")} == wanted
    app.follow("Over all pairs")
    assert (
        app.title.startswith("Does the shape")
        and {app.selected("D1"), app.selected("D2")} == wanted
    )


def test_geometry_by_keyboard_and_click(app: App, atlas: Atlas) -> None:
    app.open("geometry")
    assert app.violations() == [] and app.fits
    app.choose("Measure", "IsoScore*")
    changes = pair_changes(
        atlas.summary, atlas.geometry, "isoscore_star", "balanced_accuracy", beyond_random=True
    )
    assert app.stats["Spearman's rho"][0] == f"{rank_correlation_of_pairs(changes)['rho']:+.2f}"
    app.click_point("pairs", 3)
    a, b = changes["a"].iloc[3], changes["b"].iloc[3]
    assert (app.selected("D1"), app.selected("D2")) == (a, b)
    app.follow("The search behind it")
    assert (app.selected("D1"), app.selected("D2")) == (a, b)
