"""Several encoders of the same images, computed once for all sessions."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from aigi_core.encodings import open_encodings
from aigi_core.errors import AigiError, NotGivenError, WorkspaceError
from aigi_core.explain.concept import concept_alignment
from aigi_core.transfer.depth import by_layer
from aigi_core.transfer.encoders import Encoding, agreement, costs, measure
from aigi_core.workspace import Workspace
from ui.toolkit.workspaces import cached


@cached
def _measured(workspace: Workspace, name: str) -> Encoding:
    return measure(name, workspace)


def measured(workspace: Workspace) -> dict[str, Encoding]:
    """Name -> detectors of every encoding of a workspace's images."""
    opened = open_encodings(workspace.path)
    return {name: _measured(one, name) for name, one in opened.items()}


def costs_of(workspace: Workspace) -> pd.DataFrame:
    """One row an encoder (see :func:`aigi_core.transfer.encoders.costs`)."""
    return costs(open_encodings(workspace.path))


@cached
def _by_layer(workspace: Workspace) -> pd.DataFrame:
    return by_layer(workspace)


def with_layers(workspace: Workspace) -> dict[str, Workspace]:
    """The encodings that hold the tokens of their layers."""
    opened = open_encodings(workspace.path)
    return {name: one for name, one in opened.items() if "layers" in one.stored_features}


def depths(workspace: Workspace) -> dict[str, pd.DataFrame]:
    """Name -> transfer by layer, of every encoding that holds its layers' tokens."""
    return {name: _by_layer(one) for name, one in with_layers(workspace).items()}


def agreements(workspace: Workspace) -> pd.DataFrame:
    """One row a pair of encoders (see :func:`aigi_core.transfer.encoders.agreement`)."""
    matrices = measured(workspace)
    return pd.DataFrame(
        [
            {"first": a, "second": b, **agreement(matrices[a], matrices[b], workspace.domains)}
            for a, b in combinations(matrices, 2)
        ]
    )


def concepts(workspace: Workspace) -> pd.DataFrame:
    """Alignment of every encoder that has a text tower with the concept, by generator.

    Raises:
        NotGivenError: no encoder has one, or its bank holds no text of the concept.
    """
    tables: list[pd.DataFrame] = []
    reason: AigiError | None = None
    for name, one in open_encodings(workspace.path).items():
        try:
            tables.append(_concept(one).assign(encoder=name))
        except (NotGivenError, WorkspaceError) as missing:  # no text tower, or no bank made yet
            reason = reason or missing
    if not tables:
        raise reason or NotGivenError("There is no encoder.")
    return pd.concat(tables, ignore_index=True)


@cached
def _concept(workspace: Workspace) -> pd.DataFrame:
    return concept_alignment(workspace)
