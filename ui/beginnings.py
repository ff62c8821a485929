"""What pages begin with, computed before somebody asks for it: the slow results that a page shows
with every control at its default.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from aigi_core.detectors.heads import most_validated
from aigi_core.errors import AigiError
from aigi_core.statements import DEFAULT_RATE
from aigi_core.transfer import DEFAULT_METRIC
from aigi_core.workspace import Workspace
from ui import results
from ui.bodies import stress as stress_body
from ui.results import attention, encodings, inspection
from ui.toolkit.kept import one_look

log = logging.getLogger("aigi.ui")


def inspect(workspace: Workspace) -> None:
    """Calibrated detectors, what they are worth, and what an image is compared with."""
    judges = inspection.panel(workspace)
    inspection.unseen(workspace, DEFAULT_RATE)
    inspection.calls(workspace, DEFAULT_RATE)
    inspection.distances(workspace)
    inspection.pool_rates(workspace, judges.names[0], DEFAULT_RATE)
    inspection.reliability(workspace, judges.names[0])
    results.detectors(workspace, results.Setting((workspace.domains.generators,), method="knn"))
    if workspace.gives.has("heads"):
        inspection.average_real(workspace, judges.names[0])


def train(workspace: Workspace) -> None:
    """Every set of up to two generators, ranked for the last two, and the recommended one."""
    generators = workspace.domains.generators
    targets, most = tuple(generators[-2:]), max(1, min(2, len(generators) - 1))
    unseen = len(targets) < len(generators)
    how = results.Setting(())
    ranking = results.ranked_sets(workspace, how, DEFAULT_METRIC, targets, most, unseen)
    results.matrix(workspace, results.Setting((ranking.best,)), DEFAULT_METRIC)


def heads(workspace: Workspace) -> None:
    """Every head alone, and the three best together."""
    domains = workspace.domains
    first = attention.best_trained(workspace)
    others = [name for name in domains.generators if name != first]
    if not others or not workspace.gives.has("heads"):
        return
    validation = most_validated(domains, others)
    attention.heads_table(workspace, first, validation)
    chosen = attention.chosen_heads(workspace, attention.WAYS[0], first, validation)[:3]
    attention.heads_against_embedding(workspace, first, validation, chosen)


def stress(workspace: Workspace) -> None:
    """Every detector under every operation."""
    if stress_body.op_options(workspace):
        stress_body.tables(workspace)


def encoders(workspace: Workspace) -> None:
    """The detectors of every encoder, on which images they err, and what they make of words."""
    several = encodings.opened(workspace)
    encodings.compared(several)
    if len(several) > 1:
        encodings.agreements(several)
    encodings.concepts(several)


BEGINNINGS: dict[str, Callable[[Workspace], None]] = {
    "inspect": inspect,
    "train": train,
    "heads": heads,
    "stress": stress,
    "encoders": encoders,
}
"""Page -> what it begins with, in the order in which it is computed."""


def compute(workspace: Workspace) -> None:
    """All of :data:`BEGINNINGS`; a page whose cannot be computed says why when it is opened. Large
    workspaces are left to whoever asks: it would take minutes and gigabytes.
    """
    if results.large(workspace):
        return
    with one_look():
        for page, begin in BEGINNINGS.items():
            try:
                begin(workspace)
            except AigiError as missing:
                log.info("The page %s could not be prepared: %s", page, missing)
