"""What users come for, on the embedded demo in a real browser: few clicks, and at their end the
number that the library gives.
"""

import shutil
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import ImageColor
from playwright.sync_api import expect

from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.methods import METHODS
from aigi_core.figures import DARK, LIGHT
from aigi_core.inspection.panel import build_panel
from aigi_core.statements import DEFAULT_RATE
from aigi_core.transfer import DEFAULT_METRIC, board, gallery
from aigi_core.workspace import Workspace, read_manifest
from benchmarks._app_in_browser import App
from tests.tiny_workspace import make_picture
from ui.toolkit.router import ROOT

pytestmark = pytest.mark.browser
DEMO = ROOT / "assets" / "demo"


@pytest.fixture(scope="module")
def demo() -> Workspace:
    return Workspace.open(DEMO)


@cache
def out_of_domain(demo: Workspace, method: str) -> float:
    """A method's mean over the pairs out of domain, from its stored scores: pages read a board
    that was stored with them.
    """
    matrix = board.stored_measured(demo, method).matrix(demo, (DEFAULT_METRIC,))
    return matrix.mean(DEFAULT_METRIC, ~matrix.in_domain).value


@pytest.fixture
def user(browser: Any, demo_url: str) -> Iterator[App]:
    """Somebody who opens the app for the first time."""
    app = App(browser, demo_url).open()
    yield app
    assert app.errors == []
    app.close()


def test_what_to_train_on_to_catch_two_generators(user: App) -> None:
    user.follow("What to train on")
    user.choose("Generators to catch", "midjourney-2022")
    assert set(user.query["tests"]) == {"midjourney-2022", "sd-beta", "sdxl"}
    answer = user.page.get_by_test_id("stMain").inner_text()
    assert "To catch " in answer and "on validation images" in answer
    assert (
        "The opened set is another" not in answer
    )  # the set that is recommended is the one that is open


def test_which_method_to_use_and_where_it_fails(user: App, demo: Workspace) -> None:
    user.navigate("Methods")
    first = board.stored_board(demo).iloc[0]
    assert user.stats[first["title"]][0] == f"{out_of_domain(demo, first['method']):.3f}"
    ridge = METHODS["ridge"].title
    user.choose("Opened method", ridge)
    user.follow("Its matrix, in Transfer")
    assert user.stats["Out of domain"][0] == f"{out_of_domain(demo, 'ridge'):.3f}"
    assert user.selected("Method") == ridge


def test_a_pair_of_the_papers_claim(user: App) -> None:
    user.navigate("Components")
    with user.redrawn():
        user.page.get_by_role("combobox", name="D1").press("ArrowDown")
        user.page.keyboard.press("Enter")
    assert "105 pairs" in user.page.get_by_test_id("stMain").inner_text()
    user.follow("Its matrix")
    assert "view" in user.query and "Out of domain" in user.stats


def test_two_ways_of_detecting_compared(user: App, demo: Workspace) -> None:
    user.navigate("Transfer")
    user.switch("Compare")
    user.choose("Feature view of B", "Embedding")
    user.choose("Method of B", "Ridge regression")
    a, b = (out_of_domain(demo, method) for method in ("logistic", "ridge"))
    answer = user.page.get_by_test_id("stMain").inner_text()
    assert f"A reaches {a:.3f}" in answer and f"B {b:.3f}" in answer
    assert f"{100 * (a - b):+.1f} points" in answer
    assert user.violations() == [] and user.fits


def test_whether_file_facts_explain_a_detector(user: App) -> None:
    user.follow("Which facts give which generator away")
    user.choose("Generator", "sdxl")
    answer = user.page.get_by_test_id("stMain").inner_text()
    assert "sdxl: \u25b2 file facts do as well" in answer and "What to do next" in answer
    user.follow("Does it survive compression?")
    assert user.title == "Do detectors survive compression, resizing and noise?"


def test_what_the_best_head_responds_to_in_words(user: App, demo: Workspace) -> None:
    user.navigate("Heads")
    best = score_heads(demo, user.selected("Trained on"), user.selected("Validated on"))
    first = best.table.iloc[0]
    assert user.stats["Best head alone"][0] == f"{first['accuracy']:.3f}"
    layer, head = int(first["layer"]), int(first["index"])
    assert user.selected("Opened head") == f"{layer}.{head}"  # it is open already
    assert user.page.locator(".st-key-grid-extreme-most figure").count() >= 4
    user.show_part("Words")
    words = user.alt("head-nearest")
    assert f"texts of layer {layer} head {head}" in words and "go beyond chance" in words


