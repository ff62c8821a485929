"""Features of perturbed copies as a workspace keeps them, and what detectors can be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from aigi_core.errors import AigiError, NotGivenError, NotMadeError, WorkspaceError
from aigi_core.perturb import Op, parse_ops
from aigi_core.statements import counted
from aigi_core.stored_features import kind
from aigi_core.workspace import Workspace

AUGMENTED = "augmented"
"""Trained on the clean images and all their perturbed copies."""


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Features of one operation's copies; reads as encoded images do, so any view and detector take
    it.

    Attributes:
        op: the operation.
        rows: [n] rows of the workspace that the copies were made of, ascending.
        splits: their splits.
    """

    op: Op
    rows: Int[np.ndarray, " n"] = field(repr=False)
    splits: tuple[str, ...]
    embeddings: Float[np.ndarray, "n d"] = field(repr=False)
    decomposition: dict[str, np.ndarray] = field(repr=False)
    _heads: np.ndarray | None = field(repr=False, default=None)
    _ln_post: np.ndarray | None = field(repr=False, default=None)
    _with_heads: str = field(repr=False, default="")

    @property
    def has_heads(self) -> bool:
        return self._heads is not None

    @property
    def heads(self) -> Float[np.ndarray, "layers heads n head_width"]:
        return self._need(self._heads)

    @property
    def ln_post(self) -> Float[np.ndarray, "n 2"]:
        return self._need(self._ln_post)

    def feature(self, name: str) -> np.ndarray:
        """Copies hold embeddings and heads alone."""
        raise NotGivenError(
            f"Perturbed copies are kept without {kind(name).title} ({name}): choose a feature view"
            " of the embedding or the heads."
        )

    def _need(self, array: np.ndarray | None) -> np.ndarray:
        if array is None:
            raise AigiError(
                f"The copies of {self.op} were encoded without heads: run '{self._with_heads}'."
            )
        return array


def perturbed_ops(workspace: Workspace) -> tuple[Op, ...]:
    """Operations whose copies this workspace holds, by kind and strength."""
    return tuple(
        sorted(
            parse_ops([entry["op"]])[0]
            for entry in workspace.manifest.get("perturbed", {}).values()
        )
    )


def perturb_command(
    workspace: Workspace,
    op: Op,
    *,
    heads: bool = False,
    recorded: Mapping[str, Any] | None = None,
) -> str:
    """The command that encodes copies by an operation: what the workspace has of it is kept.

    Args:
        recorded: how copies were made that are meant; by default those of the workspace.
    """
    manifest = workspace.manifest
    held = manifest.get("held", {}).get(op.slug, {})
    entry = recorded or manifest.get("perturbed", {}).get(op.slug) or held
    splits = list(entry.get("splits", ["test"]))
    return workspace.command(
        "perturb",
        ops=str(op),
        splits=None if splits == ["test"] else splits,
        heads=heads or bool(entry.get("heads")),
        half=bool(entry.get("half")),
    )


def open_perturbed(workspace: Workspace, op: str | Op) -> Perturbed:
    """The copies of one operation.

    Raises:
        AigiError: an operation that cannot be read.
        WorkspaceError: copies that are not there, or were made before the workspace was last
            encoded.
    """
    wanted = op if isinstance(op, Op) else parse_ops([op])[0]
    entry = workspace.manifest.get("perturbed", {}).get(wanted.slug)
    again = f"'{perturb_command(workspace, wanted)}'"
    if entry is None:
        have = ", ".join(map(str, perturbed_ops(workspace))) or "none"
        raise NotMadeError(
            f"The workspace has no perturbed copies of {wanted} (it has {have}): run {again}."
        )
    if entry["workspace_digest"] != workspace.digest:
        raise NotMadeError(
            f"The copies of {wanted} belong to an earlier state of this workspace: run {again}."
        )

    def array(name: str) -> np.ndarray:
        loaded: np.ndarray = np.load(
            workspace.path / "perturbed" / wanted.slug / name, mmap_mode="r", allow_pickle=False
        )
        return loaded

    rows = np.flatnonzero(np.isin(workspace.domains.split, entry["splits"]))
    embeddings = array("embeddings.npy")
    if len(embeddings) != len(rows):
        raise WorkspaceError(
            f"There are {counted(len(embeddings), 'copy')} of {wanted} for"
            f" {counted(len(rows), 'image')}: run {again}."
        )
    return Perturbed(
        wanted,
        rows,
        tuple(entry["splits"]),
        embeddings,
        workspace.decomposition,
        array("heads.npy") if entry["heads"] else None,
        array("ln_post.npy") if entry["heads"] else None,
        perturb_command(workspace, wanted, heads=True),
    )


def trainable(workspace: Workspace) -> tuple[str, ...]:
    """What detectors can be trained on beside the clean images: operations with training copies,
    and all together.
    """
    copies = [open_perturbed(workspace, op) for op in perturbed_ops(workspace)]
    result = [str(copy.op) for copy in copies if {"train", "val"} <= set(copy.splits)]
    return (AUGMENTED, *result) if result else ()
