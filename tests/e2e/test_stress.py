"""The stress page in a real browser: numbers, a click, the keyboard, a download, looks."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aigi_core.stress import CLEAN, Stress, stress
from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App
from tests.factory import make_workspace
from tests.stress.factory import EVERY, add_copies

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(
    serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Stress]:
    """The address of a server on a workspace with perturbed copies, and what they show."""
    path = make_workspace(tmp_path_factory.mktemp("stressed") / "w", per_class=80)
    X, rng = np.array(Workspace.open(path).embeddings), np.random.default_rng(0)
    for op, size, splits in (
        ("jpeg:70", 0.5, ("test",)),
        ("jpeg:30", 8.0, EVERY),
        ("blur:2", 1.0, ("test",)),
    ):
        add_copies(path, op, X + size * rng.standard_normal(X.shape), splits)
    return serve(path).url, stress(Workspace.open(path), metrics=("balanced_accuracy",))


@pytest.fixture
def page(browser: Any, served: tuple[str, Stress]) -> Any:
    app = App(browser, served[0])
    yield app
    app.close()


def test_numbers_by_deep_link(page: App, served: tuple[str, Stress]) -> None:
    page.open("stress", op="JPEG 30")
    assert page.violations() == [] and page.fits
    table = served[1].summary().query("side == 'both'").set_index(["op", "cells"])
    for label, op in (("Clean", CLEAN), ("Perturbed", "jpeg:30")):
        row = table.loc[(op, "in-domain")]
        value, details = page.stats[f"{label}, in-domain"]
        assert (
            value == f"{row['value']:.3f}" and f"{row['low']:.3f} to {row['high']:.3f}" in details
        )
    assert (
        page.errors == []
        and f"JPEG 30 {100 * table.loc[('jpeg:30', 'in-domain'), 'change']:+.1f}"
        in page.alt("sides")
    )
    page.show_part("Before and after")
    rows = pd.read_csv(io.StringIO(page.download("difference", "Table as CSV")))
    np.testing.assert_allclose(rows["value"], served[1].change("jpeg:30").to_frame()["value"])


def test_click_an_operation_and_choose_by_keyboard(page: App) -> None:
    page.page.emulate_media(color_scheme="dark")
    page.open("stress", op="JPEG 30")
    page.click_point("sides", 0)  # operations are in order of kind and strength: blur first
    page.wait_for_query("op", "blur 2 px")
    assert page.selected("Operation") == "blur 2 px"
    page.choose("Applied to", "Fakes only")
    page.wait_for_query("side", "Fakes only")
    assert "fakes only" in page.alt("generators") and page.errors == []
    page.show_part("Training on copies")
    page.choose("Training images", "copies only: JPEG 30")
    page.wait_for_query("copies", "copies only: JPEG 30")
    assert page.errors == []
    assert page.resize(800, 1000).still().violations() == [] and page.fits


def test_without_copies_the_page_names_the_command(app: App) -> None:
    app.open("stress")
    assert (
        app.errors == []
        and "python -m precompute perturb" in app.page.get_by_test_id("stAlert").inner_text()
    )
    assert app.violations() == []