def test_the_most_certain_mistakes_and_why(user: App, demo: Workspace) -> None:
    user.navigate("Gallery")
    detector = train(demo, [user.selected("Trained on")])[0]
    scores = score_detectors([detector], demo)[0]
    images = gallery(demo, scores, demo.domains.generators[-1], threshold=detector.threshold)
    wrong = images[~images["right"]]
    for verdict in ("fake as real", "real as fake"):
        counted = f"{(wrong['verdict'] == verdict).sum()} of "
        assert counted in user.stats[verdict.capitalize()][1]
    user.choose("Verdict", "all mistakes")
    tiles = user.page.locator(".st-key-grid-all-mistakes button[data-key]")
    shown = tiles.evaluate_all("all => all.map(tile => tile.dataset.key)")
    assert shown == wrong["path"].head(len(shown)).tolist()
    with user.redrawn():
        tiles.first.click()
    dialog = user.page.get_by_role("dialog")
    for path, score in wrong[["path", "score"]].head(2).itertuples(index=False):
        expect(dialog.get_by_text(path).first).to_be_visible()
        expect(dialog.get_by_text(f"its score is {score:+.2f}")).to_be_visible()
        user.page.keyboard.press("ArrowRight")


def test_a_suspicious_image_before_all_detectors(user: App, demo: Workspace) -> None:
    user.navigate("Gallery")
    user.choose("Verdict", "fake as real")
    path = user.selected("Image")
    user.follow("Inspect this image")
    panel = build_panel(demo)  # joined by the mean, the rule that is chosen on the demo
    row = demo.images["path"].tolist().index(path)
    verdicts = panel.verdicts(panel.logits(demo, np.array([row]))[:, 0], DEFAULT_RATE)
    together, alone = verdicts.iloc[0], verdicts.iloc[1:]["verdict"]
    main = user.page.get_by_test_id("stMain").inner_text()
    stat = user.stats["Probability of being generated"]
    assert stat[0] == f"{together['probability']:.3f}"
    assert f"{together['low']:.3f} to {together['high']:.3f}" in stat[1]
    assert f"and {(alone == 'uncertain').sum()} leave it undecided" in main
    assert "A generator that it does not know" in main and "left undecided" in main
    assert main.index("A generator that it does not know") < main.index("On test images of known")


def test_a_figure_into_a_paper_from_the_dark_theme(browser: Any, demo_url: str) -> None:
    pytest.importorskip("kaleido", reason="needs requirements-export.txt")
    user = App(browser, demo_url, scheme="dark").open("transfer")
    svg = user.download("matrix", "Download the figure")
    light, dark = (f"rgb{ImageColor.getrgb(theme.muted)}" for theme in (LIGHT, DARK))
    assert svg.startswith("<svg") and "fill: rgb(255, 255, 255)" in svg
    assert light in svg and dark not in svg
    user.close()


def test_a_generator_is_dropped_in_and_added_for_good(
    serve: Any, browser: Any, tiny: tuple[Any, str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job runs beside the app: it can be stopped by the keyboard where it was begun, its page
    may be left, and all pages show what it made. On a narrow screen, where controls are folded, all
    that it needs is in sight.
    """
    workspace, images = shutil.copytree(tiny[0], tmp_path / "w"), tmp_path / "images"
    images.mkdir()
    for i in range(12):
        make_picture(5, i).save(images / f"{i}.png")
    monkeypatch.setenv("AIGI_WEIGHTS", tiny[1])
    app = App(browser, serve(workspace).url, scheme="dark", width=800).open("new_generator")
    app.fill("What the generator is called", "mine")
    app.fill("Or a folder on this machine", str(images))
    before, stop = read_manifest(workspace), app.page.get_by_role("button", name="Stop adding")
    add = app.page.get_by_role("button", name="Add to the workspace")
    for goes_on in (False, True):
        add.press("Enter")
        app.page.get_by_role("button", name="Add them now").press("Enter")
        expect(stop).to_be_in_viewport()
        if goes_on:
            break
        stop.press("Enter")
        app.page.get_by_text("The workspace has not changed.").wait_for()
        app.settled()
        assert read_manifest(workspace) == before
        assert app.errors == [] and app.violations() == [] and app.fits
    app.navigate("Overview")
    app.navigate("New generator")
    app.page.get_by_text("All pages now include the new generator.").wait_for()
    app.settled()
    assert app.errors == [] and app.violations() == [] and app.fits
    app.follow("Its column, in Transfer")
    assert "mine" in app.alt("matrix") or "mine" in app.page.inner_text("body")
    assert app.errors == []
    assert (Workspace.open(workspace).images["generator"] == "mine").sum() == 12
    app.close()
