"""What detectors say of held-out images and what these lie near to, kept under a workspace's
``results/``: of a million images it takes half a minute, which every server would spend.

``python -m precompute detectors`` keeps it where images are many.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aigi_core import results
from aigi_core.detectors.detector import Detector
from aigi_core.detectors.stored import named_by_weights
from aigi_core.errors import WorkspaceError
from aigi_core.inspection.novelty import Nearest
from aigi_core.inspection.unseen import HeldOut
from aigi_core.results import ResultKind
from aigi_core.workspace import Workspace

KIND = ResultKind("held-out", "look at held-out images", job="detectors", format=1)
"""Raise its format when it is drawn or measured otherwise."""
FILE = "held-out.npz"


def save_held_out(
    workspace: Workspace, detectors: Sequence[Detector], held_out: HeldOut | None = None
) -> Path:
    """Publish what these detectors say of held-out images; returns its folder."""
    own = held_out or HeldOut.of(workspace, detectors)
    arrays = {
        "rows": own.rows,
        "scores": own.scores,
        "nearness": own.nearness,
        "asked": own.nearest.rows,
        "cosines": own.nearest.cosines,
    }
    content = {"sources": own.nearest.sources.tolist()}
    named = named_by_weights(detectors)
    return results.publish(workspace, KIND, named, {FILE: arrays}, content=content)


def load_held_out(workspace: Workspace, detectors: Sequence[Detector]) -> HeldOut | None:
    """What was kept of these detectors; None where nothing whole is."""
    try:
        stored = results.load(workspace, KIND, named_by_weights(detectors))
        arrays = stored.arrays(FILE)
        sources = np.array(list(map(str, stored.content["sources"])))
        nearest = Nearest(arrays["asked"], sources, arrays["cosines"])
        held_out = HeldOut(arrays["rows"], arrays["scores"], arrays["nearness"], nearest)
    except (WorkspaceError, KeyError, TypeError):
        return None
    n = len(workspace.domains)
    whole = (
        held_out.scores.shape == held_out.nearness.shape == (len(detectors), len(held_out.rows))
        and nearest.cosines.shape == (len(sources), len(nearest.rows))
        and all(
            rows.dtype.kind == "i" and len(rows) and rows.min() >= 0 and rows.max() < n
            for rows in (held_out.rows, nearest.rows)
        )
    )
    return held_out if whole else None
