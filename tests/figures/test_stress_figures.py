"""Figures of stress tests: what they draw is in the tables, whichever way an operation grows
harder.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aigi_core import figures
from aigi_core.figures.stress import op_name
from aigi_core.stress import AUGMENTED, CLEAN

SUMMARY = pd.DataFrame(
    [
        dict(
            trained=CLEAN,
            op=op,
            side=side,
            cells=cells,
            change=change,
            change_low=change - 0.1,
            change_high=change + 0.1,
            n=4,
        )
        for cells, scale in (("in-domain", 1), ("ood", 0.5))
        for op, side, change in [
            (CLEAN, "both", 0),
            ("blur:2", "both", -0.2 * scale),
            ("blur:2", "fake", -0.3 * scale),
            ("blur:2", "real", 0.1 * scale),
            ("jpeg:30", "both", -0.05),
            ("jpeg:30", "fake", -0.05),
            ("jpeg:30", "real", 0),
        ]
    ]
)


def generators() -> pd.DataFrame:
    rows = []
    for name, loss in (("a", 0.1), ("b", 0.2)):
        for op, kind, strength in (
            (CLEAN, CLEAN, np.nan),
            ("jpeg:70", "jpeg", 70),
            ("jpeg:30", "jpeg", 30),
            ("blur:2", "blur", 2),
        ):
            value = 0.9 - (
                0 if op == CLEAN else loss * (100 - strength) / 70 if kind == "jpeg" else loss
            )
            for cells in ("in-domain", "ood"):
                rows.append(
                    dict(
                        name=name,
                        trained=CLEAN,
                        op=op,
                        kind=kind,
                        strength=strength,
                        side="both",
                        cells=cells,
                        value=value,
                        low=value - 0.1,
                        high=value + 0.1,
                        change=value - 0.9,
                        change_low=value - 1,
                        change_high=value - 0.8,
                        q_value=0.01 if name == "b" else 0.5,
                        n=1,
                    )
                )
    return pd.DataFrame(rows)


def test_operations_on_both_classes_and_on_one() -> None:
    drawn = figures.side_changes(SUMMARY, "in-domain", selected="blur 2 px")
    assert [trace.name for trace in drawn.data] == [
        "both classes",
        "fakes only",
        "real images only",
    ]
    assert [list(trace.x) for trace in drawn.data] == [[-20, -5], [-30, -5], [10, 0]]
    assert [list(c) for c in drawn.data[0].customdata] == [["blur 2 px"], ["JPEG 30"]]
    assert "blur 2 px -20.0" in figures.alt_text(drawn)
    assert list(figures.side_changes(SUMMARY, "ood").data[0].x) == [-10, -5]


@pytest.mark.parametrize(
    ("kind", "strengths", "reversed_"), [("jpeg", [30, 70, 100], True), ("blur", [0, 2], False)]
)
def test_curves_run_from_clean_to_hard(kind: str, strengths: list[float], reversed_: bool) -> None:
    drawn = figures.strength_curves(generators(), kind, "in-domain", ["b"], {})
    line = drawn.data[-1]
    assert list(line.x) == strengths and (drawn.layout.xaxis.autorange == "reversed") is reversed_
    assert line.y[
        strengths.index(100 if kind == "jpeg" else 0)
    ] == 0.9 and "b from 0.900 to 0.700" in figures.alt_text(drawn)


def test_changes_by_generator() -> None:
    drawn = figures.generator_changes(
        generators(), "jpeg:30", "ood", "both", {}, theme=figures.DARK
    )
    np.testing.assert_allclose(drawn.data[0].x, [-10, -20])
    assert (
        "1 change at a false discovery rate of 5%; lowest is b with -20.0 points"
        in figures.alt_text(drawn)
    )


def test_gains_and_names() -> None:
    gains = pd.DataFrame(
        {
            "op": [CLEAN, "jpeg:30"],
            "cells": ["in-domain", "ood"],
            "value": [0.1, -0.1],
            "low": [0, -0.2],
            "high": [0.2, 0],
            "n": [2, 2],
        }
    )
    drawn = figures.training_gains(gains)
    assert [trace.name for trace in drawn.data] == ["in-domain", "out of domain"]
    assert "clean in-domain +10.0, JPEG 30 out of domain -10.0" in figures.alt_text(drawn)
    assert [op_name(op) for op in (CLEAN, AUGMENTED, "resize:.5", "screenshot")] == [
        CLEAN,
        AUGMENTED,
        "resize 0.5",
        "screenshot",
    ]


def test_components_and_heads() -> None:
    stability = pd.DataFrame(
        {
            "component": range(4),
            "correlation": [0.9, 0.5, np.nan, 0.7],
            "shift": [0, 0.1, np.nan, -0.2],
            "low": 0.4,
            "high": 1.0,
            "n": 30,
        }
    )
    drawn = figures.component_scatter(stability, "blur:2")
    assert drawn.data[0].hovertext[0].endswith("0.900<br>95% interval: 0.400 to 1.000<br>30 images")
    assert list(drawn.data[0].y) == [0.9, 0.5, 0.7] and "3 components" in figures.alt_text(drawn)
    heads = pd.DataFrame(
        {
            "layer": [0, 0, 1, 1],
            "head": [0, 1, 0, 1],
            "clean": 0.8,
            "perturbed": [0.5, 0.8, 0.9, 0.7],
            "change": [-0.3, 0, 0.1, -0.1],
            "change_low": -0.4,
            "change_high": 0.2,
            "n_real": 9,
            "n_fake": 4,
            "q_value": [0.01, 1, 0.2, 0.04],
        }
    )
    drawn = figures.robust_head_map(heads, "blur:2")
    strong, faded = drawn.data[0].z, drawn.data[-1].z
    np.testing.assert_allclose(np.where(np.isnan(strong), faded, strong), [[-0.3, 0], [0.1, -0.1]])
    assert "2 lose accuracy at a false discovery rate" in figures.alt_text(drawn)
    numbers = next(trace for trace in drawn.data if trace.name == "cells")
    assert [text.startswith("<i>") for text in numbers.text] == [False, True, True, False]
    assert "-30.0 points<br>95% interval: -40.0 to +20.0<br>13 images<br>" in numbers.hovertext[0]
