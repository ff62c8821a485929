"""Several encoders of the same images, computed once for all sessions."""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from aigi_core.encodings import encodings, outdated_encodings
from aigi_core.errors import AigiError, NotGivenError, WorkspaceError
from aigi_core.explain.concept import concept_alignment
from aigi_core.transfer import encoders as library
from aigi_core.transfer.depth import by_layer
from aigi_core.transfer.encoders import Encoding, agreement, costs, measure
from aigi_core.winner import Winner
from aigi_core.workspace import Workspace
from ui.toolkit.apart import apart
from ui.toolkit.kept import cached
from ui.toolkit.workspaces import open_encoding

Several = tuple[tuple[str, Workspace], ...]
"""Encodings by name: what results of several rest on."""


def opened(workspace: Workspace) -> Several:
    """The encodings of a workspace's images, its own first, but for outdated ones; each is opened
    and checked once a state of its manifest.
    """
    folders, outdated = encodings(workspace.path), outdated_encodings(workspace.path)
    return tuple((n, open_encoding(folder)) for n, folder in folders.items() if n not in outdated)


@cached
def _measured(workspace: Workspace, name: str) -> Encoding:
    return apart(measure, name, workspace)


def measured(several: Several) -> dict[str, Encoding]:
    """Name -> detectors of every encoding."""
    return {name: _measured(one, name) for name, one in several}


@cached
def compared(several: Several) -> tuple[pd.DataFrame, Winner | None, pd.DataFrame]:
    """One row an encoder; which of several does best out of domain; each generator by encoder."""
    every = measured(several)
    best = library.highest_encoder(every) if len(every) > 1 else None
    return library.compare(every), best, library.by_generator(every)


@cached
def costs_of(several: Several) -> pd.DataFrame:
    """One row an encoder (see :func:`aigi_core.transfer.encoders.costs`)."""
    return costs(dict(several))


@cached
def _by_layer(workspace: Workspace) -> pd.DataFrame:
    return apart(by_layer, workspace)


def with_layers(several: Several) -> dict[str, Workspace]:
    """The encodings that hold the tokens of their layers."""
    return {name: one for name, one in several if "layers" in one.stored_features}


def depths(several: Several) -> dict[str, pd.DataFrame]:
    """Name -> transfer by layer, of every encoding that holds its layers' tokens."""
    return {name: _by_layer(one) for name, one in with_layers(several).items()}


@cached
def agreements(several: Several) -> pd.DataFrame:
    """One row a pair of encoders (see :func:`aigi_core.transfer.encoders.agreement`)."""
    matrices, (_, first) = measured(several), several[0]
    return pd.DataFrame(
        [
            {"first": a, "second": b, **agreement(matrices[a], matrices[b], first.domains)}
            for a, b in combinations(matrices, 2)
        ]
    )


def concepts(several: Several) -> pd.DataFrame:
    """Alignment of every encoder that has a text tower with the concept, by generator.

    Raises:
        NotGivenError: no encoder has one, or its bank holds no text of the concept.
    """
    tables: list[pd.DataFrame] = []
    reason: AigiError | None = None
    for name, one in several:
        try:
            tables.append(_concept(one).assign(encoder=name))
        except (NotGivenError, WorkspaceError) as missing:  # no text tower, or no bank made yet
            reason = reason or missing
    if not tables:
        raise reason or NotGivenError("There is no encoder.")
    return pd.concat(tables, ignore_index=True)


@cached
def _concept(workspace: Workspace) -> pd.DataFrame:
    return apart(concept_alignment, workspace)
