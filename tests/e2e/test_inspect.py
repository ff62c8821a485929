"""The inspect page in a real browser: a real upload, hostile ones, clicks on the map, links,
looks.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.workspace_encoder import VARIABLE
from aigi_core.images import load_rgb
from aigi_core.inspection.intake import encode
from aigi_core.inspection.panel import build_panel
from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App
from tests.precompute.corpus import encoded
from tests.precompute.hostile import RAW, png
from tests.tiny_workspace import make_picture

pytestmark = pytest.mark.browser
FEW_BYTES = """
import os, sys
from streamlit.web.cli import main
from ui.toolkit import uploads
uploads.SESSION_BYTES = 9 * uploads.MiB
sys.argv = ["streamlit", "run", "app.py", "--server.port", os.environ["PORT"]]
main()
"""
"""Starts the server with a cap that a test reaches soon."""
EVIL = "<script>alert(1)<img src=x onerror=alert(2)>.png"


@pytest.fixture(scope="module")
def inspecting(serve: Callable[..., Any], tiny: tuple[Path, str]) -> Any:
    """A server on a workspace whose encoder can be loaded."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = tiny[1]
    try:
        return serve(tiny[0], str(tiny[0].parent / "images"), [sys.executable, "-c", FEW_BYTES])
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@pytest.fixture
def inspect(browser: Any, inspecting: Any) -> Iterator[App]:
    app = App(browser, inspecting.url)
    yield app
    app.close()


def upload(app: App, *files: tuple[str, bytes]) -> None:
    payload = [
        {"name": name, "mimeType": "image/png", "buffer": content} for name, content in files
    ]
    with app.redrawn():
        app.page.get_by_test_id("stFileUploader").locator("input[type=file]").set_input_files(
            payload
        )


def expected_verdict(tiny: tuple[Path, str], content: bytes) -> tuple[str, str]:
    workspace, encoder = Workspace.open(tiny[0]), load_encoder(tiny[1], None, device="cpu")
    panel = build_panel(workspace)
    images = encode(encoder, [encoder.preprocessing.pixels(load_rgb(content).image)], workspace)
    logit = float(panel.logits(images)[0, 0])
    return f"{panel.probability(0, logit)[0]:.3f}", f"{logit:+.2f}"


def test_what_is_beyond_the_limits_is_refused_in_words(inspect: App, tmp_path: Path) -> None:
    inspect.open("inspect")
    main = inspect.page.get_by_test_id("stMain")
    upload(inspect, ("small.png", encoded(make_picture(1, 801))), ("big<b>.png", bytes(9 * 2**20)))
    expect(main).to_contain_text("1 file was refused: big<b>.png. At most")
    expect(main).to_contain_text("9 MiB are held for you: remove some, then add these again.")
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(21 * 2**20)
    field = inspect.page.get_by_test_id("stFileUploader").locator("input[type=file]")
    field.set_input_files(large)
    expect(main).to_contain_text("File must be 20.0MB or smaller.")
    expect(main).not_to_contain_text("AxiosError")


def test_an_upload_is_judged_and_shown(inspect: App, tiny: tuple[Path, str]) -> None:
    content = encoded(make_picture(1, 800))
    inspect.open("inspect")
    before = inspect.stats
    upload(inspect, ("mine.png", content))
    expect(inspect.page.get_by_test_id("stMain")).to_contain_text("mine.png")
    probability, logit = expected_verdict(tiny, content)
    expect(inspect.page.locator(".aigi-stats b").first).to_have_text(probability)
    assert (
        inspect.stats != before
        and inspect.stats["Logit, not calibrated"][0] == logit
        and inspect.errors == []
    )
    assert "map of 4 by 4 patches" in inspect.alt("map")
    point = inspect.chart("map").locator(".scatterlayer .point").nth(6)
    with inspect.redrawn():
        point.click(force=True)
    inspect.wait_for_query("patch", "1.2")
    expect(inspect.page.get_by_test_id("stMain")).to_contain_text("Without 9 patches")
    report = inspect.download_report()
    assert "mine.png" in report and probability in report
    assert inspect.violations() == [] and inspect.fits
    assert inspect.download("judges", "Table as CSV").startswith("detector,logit,probability")


def test_hostile_uploads_are_one_line_each_and_the_others_go_on(inspect: App) -> None:
    inspect.page.emulate_media(color_scheme="dark")
    inspect.open("inspect")
    good = encoded(make_picture(1, 801))
    upload(
        inspect,
        ("cut.png", good[: len(good) // 3]),
        ("text.jpg", b"<script>alert(1)</script>"),
        ("bomb.png", png(100_000, 100_000, RAW)),
        (EVIL, good),
        ("second.png", encoded(make_picture(2, 802))),
    )
    main = inspect.page.get_by_test_id("stMain")
    expect(main).to_contain_text("3 of 5 files cannot be used")
    for line in ("cut.png: truncated", "text.jpg: not an image", "bomb.png: too large"):
        expect(main).to_contain_text(line)
    expect(main).to_contain_text("All files")
    inspect.settled()
    assert inspect.errors == [] and inspect.dialogs == []
    assert inspect.page.locator("img[src='x']").count() == 0
    assert "map of 4 by 4 patches" in inspect.alt("map")
    expect(main).to_contain_text(f"{EVIL} a probability of")  # the first of several is open
    inspect.choose("Opened file", "second.png")
    expect(main).to_contain_text("second.png a probability of")
    assert inspect.resize(800, 1000).still().violations() == [] and inspect.fits


def test_a_link_reproduces_an_image_of_the_workspace(
    inspect: App, browser: Any, tiny: tuple[Path, str]
) -> None:
    workspace = Workspace.open(tiny[0])
    row = int(
        np.flatnonzero((workspace.domains.split == "test") & (workspace.domains.labels == 1))[1]
    )
    path = str(workspace.images["path"][row])
    inspect.open(
        "inspect",
        image=path,
        rate="20%",
        map="1",
        patch="2.1",
        side="2",
        detector="two",
    )
    assert inspect.errors == [] and inspect.violations() == [] and inspect.fits
    other = App(browser, inspect.base, scheme="dark")
    other.page.goto(inspect.share_link())
    other.settled()
    assert other.stats == inspect.stats and other.alt("map") == inspect.alt("map")
    assert (
        other.selected("Or an image of the workspace") == path
        and other.selected("Detector") == "two"
    )
    assert other.resize(800, 1000).still().violations() == [] and other.fits
    other.close()
    inspect.show_part("After changes")
    inspect.switch("Change the image and score it again")
    assert inspect.errors == [] and "31 changed copies" in inspect.alt("survival")
    assert inspect.query["patch"] == ["2.1"]  # links keep what another part shows


def test_without_an_encoder_the_page_still_answers(app: App) -> None:
    """The synthetic workspace's model does not exist: an upload is one sentence, the workspace's
    images go on.
    """
    app.open("inspect")
    before = app.stats
    upload(app, ("mine.png", encoded(make_picture(1, 803))))
    expect(app.page.locator('[data-testid="stAlertContentError"]')).to_have_count(1)
    assert app.stats == before


def test_the_gallery_leads_here(app: App) -> None:
    app.open("gallery", image="general/beta-diff/0017.png", train="beta-diff", tests="beta-diff")
    with app.redrawn():
        app.page.get_by_role("link", name="Inspect this image").click()
    assert app.title.startswith("Is this image generated")
    app.wait_for_query("image", "general/beta-diff/0017.png")
    assert (
        app.selected("Or an image of the workspace") == "general/beta-diff/0017.png"
        and app.errors == []
    )
