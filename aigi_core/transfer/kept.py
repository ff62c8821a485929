"""A measured matrix kept under a workspace's ``results/``: on a million images it takes seconds to
measure, which every server would spend before its first page.

``python -m precompute detectors`` and ``audit`` keep those that pages begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from aigi_core import results
from aigi_core.errors import WorkspaceError
from aigi_core.metrics import Column
from aigi_core.results import ResultKind, StoredResult
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.matrix import Measured, TransferMatrix
from aigi_core.workspace import Workspace

KIND = ResultKind("matrix", "transfer matrix", job="detectors", format=1)
"""Raise its format when measuring gives other numbers than before."""
FILE = "matrix.npz"
_ARRAYS = ("thresholds", "confusion", "n_real", "n_fake")


class Later(Sequence[Column]):
    """Test images of a matrix, taken from scores when they are first asked for."""

    def __init__(self, make: Callable[[], Sequence[Column]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Sequence[Column]:
        return self._make()

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, at: int) -> Column: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Column]: ...
    def __getitem__(self, at: int | slice) -> Column | Sequence[Column]:
        return self._made[at]


def save_matrix(workspace: Workspace, matrix: TransferMatrix, of: Mapping[str, Any]) -> Path:
    """Publish a matrix with every interval and mean that pages begin with; returns its folder.

    Args:
        of: what was measured: parameters of the detectors, JSON-serialisable.
    """
    known = matrix.measured()
    arrays = {name: getattr(matrix, name) for name in _ARRAYS}
    for metric in matrix.metrics:
        low, high = known.intervals[metric]
        own = (matrix.values[metric], matrix.draws[metric], low, high)
        for name, values in zip(("values", "draws", "low", "high"), own, strict=True):
            arrays[f"{name} {metric}"] = values
    means = [[metric, cells.hex(), vars(mean)] for (metric, cells), mean in known.means.items()]
    return results.publish(
        workspace,
        KIND,
        {**of, "metrics": list(matrix.metrics)},
        {FILE: arrays},
        content={
            "train": [list(names) for names in matrix.train],
            "test": list(matrix.test),
            "family_of": matrix.family_of,
            "protocol": matrix.protocol,
            "means": means,
        },
    )


def load_matrix(
    workspace: Workspace,
    of: Mapping[str, Any],
    metrics: Sequence[str],
    columns: Callable[[], Sequence[Column]],
) -> TransferMatrix | None:
    """The matrix that was kept of these parameters; None where none is, or it is damaged.

    Args:
        columns: gives its test images, where something is asked that was not kept.
    """
    try:
        stored = results.load(workspace, KIND, {**of, "metrics": list(metrics)})
        return _matrix(workspace, stored, metrics, columns)
    except (WorkspaceError, KeyError, ValueError, TypeError):
        return None


def _matrix(
    workspace: Workspace,
    stored: StoredResult,
    metrics: Sequence[str],
    columns: Callable[[], Sequence[Column]],
) -> TransferMatrix:
    content, arrays = stored.content, stored.arrays(FILE)
    train = tuple(tuple(map(str, names)) for names in content["train"])
    test = tuple(map(str, content["test"]))
    shape = (len(train), len(test))
    for name, array in arrays.items():
        of_cells = name.split()[0] in ("values", "low", "high", "draws")
        if of_cells and array.shape[-2:] != shape:
            raise ValueError(f"{name} has another shape than {shape}")
    made = TransferMatrix(
        train=train,
        test=test,
        values={metric: arrays[f"values {metric}"] for metric in metrics},
        draws={metric: arrays[f"draws {metric}"] for metric in metrics},
        columns=Later(columns),
        held_out=(),
        family_of={str(name): str(family) for name, family in content["family_of"].items()},
        protocol=dict(content["protocol"]),
        models_of=workspace.domains.models_of,
        told=True,
        **{name: arrays[name] for name in _ARRAYS},
    )
    intervals = {metric: (arrays[f"low {metric}"], arrays[f"high {metric}"]) for metric in metrics}
    means = {
        (str(metric), bytes.fromhex(cells)): Estimate(**mean)
        for metric, cells, mean in content["means"]
    }
    if not all(np.isfinite(made.values[metric]).all() for metric in metrics):
        raise ValueError("a value is not finite")
    return made.knowing(Measured(intervals, means))
