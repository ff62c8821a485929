"""Several encoders of the same images, computed once for all sessions."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from aigi_core.encodings import open_encodings
from aigi_core.errors import NotGivenError
from aigi_core.explain.concept import concept_alignment
from aigi_core.transfer.encoders import Encoding, agreement, measure
from aigi_core.workspace import Workspace
from ui.toolkit.workspaces import cached


@cached
def _measured(workspace: Workspace, name: str) -> Encoding:
    return measure(name, workspace)


def measured(workspace: Workspace) -> dict[str, Encoding]:
    """Name -> detectors of every encoding of a workspace's images."""
    opened = open_encodings(workspace.path)
    return {name: _measured(one, name) for name, one in opened.items()}


def agreements(workspace: Workspace) -> pd.DataFrame:
    """One row a pair of encoders (see :func:`aigi_core.transfer.encoders.agreement`)."""
    found = measured(workspace)
    return pd.DataFrame(
        [
            {"first": a, "second": b, **agreement(found[a], found[b], workspace.domains)}
            for a, b in combinations(found, 2)
        ]
    )


def concepts(workspace: Workspace) -> pd.DataFrame:
    """Alignment of every encoder that has a text tower with the concept, by generator.

    Raises:
        NotGivenError: no encoder has one, or its bank holds no text of the concept.
    """
    tables, reason = [], NotGivenError("There is no encoder.")
    for name, one in open_encodings(workspace.path).items():
        try:
            tables.append(_concept(one).assign(encoder=name))
        except NotGivenError as missing:
            reason = missing
    if not tables:
        raise reason
    return pd.concat(tables, ignore_index=True)


@cached
def _concept(workspace: Workspace) -> pd.DataFrame:
    return concept_alignment(workspace)
