"""The transfer page in a real browser: links, clicks, downloads, names with HTML, looks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aigi_core.calibration.thresholds import cell_reliability, held_out_scores
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.manifest import FAKE
from aigi_core.transfer import TransferMatrix, open_cell, transfer_matrix
from aigi_core.workspace import Workspace
from benchmarks import _small_workspace
from benchmarks._app_in_browser import App
from tests.conftest import ROOT
from ui.bodies.transfer import opening_cell

pytestmark = pytest.mark.browser
HOSTILE = '<img src=x onerror=alert(1)><b>"x"</b> %{x} `$a$` :smile:'


@pytest.fixture(scope="module")
def scores(synthetic: Workspace) -> Any:
    return score_detectors(
        train(synthetic, synthetic.domains.generators, protocol=Protocol(class_weight="balanced")),
        synthetic,
    )


@pytest.fixture(scope="module")
def matrix(synthetic: Workspace, scores: Any) -> TransferMatrix:
    return transfer_matrix(
        scores, synthetic.domains, synthetic.domains.generators, metrics=("balanced_accuracy",)
    )


def wait_for_cell(app: App, matrix: TransferMatrix, row: int, column: int) -> None:
    """Until a cell is open; a default stays out of the link."""
    first = opening_cell(matrix, "balanced_accuracy")
    app.wait_for_query("train", None if row == first[0] else matrix.train_names[row])
    app.wait_for_query("test", None if column == first[1] else matrix.test[column])


def test_click_a_cell_and_read_its_numbers(
    app: App, matrix: TransferMatrix, scores: Any, synthetic: Workspace
) -> None:
    app.open("transfer")
    ood = matrix.mean("balanced_accuracy", ~matrix.in_domain)
    assert app.stats["Out of domain"][0] == f"{ood.value:.3f}"
    first = opening_cell(matrix, "balanced_accuracy")
    assert app.selected("Detector trained on") == matrix.train_names[first[0]]
    assert app.selected("Tested on") == matrix.test[first[1]]
    app.click_cell("matrix", 1, 2)
    wait_for_cell(app, matrix, 1, 2)
    assert (app.selected("Detector trained on"), app.selected("Tested on")) == (
        matrix.train_names[1],
        matrix.test[2],
    )
    cell = open_cell(scores[1], synthetic.domains, matrix.test[2])
    histogram = app.alt("scores")
    assert (
        f"{int((cell.labels == 0).sum())} real images and {int((cell.labels == 1).sum())} fakes"
        in histogram
    )
    fpr, tpr = cell.rates(0.0)
    assert f"own: {fpr:.2f}, {tpr:.2f}" in app.alt("roc")
    app.click_cell("matrix", 1, 2)  # a second click on the same cell keeps it
    wait_for_cell(app, matrix, 1, 2)
    app.click_cell("matrix", 3, 0)
    wait_for_cell(app, matrix, 3, 0)
    report = app.download_report()
    assert f"{ood.value:.3f}" in report and "Plotly.newPlot" in report
    table = app.download("matrix", "Table as CSV").splitlines()
    assert table[0].startswith("train,test,")
    assert len(table) == 1 + matrix.values["balanced_accuracy"].size


def test_a_cells_mistakes_are_beside_it_and_open_large(
    app: App, matrix: TransferMatrix, scores: Any, synthetic: Workspace
) -> None:
    app.open("transfer", train=matrix.train_names[1], test=matrix.test[2], bias="0")
    wrong = int(open_cell(scores[1], synthetic.domains, matrix.test[2]).mistakes(FAKE).shape[0])
    assert wrong and app.errors == []
    tile = app.page.locator(".st-key-grid-summary-1 button[data-key]").first
    path = str(tile.get_attribute("data-key"))
    with app.redrawn():
        tile.focus()
        tile.press("Enter")
    dialog = app.page.get_by_role("dialog")
    link = str(dialog.get_by_role("link", name="Inspect this image").get_attribute("href"))
    assert parse_qs(urlsplit(link).query)["image"] == [path]
    app.page.keyboard.press("Escape")
    app.follow("All its images")
    app.wait_for_query("tests", matrix.test[2])
    assert app.title.startswith("Which images") and app.query["bias"] == ["0"]
    assert app.selected("Detector trained on") == matrix.train_names[1]


def test_a_copied_link_reproduces_the_view_and_it_is_kept_on_other_pages(
    app: App, browser: Any, server: Any, matrix: TransferMatrix
) -> None:
    app.open("transfer")
    default = matrix.test.index(app.selected("Tested on"))
    app.choose("Metric", "Equal error rate")
    app.wait_for_query("metric", "Equal error rate")
    other = (default + 1) % len(matrix.test)
    app.click_cell("matrix", 2, other)
    app.settled()
    assert app.selected("Tested on") == matrix.test[other]
    link = app.share_link()
    seen = App(browser, server.url)
    seen.page.goto(link)
    seen.settled()
    assert (
        seen.selected("Metric") == "Equal error rate"
        and seen.selected("Tested on") == matrix.test[other]
    )
    assert seen.stats == app.stats
    seen.navigate("Overview")
    assert seen.title.startswith("What is in this workspace")
    seen.navigate("Transfer")
    seen.wait_for_query("train", matrix.train_names[2])
    assert seen.selected("Metric") == "Equal error rate"
    seen.close()


def test_the_demo_by_deep_link_on_a_fresh_server(browser: Any, serve: Callable[..., Any]) -> None:
    app = App(browser, serve().url).open("transfer", train="sd-1.4", test="gpt-4o")
    demo = Workspace.open(ROOT / "assets" / "demo")
    names = demo.domains.generators
    detectors = train(demo, names, protocol=Protocol(class_weight="balanced"))
    result = transfer_matrix(
        score_detectors(detectors, demo), demo.domains, names, metrics=("balanced_accuracy",)
    )
    assert (
        app.stats["Out of domain"][0]
        == f"{result.mean('balanced_accuracy', ~result.in_domain).value:.3f}"
    )
    app.click_cell("matrix", 3, 14)
    app.wait_for_query("train", names[3])
    i, j = 3, 14
    right = result.confusion[i, j]
    cell = open_cell(score_detectors([detectors[i]], demo)[0], demo.domains, names[j])
    assert f"{result.n_real[j]} real images and {result.n_fake[j]} fakes of {names[j]}" in app.alt(
        "scores"
    )
    assert (
        f"own: {right[0, 1] / right[0].sum():.2f}, {right[1, 1] / right[1].sum():.2f}"
        in app.alt("roc")
    )
    assert cell.rates(0.0) == (right[0, 1] / right[0].sum(), right[1, 1] / right[1].sum())
    assert app.errors == []
    app.close()


def test_names_may_be_anything(
    browser: Any, serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = _small_workspace.GENERATORS[1:]
    monkeypatch.setattr(_small_workspace, "GENERATORS", ((HOSTILE, "gan", "faces"), *others))
    path = _small_workspace.make_workspace(tmp_path / "hostile")
    app = App(browser, serve(path).url, scheme="dark")
    app.open("transfer", train=HOSTILE, test=HOSTILE, compare="1")
    assert app.errors == [] and app.selected("Detector trained on") == HOSTILE
    assert HOSTILE in app.page.get_by_test_id("stMain").inner_text()
    assert app.page.locator("img[src='x']").count() == 0 and app.dialogs == []
    app.click_cell("matrix", 1, 0)
    app.settled()
    assert app.selected("Detector trained on") == "delta-ar"
    report = app.download_report()
    assert "<img src=x" not in report
    assert app.resize(800, 1000).still().violations() == [] and app.fits
    app.close()


def test_a_cells_probabilities_under_another_calibration(app: App, synthetic: Workspace) -> None:
    app.open("transfer", train="beta-diff", test="gamma-diff")
    app.show_part("Threshold and probabilities")
    scores = held_out_scores(synthetic, ["beta-diff"])[0]
    for shown, method in (("", "platt"), ("temperature", "temperature")):
        if shown:
            app.choose("Calibrated on validation", shown)
            app.wait_for_query("calibrated", shown)
        _, error = cell_reliability(scores, synthetic.domains, "beta-diff", "gamma-diff", method)
        assert (
            f"Expected calibration error {error.ece:.3f}" in app.alt("reliability")
            and app.errors == []
        )
