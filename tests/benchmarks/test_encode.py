"""The encode benchmark on a small scale: every figure it promises, and sizes that are right."""

import json
from pathlib import Path

from benchmarks.encode import main
from tests.tiny_clip import make_tiny_clip


def test_small_scale(tmp_path: Path) -> None:
    model = make_tiny_clip(tmp_path)
    arguments = ["--models", model, "--repeats", "3", "--batch-size", "1", "--images", "20", "--device", "cpu"]
    result = json.loads(json.dumps(main(arguments)))
    assert result["overhead_ratio"] == result["models"][model]["ratio"] > 0
    assert result["models"][model]["bytes_an_image"] == 3 * 4 * 8 * 2 + 24 * 4 + 8
    assert result["memory"]["arrays_bytes_an_image"] == 24 * 4 * 64 * 2 + 256 * 4 + 8
    assert all(peak > 50 for peak in result["memory"]["peak_mib"])
