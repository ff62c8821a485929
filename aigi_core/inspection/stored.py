"""What an image is inspected with, kept under a workspace's ``results/``: what detectors say of
held-out images and what these lie near to, the calibrated detectors, and what they are worth on
generators left out. Of a million images it takes a minute, which every server would spend.

``python -m precompute detectors`` keeps it where images are many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core import results
from aigi_core.calibration import Calibration, CalibrationError, Ensemble
from aigi_core.detectors.detector import Detector
from aigi_core.detectors.stored import named_by_weights
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.inspection.novelty import Nearest
from aigi_core.inspection.panel import RATES, Fitted, Panel, build_panel, fitted_panel
from aigi_core.inspection.rules import RULES
from aigi_core.inspection.unseen import HeldOut, LeftOut, Trust, choose_rule
from aigi_core.results import ResultKind
from aigi_core.workspace import Workspace

KIND = ResultKind("held-out", "look at held-out images", job="detectors", format=1)
"""Raise its format when it is drawn or measured otherwise."""
FILE = "held-out.npz"
PANEL = ResultKind("panel", "calibrated detectors", job="detectors", format=1)
"""Raise its format when calibrations, rules or what is said of generators left out change."""
ARRAYS = "panel.npz"
AT_RATES, ONCE = ("generators", "pools", "rules"), "reliability"
"""Tables of :class:`Trust` at each of the rates on offer, and the one that has none."""


def save_held_out(workspace: Workspace, detectors: Sequence[Detector], own: HeldOut) -> Path:
    """Publish what these detectors say of held-out images; returns its folder."""
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


def save_panel(
    workspace: Workspace,
    detectors: Sequence[Detector],
    held_out: HeldOut | None = None,
    scores: Float[np.ndarray, "K N"] | None = None,
) -> Path:
    """Calibrate detectors that have not seen validation images, join them by the rule that does
    best on generators left out, and publish that; returns its folder.

    Args:
        held_out, scores: what they say of held-out and of all images, where it is at hand.
    """
    panel, trusts = build_panel(workspace, detectors, scores=scores), list[Trust]()
    try:
        left_out = LeftOut.of(workspace, panel.detectors, held_out)
        trusts = [left_out.trust(workspace, rate) for rate in RATES]
    except AigiError:
        pass  # too few generators to leave one out, which whoever asks is told
    else:
        panel = panel.joined_by(choose_rule(workspace, panel, lambda *_: trusts[0]))
    fitted = panel.fitted
    first, *others = (asdict(one) for one in (fitted.ensemble.whole, *fitted.ensemble.members))
    arrays = {
        "learned": fitted.learned,
        "together": fitted.together,
        "draws": fitted.draws,
        "tested": panel.on_test[1][0],
    }
    tables = {}
    if trusts:
        for name in AT_RATES:
            parts = [getattr(trust, name).assign(at_rate=trust.rate) for trust in trusts]
            tables[f"{name}.parquet"] = pd.concat(parts, ignore_index=True)
        tables[f"{ONCE}.parquet"] = trusts[0].reliability
        tables["error.parquet"] = pd.DataFrame([asdict(trusts[0].error)])
    return results.publish(
        workspace,
        PANEL,
        named_by_weights(detectors),
        {ARRAYS: arrays, **tables},
        content={"rule": fitted.rule, "whole": first, "members": others},
    )


def load_panel(
    workspace: Workspace,
    detectors: Sequence[Detector],
    scores: Float[np.ndarray, "K N"] | None = None,
) -> Panel | None:
    """The panel that was kept of these detectors; None where nothing whole is."""
    try:
        stored = results.load(workspace, PANEL, named_by_weights(detectors))
        content, arrays = stored.content, stored.arrays(ARRAYS)
        ensemble = Ensemble(
            tuple(Calibration(**one) for one in content["members"]),
            Calibration(**content["whole"]),
        )
        fitted = Fitted(
            str(content["rule"]),
            arrays["learned"],
            ensemble,
            arrays["together"],
            arrays["draws"],
            arrays["tested"],
        )
    except (WorkspaceError, KeyError, TypeError):
        return None
    split = workspace.domains.split
    judges = len(detectors) + (len(detectors) > 1)
    whole = (
        fitted.rule in RULES
        and len(ensemble.members) == len(detectors)
        and fitted.draws.ndim == 3
        and fitted.draws.shape[::2] == (judges, 2)
        and fitted.together.shape == ((split == "val").sum(),)
        and arrays["tested"].shape == ((split == "test").sum(),)
        and all(np.isfinite(one).all() for one in arrays.values())
    )
    return fitted_panel(workspace, detectors, fitted, scores) if whole else None


def load_trust(workspace: Workspace, detectors: Sequence[Detector], rate: float) -> Trust | None:
    """What was kept of these detectors on generators left out, at one of the rates on offer; None
    where nothing whole is."""
    try:
        stored = results.load(workspace, PANEL, named_by_weights(detectors))
        tables = [stored.table(name) for name in AT_RATES]
        own = [table[table["at_rate"] == rate].drop(columns="at_rate") for table in tables]
        [error] = stored.table("error").to_dict("records")
        made = CalibrationError(**{str(name): value for name, value in error.items()})
        reliability = stored.table(ONCE)
    except (WorkspaceError, KeyError, TypeError, ValueError):
        return None
    if any(table.empty for table in own):
        return None
    generators, pools, rules = (table.reset_index(drop=True) for table in own)
    rule = str(stored.content.get("rule"))
    return Trust(generators, pools, rules, rule, reliability, made, rate)
