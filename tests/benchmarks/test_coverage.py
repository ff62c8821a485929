"""A small seeded version of the benchmark ``coverage``: each promise, within the noise of few
simulations."""

import numpy as np

from benchmarks import coverage


def test_promises_hold(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(coverage, "SIZES", ((15, 30), (30, 210)))
    monkeypatch.setattr(coverage, "RATES", (0.02, 0.867, 0.99))
    monkeypatch.setattr(coverage, "AREAS", (0.9, 0.99))
    monkeypatch.setattr(coverage, "FEW_SHOT", coverage.FEW_SHOT[::4])
    small = coverage.measure(
        rates=500,
        rankings=60,
        means=20,
        few_shot=30,
        draws=100,
        thresholds=400,
        trainings=10,
        nulls=500,
        matrices=20,
    )
    for name, one in small["coverage"].items():
        n = 500 if "accuracy" in name else 20 if "mean" in name else 30 if "few" in name else 60
        assert one["worst"] > 0.93 - 3 * np.sqrt(0.93 * 0.07 / n), (name, one)
    assert small["false_alarm_error"] < 0.025
    assert small["null_p_error"] < 0.03
    assert small["global_null_rate"] <= 0.2
    assert set(small["simulations"]) and small["simulations"]["null_matrices"] == 20
