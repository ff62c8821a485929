"""Which points of the paper's grid detectors on heads take, kept under a workspace's ``results/``.

A head walks 96 points in a tenth of a second and more, some heads in seconds; at a point that is
known to be chosen, one fit gives the same detector. ``python -m precompute search --protocol
paper`` finds the points.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from aigi_core import results
from aigi_core.detectors.presets import Preset
from aigi_core.detectors.protocol import (
    GridPoint,
    GridPoints,
    TrainingSet,
    as_names,
    paper_points,
)
from aigi_core.errors import WorkspaceError
from aigi_core.heads import Head, all_heads
from aigi_core.results import ResultKind
from aigi_core.workspace import Workspace

KIND = ResultKind(
    "head-points", "points of the paper's grid", job="search --protocol paper", format=1
)
FILE = "points.npz"


@dataclass(frozen=True, eq=False)
class HeadPoints:
    """Numbers of points of :attr:`grid`, of K generators and M heads.

    Attributes:
        grid: all points.
        generators: K names.
        heads: M heads.
        alone: of one head: [trained on, head, chosen by the validation images of].
        best: the heads that are best together for each generator trained on.
        together: of a detector on all these, chosen by its own validation images.
    """

    grid: GridPoints = field(repr=False)
    generators: tuple[str, ...]
    heads: tuple[Head, ...] = field(repr=False)
    alone: UInt8[np.ndarray, "K M K"] = field(repr=False)
    best: Int16[np.ndarray, "K k 2"] = field(repr=False)
    together: UInt8[np.ndarray, " K"] = field(repr=False)

    def point(
        self, trained_on: TrainingSet, heads: tuple[Head, ...], by: TrainingSet
    ) -> GridPoint | None:
        """The point that is chosen; None where it was not looked for."""
        sets = as_names(trained_on), as_names(by)
        if any(len(names) != 1 or names[0] not in self.generators for names in sets):
            return None
        i, j = (self.generators.index(names[0]) for names in sets)
        if len(heads) == 1 and heads[0] in self.heads:
            return self.grid[int(self.alone[i, self.heads.index(heads[0]), j])]
        if i == j and heads == tuple((int(a), int(b)) for a, b in self.best[i]):
            return self.grid[int(self.together[i])]
        return None


def save_points(workspace: Workspace, used: Preset, points: HeadPoints) -> Path:
    """Publish them; returns their folder."""
    arrays = {name: getattr(points, name) for name in ("alone", "best", "together")}
    return results.publish(workspace, KIND, _parameters(used), {FILE: arrays})


def load_points(workspace: Workspace, used: Preset) -> HeadPoints | None:
    """What :func:`save_points` kept; None where nothing whole is, and for exact fits, which walk no
    grid.
    """
    if used.training.grid != "paper" or not workspace.gives.has("heads"):
        return None
    try:
        arrays = results.load(workspace, KIND, _parameters(used)).arrays(FILE)
        kept = [arrays[name] for name in ("alone", "best", "together")]
    except (WorkspaceError, KeyError):
        return None
    grid, heads = paper_points(used.training), all_heads(workspace)
    generators = workspace.domains.generators
    points = HeadPoints(grid, generators, heads, *kept)
    return points if _whole(points) else None


def _whole(points: HeadPoints) -> bool:
    K, M = len(points.generators), len(points.heads)
    return (
        points.alone.shape == (K, M, K)
        and points.best.shape[::2] == (K, 2)
        and points.together.shape == (K,)
        and all(
            numbers.dtype == np.uint8 and (numbers < len(points.grid)).all()
            for numbers in (points.alone, points.together)
        )
    )


def _parameters(used: Preset) -> dict[str, object]:
    protocol = used.training.record()
    del protocol["refit"]  # the training split's model is the one that is chosen
    return {"protocol": protocol, "space": used.head_space}
