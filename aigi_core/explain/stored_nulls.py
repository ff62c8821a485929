"""Directions trained on shuffled labels, kept for methods whose trainings take minutes: ``python -m
precompute words --method NAME`` computes them, pages read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

from aigi_core import results
from aigi_core.detectors.detector import Detector
from aigi_core.detectors.methods import METHODS, method
from aigi_core.errors import AigiError, NotMadeError, WorkspaceError
from aigi_core.explain.detector_words import null_directions
from aigi_core.explain.nulls import DRAWS
from aigi_core.results import ResultKind
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

KIND = ResultKind("nulls", "trainings on shuffled labels", job="words", format=1)


def slow_methods() -> list[str]:
    """Linear methods whose null is computed by the job."""
    return [name for name, one in METHODS.items() if one.keeps and one.linear]


def _parameters(detector: Detector) -> dict[str, Any]:
    own = {name: detector.provenance.get(name) for name in ("protocol", "parameters")}
    return {"method": detector.method, "set": list(detector.training_set)} | own


def stored_null(workspace: Workspace, detector: Detector) -> Float32[np.ndarray, "B d"]:
    """What :func:`keep_nulls` stored for a detector.

    Raises:
        NotMadeError: not computed yet; names the command.
    """
    try:
        stored = results.load(workspace, KIND, _parameters(detector))
    except NotMadeError as error:
        command = workspace.command("words", method=detector.method)
        raise NotMadeError(
            f"The words of {detector.name} need trainings on shuffled labels, which take"
            f" minutes for {method(detector.method).title.lower()}: run '{command}' once."
        ) from error
    directions = stored.arrays("directions.npz").get("directions")
    if directions is None or directions.ndim != 2 or not np.isfinite(directions).all():
        raise stored.damaged("it holds no finite directions")
    return directions


def keep_nulls(
    workspace: Workspace,
    name: str,
    draws: int = DRAWS,
    *,
    force: bool = False,
    show: Callable[[str], None] = lambda line: None,
) -> str:
    """Compute and store the null of each generator's detector of a method, one at a time, so that
    a run that was stopped goes on; returns a sentence.
    """
    if name not in slow_methods():
        raise AigiError(
            "Only methods that train for minutes need stored nulls"
            f" ({', '.join(slow_methods())}), not {name!r}: pages compute its words on"
            " demand."
        )
    how, generators = method(name), workspace.domains.generators
    how.check(workspace, how.default_view())
    how = how.bound(workspace)
    detectors = how.kept(workspace, generators)
    if detectors is None:
        show(f"{how.title}: training {counted(len(generators), 'detector')}")
        detectors = how.train(workspace, generators)
    before = 0
    for done, detector in enumerate(detectors):
        show(f"{how.title}: {done} of {len(detectors)}, {counted(draws, 'shuffled training')} each")
        if not force and _has(workspace, detector, draws):
            before += 1
            continue
        directions = null_directions(workspace, detector, draws).astype(np.float32)
        results.publish(
            workspace, KIND, _parameters(detector), {"directions.npz": {"directions": directions}}
        )
    return (
        f"{how.title}: nulls of {counted(len(detectors), 'detector')} are stored, {before} of"
        " them from an earlier run."
    )


def _has(workspace: Workspace, detector: Detector, draws: int) -> bool:
    try:
        return len(stored_null(workspace, detector)) >= draws
    except WorkspaceError:
        return False  # not yet, or damaged: computed again
