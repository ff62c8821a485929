"""The benchmark of many images runs on a small setting and prints its figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main

NAMED = {
    "matrix_1m_seconds",
    "passes_over_map",
    "bootstrap_1m_seconds",
    "bootstrap_disagreement",
    "peak_gb",
    "search_growth",
    "app_1m_first_page_seconds",
    "app_1m_warm_median_seconds",
    "ray_identical",
    "ray_overhead_ratio",
}
"""Figures that the requirement of millions of images is read from."""


def test_prints_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--images",
        "3000",
        "--generators",
        "3",
        "--width",
        "32",
        "--search-rows",
        "80",
        "160",
    ]
    options += ["--engine-search", "0", "0", "--pages"]  # test_app.py measures the app
    small = ["--search-rows", "40", "80", "--engine-search", "0", "0", "--pages"]
    folder = str(tmp_path / "workspace")
    assert main(["scale", *options, "--folder", folder]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["images"], figures["generators"], figures["width"]) == (3000, 3, 32)
    assert figures["finite"] and figures["passes_over_map"] >= figures["passes_float64"] > 0
    assert figures["bootstrap_disagreement"] < 0.2
    assert set(figures) >= NAMED
    assert np.isfinite(figures["search_growth"]) and min(figures["search_seconds"]) > 0
    assert (
        main(["scale", "--folder", folder, "--width", "8", *small]) == 0
    )  # what was written before is used again
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 3000
    assert main(["scale", "--parts", "search", "--width", "8", "--search-rows", "40", "80"]) == 0
    alone = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(alone) >= NAMED and np.isfinite(alone["search_growth"])
    assert alone["matrix_1m_seconds"] is alone["ray_identical"] is None


@pytest.mark.slow(
    "tests/precompute/test_engine.py::test_a_search_by_ray_stores_what_a_local_one_does"
)
def test_searches_by_both_engines_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "--parts", "engines", "--engine-search", "40", "40"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures) >= NAMED and figures["ray_identical"] in (1, None)
