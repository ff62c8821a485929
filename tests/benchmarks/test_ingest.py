"""The ingest benchmark on a small scale: every figure that it promises."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main


def test_small_scale(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest", "--files", "12", "--side", "32", "--repeats", "1"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for kind in ("folder", "parquet", "tar"):
        assert figures[f"{kind}_overhead_ratio"] > 0
    assert figures["ingest_overhead_ratio"] == max(
        figures[f"{kind}_overhead_ratio"] for kind in ("folder", "parquet", "tar")
    )
    assert figures["parquet_peak_mb_10x"] > 10
