"""The audit page in a real browser: numbers, a click, the keyboard, a download, looks."""

import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from aigi_core.audit.cached import AuditSettings, save_audit
from aigi_core.audit.report import Audit, audit
from aigi_core.audit.verdict import to_frame
from aigi_core.metrics import DEFAULT_METRIC
from benchmarks._app_in_browser import App
from tests.audit.factory import SIZED, planted_images, workspace

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def audited(
    serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Audit]:
    """The address of a server on a confounded workspace, and its audit."""
    images = planted_images()
    twins = images.index[(images["generator"] == "") & (images["pool"] == "general")][
        [0, 12, 1, 13]
    ]
    images.loc[twins[[1, 3]], "content_hash"] = images.loc[twins[[0, 2]], "content_hash"].to_numpy()
    made = workspace(tmp_path_factory.mktemp("audited") / "w", images)
    result = audit(made)
    save_audit(made, result, AuditSettings())
    return serve(made.path).url, result


@pytest.fixture
def page(browser: Any, audited: tuple[str, Audit]) -> Any:
    app = App(browser, audited[0])
    yield app
    app.close()


def test_numbers_by_deep_link(page: App, audited: tuple[str, Audit]) -> None:
    result = audited[1]
    page.page.emulate_media(color_scheme="dark")
    page.open("audit", test=SIZED)
    for name, matrix in (
        ("Detectors", result.detector),
        ("Facts of stored files", result.facts["stored"]),
    ):
        mean = matrix.mean(DEFAULT_METRIC, matrix.in_domain)
        assert (
            page.stats[name][0] == f"{mean.value:.3f}"
            and f"{mean.low:.3f} to {mean.high:.3f}" in page.stats[name][1]
        )
    [verdict] = [verdict for verdict in result.verdicts if verdict.generator == SIZED]
    page.page.get_by_text("The evidence, with n and intervals").click()
    page.page.get_by_text(verdict.sentences[-1]).wait_for()
    text = page.page.locator("[data-testid=stMain]").inner_text()
    assert page.errors == [] and all(sentence in text for sentence in verdict.sentences)
    rows = pd.read_csv(io.StringIO(page.download("verdicts", "Table as CSV")))
    pd.testing.assert_frame_equal(rows, to_frame(result.verdicts), check_dtype=False)
    assert page.resize(800, 1000).still().violations() == [] and page.fits


def test_click_a_line_and_choose_by_keyboard(page: App, audited: tuple[str, Audit]) -> None:
    names = [verdict.generator for verdict in audited[1].verdicts]
    page.open("audit", test=SIZED)
    assert page.violations() == [] and page.fits
    page.click_point("verdicts", 0)
    page.wait_for_query("test", names[0])
    assert page.selected("Generator") == names[0]
    assert "What to do next" in page.page.locator("[data-testid=stMain]").inner_text()
    page.choose("Distribution of", "width")
    page.wait_for_query("fact", "width")
    assert "each value of width" in page.alt("shares")


def test_a_pair_across_splits_is_opened(page: App, audited: tuple[str, Audit]) -> None:
    page.open("audit", part="Duplicates", pairs="across splits")
    pairs = audited[1].duplicates.pairs
    buttons = page.page.get_by_role("button", name="Open: real image")
    assert buttons.count() == 2 * int(pairs["across_split"].sum()) == 4
    with page.redrawn():
        buttons.last.click()
    assert page.query["pair"] == [page.selected("Opened pair")] and page.errors == []
