"""Points of the paper's grid that heads' detectors take, so that pages fit once where the paper
tries 96 times.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from aigi_core.detectors.features import HeadsView
from aigi_core.detectors.head_points import HeadPoints, load_points, save_points
from aigi_core.detectors.heads import most_validated, score_heads
from aigi_core.detectors.presets import Preset
from aigi_core.detectors.protocol import best_point, paper_points, validation_scores
from aigi_core.detectors.training import train
from aigi_core.heads import all_heads
from aigi_core.terminal import Show
from aigi_core.workspace import Workspace
from precompute.search.pair import head_decisions

BEST = 3
"""Heads that pages begin with together."""


def keep_head_points(workspace: Workspace, used: Preset, show: Show) -> None:
    """Find, and keep, the point that each head's detector takes, by whichever generator's
    validation images choose it, and that of the best heads together. Nothing where they are kept,
    or where fits are exact.
    """
    if used.training.grid != "paper" or not workspace.gives.has("heads"):
        return
    if load_points(workspace, used) is None:
        with threadpool_limits(1):
            save_points(workspace, used, _together(workspace, used, _alone(workspace, used, show)))


def _alone(workspace: Workspace, used: Preset, show: Show) -> HeadPoints:
    domains, heads = workspace.domains, all_heads(workspace)
    names, rows = domains.generators, np.flatnonzero(domains.split == "val")
    columns = [np.searchsorted(rows, domains.rows(name, "val")) for name in names]
    alone = np.zeros((len(names), len(heads), len(names)), np.uint8)
    for m, head in enumerate(heads):
        show(f"Search: points of the grid, head {m + 1} of {len(heads)} ...")
        view = HeadsView((head,), space=used.head_space)
        for i, decisions in enumerate(head_decisions(workspace, view, names, rows, used)):
            for j, column in enumerate(columns):
                labels, weight = domains.labels[rows[column]], used.training.class_weight
                scores = validation_scores(decisions.of[column], labels, weight)
                alone[i, m, j] = best_point(*scores, decisions.points)
    grid, unknown = paper_points(used.training), np.zeros(len(names), np.uint8)
    return HeadPoints(grid, names, heads, alone, np.zeros((len(names), 0, 2), np.int16), unknown)


def _together(workspace: Workspace, used: Preset, points: HeadPoints) -> HeadPoints:
    """With those of the heads that are best together by the generator that pages validate on."""
    best, together = [], []
    for name in points.generators:
        others = [other for other in points.generators if other != name]
        scored = score_heads(
            workspace,
            name,
            most_validated(workspace.domains, others),
            used.training,
            space=used.head_space,
            penalty=used.head_penalty,
            points=points,
        )
        top = scored.top(min(BEST, len(points.heads)))
        (one,) = train(workspace, [name], HeadsView(top, space=used.head_space), used.training)
        best.append(top)
        together.append(points.grid.index(tuple(one.provenance["validation"]["chosen"])))
    return replace(points, best=np.array(best, np.int16), together=np.array(together, np.uint8))
