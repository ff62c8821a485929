"""The ingest benchmark on a small scale: every figure that it promises."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main


@pytest.mark.parametrize("processes", [1, 2])
def test_small_scale(processes: int, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--files", "36", "--side", "32", "--repeats", "1"]
    assert main(["ingest", *size, "--processes", str(processes)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for kind in ("folder", "parquet", "tar"):
        assert figures[f"{kind}_overhead_ratio"] > 0
    assert figures["ingest_overhead_ratio"] == max(
        figures[f"{kind}_overhead_ratio"] for kind in ("folder", "parquet", "tar")
    )
    assert figures["parquet_peak_mb_10x"] > 10
    assert figures["processes"] == processes
    assert ("tar_cpu_overhead_ratio" in figures) == (processes == 1)
