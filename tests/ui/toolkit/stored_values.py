"""Results of one number each, for tests of what rests on stored results."""

import numpy as np

from aigi_core import results
from aigi_core.errors import NotMadeError
from aigi_core.results import ResultKind
from aigi_core.workspace import Workspace

READ, OTHER = ResultKind("words", "words", "words", 1), ResultKind("audit", "audit", "audit", 1)


def publish(workspace: Workspace, kind: ResultKind, value: float) -> None:
    results.publish(workspace, kind, {}, {"value.npz": {"value": np.array(value)}})


def value_of(workspace: Workspace) -> float:
    """What is stored, or -1; the library's function that a page asks for."""
    try:
        return float(results.load(workspace, READ, {}).arrays("value.npz")["value"])
    except NotMadeError:
        return -1.0
