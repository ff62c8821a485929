"""Tables of stress tests for ``python -m reports``: what detectors survive, what their
numbers are worth.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from aigi_core.calibration import thresholds
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.figures.stress import op_name
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.statements import ALPHA, span
from aigi_core.stress import AUGMENTED, CLEAN, Stress, perturbed_ops, stress
from aigi_core.transfer import MatrixDifference, TransferMatrix, difference, transfer_matrix
from aigi_core.workspace import Workspace
from reports.audit import CELLS, masks_of, paired, with_interval
from reports.tables import Rows, columns

DRAWS = 1000


class StressTables:
    """The tables of one workspace; what several of them need is computed once.

    Args:
        beside: the same images encoded after a common re-encoding, or None.
    """

    def __init__(self, workspace: Workspace, beside: Workspace | None = None) -> None:
        self.workspace = workspace
        self.beside = beside
        self.domains = workspace.domains
        self.names = workspace.domains.generators

    def tables(self) -> dict[str, Callable[[], Rows]]:
        """Name -> rows, the header first."""
        return {
            "canonicalised": self.canonicalised,
            "canonicalised-generators": self.canonicalised_generators,
            "stress-operations": self.operations,
            "stress-training": self.training,
            "thresholds": self.thresholds,
            "calibration": self.calibration,
        }

    # The same images after a common re-encoding

    @cached_property
    def _encodings(self) -> tuple[TransferMatrix, TransferMatrix]:
        if self.beside is None:
            raise AigiError(
                "The tables that compare encodings need the same images encoded after 'encode"
                " --canonicalize': name that workspace with --beside."
            )
        if self.beside.images["path"].tolist() != self.workspace.images["path"].tolist():
            raise AigiError(
                f"{self.beside.path} does not hold the same images as {self.workspace.path} in the"
                " same order."
            )
        before, after = (
            transfer_matrix(
                score_detectors(train(w, self.names), w),
                w.domains,
                self.names,
                metrics=(DEFAULT_METRIC,),
                draws=DRAWS,
            )
            for w in (self.workspace, self.beside)
        )
        return before, after

    def canonicalised(self) -> Rows:
        before, after = self._encodings
        change = difference(after, before, DEFAULT_METRIC)
        steps = (
            ", ".join(self.beside.encoder["preprocessing"].get("steps", [])) if self.beside else ""
        )
        header = ["cells", "as they are", f"after {steps}", "change, paired", "cells"]
        return [
            header,
            *(
                [
                    CELLS[name],
                    *(str(m.mean(DEFAULT_METRIC, mask)) for m in (before, after)),
                    paired(change.mean(mask)),
                    str(int(mask.sum())),
                ]
                for name, mask in masks_of(before).items()
            ),
        ]

    def canonicalised_generators(self) -> Rows:
        before, after = self._encodings
        change = difference(after, before, DEFAULT_METRIC)
        header = ["generator", "as they are", "after", "change, paired", "q"]
        return [
            header,
            *(
                [
                    name,
                    f"{before.values[DEFAULT_METRIC][i, i]:.3f}",
                    f"{after.values[DEFAULT_METRIC][i, i]:.3f}",
                    _cell(change, i),
                    f"{change.q_value[i, i]:.2f}",
                ]
                for i, name in enumerate(self.names)
            ),
        ]

    # What detectors survive

    @cached_property
    def _stress(self) -> Stress:
        return stress(
            self.workspace,
            trained_on=(CLEAN, AUGMENTED),
            sides=("both", "fake", "real"),
            metrics=(DEFAULT_METRIC,),
            draws=DRAWS,
        )

    def operations(self) -> Rows:
        records = self._stress.summary().query("trained == 'clean'").to_dict("records")
        table = {(r["op"], r["side"], r["cells"]): r for r in records}
        header = columns(
            "operation | in-domain | change, both classes | fakes only | real images only | "
            "out-of-domain | change, both classes"
        )
        rows = []
        for op in (CLEAN, *map(str, perturbed_ops(self.workspace))):
            inside, out = (table[op, "both", cells] for cells in ("in-domain", "ood"))
            sides = (
                [inside, *(table[op, side, "in-domain"] for side in ("fake", "real"))]
                if op != CLEAN
                else []
            )
            rows.append(
                [
                    op_name(op),
                    with_interval(inside, "value", 3),
                    *(_change(r) for r in sides),
                    *([""] * (3 - len(sides))),
                    with_interval(out, "value", 3),
                    _change(out) if op != CLEAN else "",
                ]
            )
        return [header, *rows]

    def training(self) -> Rows:
        records = self._stress.gains(AUGMENTED).to_dict("records")
        table = {(r["op"], r["cells"]): r for r in records}
        header = ["tested on", "gain, in-domain", "q", "gain, out-of-domain", "q"]
        rows = []
        for op in dict.fromkeys(r["op"] for r in records):
            row = [op_name(str(op))]
            for cells in ("in-domain", "ood"):
                r = table[op, cells]
                row += [
                    span(r["value"], r["low"], r["high"], signed=True),
                    f"{r['q_value']:.3f}",
                ]
            rows.append(row)
        return [header, *rows]

    # Thresholds and calibration

    @cached_property
    def _held_out(self) -> np.ndarray:
        return thresholds.held_out_scores(self.workspace, self.names)

    def thresholds(self) -> Rows:
        table = thresholds.threshold_table(self._held_out, self.domains, self.names)
        header = columns(
            "cells | threshold | balanced accuracy | fakes found | false alarms | "
            "cells without a threshold"
        )
        rows = []
        for cells, part in self._by_cells(table):
            for rule, mine in part.groupby("rule", sort=False):
                values = [
                    _spread(mine[name])
                    for name in ("balanced_accuracy", "detection_rate", "false_alarm_rate")
                ]
                rows.append([cells, str(rule), *values, str(int(mine["threshold"].isna().sum()))])
        return [header, *rows]

    def calibration(self) -> Rows:
        table = thresholds.calibration_table(self._held_out, self.domains, self.names, draws=100)
        header = columns(
            "cells | probabilities | expected calibration error | of perfect calibration | "
            "cells beyond chance (p < .05)"
        )
        rows = []
        for cells, part in self._by_cells(table):
            for method, mine in part.groupby("method", sort=False):
                beyond = f"{int((mine['p_value'] < ALPHA).sum())} of {len(mine)}"
                rows.append(
                    [cells, str(method), _spread(mine["ece"]), _spread(mine["null_mean"]), beyond]
                )
        return [header, *rows]

    def _by_cells(self, table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
        own = table["train"] == table["test"]
        return [("in-domain", table[own]), ("out-of-domain", table[~own])]


def _change(row: Any) -> str:
    return span(row["change"], row["change_low"], row["change_high"], signed=True)


def _cell(change: MatrixDifference, i: int) -> str:
    return span(change.values[i, i], change.low[i, i], change.high[i, i], signed=True)


def _spread(values: pd.Series) -> str:
    """Mean over cells, and the range that 95% of them lie in."""
    finite = values.dropna()
    low, high = np.quantile(finite, [0.025, 0.975])
    return f"{finite.mean():.3f} ({low:.3f} to {high:.3f})"
