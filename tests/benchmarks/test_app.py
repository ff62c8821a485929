"""The benchmark of the app drives a real browser and prints its figures."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks._server import chromium

pytestmark = pytest.mark.browser


@pytest.mark.skipif(
    not chromium(),
    reason="needs a Chromium browser: install Debian's chromium or set AIGI_CHROMIUM",
)
def test_prints_figures_as_json(
    synthetic_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIGI_PREPARE", "first")  # few pages: the others would be got ready in vain
    arguments = ["--pages", "overview", "train", "--sessions", "2", "--repeats", "1"]
    arguments += ["--rounds", "1", "--of-a-kind", "1", "--workspace", str(synthetic_path)]
    with ThreadPoolExecutor(1) as alone:  # another browser's loop may run in this thread
        assert alone.submit(main, ["app", *arguments]).result() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["sessions2_errors"] == 0 and figures["sessions2_rss_mb"] >= 50
    assert 0 < figures["first_answer_seconds"] <= figures["first_page_seconds"]
    assert figures["first_page_ratio"] == pytest.approx(
        figures["first_page_seconds"] / figures["bare_page_seconds"], abs=0.01
    )
    assert set(figures["pages"]) == {"overview", "train"}
    kinds = {"train metric", "train unseen", "overview part"}
    # a select box, a toggle, a segmented control
    assert kinds <= set(figures["controls"]) and figures["warm_median_seconds"] > 0


def test_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.app.chromium", lambda: None)
    assert main(["app"]) == 2
    assert "Chromium" in capsys.readouterr().err
