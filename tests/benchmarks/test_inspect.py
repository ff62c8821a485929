"""The benchmark of the inspect page runs on a workspace with an encoder and prints its figures."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main


def test_prints_figures_as_json(tiny: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "inspect",
                "--workspace",
                str(tiny[0]),
                "--model",
                tiny[1],
                "--repeats",
                "2",
                "--threads",
                "1",
            ]
        )
        == 0
    )
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"verdict_ratio", "heatmap_ratio", "plain_s", "verdict_s", "heatmap_s"} <= set(figures)
    assert figures["heatmap_s"] > 0 and figures["detectors"] == 2 and figures["images"] == 180
