"""The encode benchmark on a small scale: every figure it promises, and sizes that are right."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks._memory import peak_resident_bytes
from benchmarks.encode import FAMILIES, main
from tests.tiny_clip import make_tiny_clip


def test_small_scale(tmp_path: Path) -> None:
    model = make_tiny_clip(tmp_path)
    arguments = [
        "--models",
        model,
        "--repeats",
        "3",
        "--batch-size",
        "1",
        "--images",
        "20",
        "--device",
        "cpu",
    ]
    result = json.loads(json.dumps(main(arguments)))
    assert result["overhead_ratio"] == result["models"][model]["ratio"] > 0
    assert result["models"][model]["bytes_an_image"] == 3 * 4 * 8 * 2 + 24 * 4 + 8
    assert result["memory"]["arrays_bytes_an_image"] == 24 * 4 * 64 * 2 + 256 * 4 + 8
    assert all(peak > 50 for peak in result["memory"]["peak_mib"])


def test_one_model_of_each_family_is_measured_and_documented() -> None:
    documents = Path(__file__).parents[2] / "docs"
    known, measured = ((documents / f"{n}.md").read_text() for n in ("encoders", "benchmarks"))
    for model, family in FAMILIES.items():
        assert f"| {model} |" in known and f"| {family} | {model} |" in measured


def test_peak_is_of_the_process_itself() -> None:
    ballast = np.ones(500 * 2**20, np.uint8)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        child = pool.submit(peak_resident_bytes).result()
    assert 0 < child < peak_resident_bytes() - ballast.nbytes // 2
