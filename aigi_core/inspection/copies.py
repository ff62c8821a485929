"""New files that show an image of a workspace again: saved anew, recompressed or made smaller, so
that their bytes differ. Detectors may have been trained on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from aigi_core.audit.leaks import IDENTICAL
from aigi_core.heads import blocks, embedding_norms
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

AROUND, TENTH = 50, 9
"""Images around the nearest one from which the law of distances is read, and the place among them
of the one that the nearest is held against."""
KEPT = 4 * AROUND
"""Nearest images looked at: those in the group of the nearest one do not count."""
ALPHA = 0.001
"""How often an image that is no copy may be called one, of all images that are asked about."""


class Copy(NamedTuple):
    """An image of the workspace that a new one shows again.

    Attributes:
        row: its row.
        cosine: of both embeddings.
        p: how often unrelated images would lie so near or nearer.
    """

    row: int
    cosine: float
    p: float


def likely_copies(
    workspace: Workspace, embeddings: Float[np.ndarray, "n d"], alpha: float = ALPHA
) -> list[Copy | None]:
    """For each new image, the image of the workspace that it is likely to show again; None where
    there is none.

    Where images lie evenly around a new one, in a neighbourhood of m dimensions, the share of the
    volume within the nearest one's distance, c ** m with c the distance over that to the tenth of
    the others, follows Beta(1, 9), the smallest of nine uniform numbers. m is read from the 50
    images around it by maximum likelihood (Levina and Bickel 2004). Of the demo's images, held
    against all of other groups, 5.7% have p < .05 and 1.0% p < .001, prompts drawn twice among
    them.

    Args:
        embeddings: not normalised, by the workspace's own encoder, of files that are not byte for
            byte the workspace's.
        alpha: divided by n (Bonferroni). Embeddings that are the same count in any case; where the
            workspace has too few images around the nearest one, only they do.
    """
    cosine, rows = _nearest(workspace, embeddings)
    distance = np.sqrt(np.maximum(2 - 2 * cosine.astype(np.float64), 0))
    group = workspace.domains.groups
    found: list[Copy | None] = []
    for near, one in zip(distance, rows, strict=True):
        around = near[1:][group[one[1:]] != group[one[0]]][:AROUND]
        p = 0.0 if near[0] < IDENTICAL else _p(near[0], around)
        copy = Copy(int(one[0]), float(1 - near[0] ** 2 / 2), p)
        found.append(copy if p < alpha / len(embeddings) else None)
    return found


def _p(distance: float, around: Float[np.ndarray, " k"]) -> float:
    if len(around) < AROUND:
        return 1.0
    logs = np.log(around[-1] / np.maximum(around[:-1], IDENTICAL))
    dimension = 1 / max(float(logs.mean()), 1e-9)
    volume = min(distance / around[TENTH - 1], 1.0) ** dimension
    return float(-np.expm1(TENTH * np.log1p(-min(volume, 1 - 1e-12))))


def _nearest(
    workspace: Workspace, embeddings: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, "n k"]]:
    """Cosine and row of the :data:`KEPT` nearest images, nearest first, by one pass."""
    asked = unit_rows(embeddings)
    cosine = np.zeros((len(asked), 0), np.float32)
    rows = np.zeros((len(asked), 0), int)
    lengths = embedding_norms(workspace).astype(workspace.embeddings.dtype)
    for block in blocks(len(workspace.embeddings)):
        here = asked @ workspace.embeddings[block].T / lengths[block]
        cosine = np.concatenate([cosine, here], axis=1)
        numbers = np.arange(block.start, block.stop)
        rows = np.concatenate([rows, np.broadcast_to(numbers, here.shape)], axis=1)
        if cosine.shape[1] > KEPT:
            best = np.argpartition(-cosine, KEPT - 1, axis=1)[:, :KEPT]
            cosine, rows = (np.take_along_axis(values, best, axis=1) for values in (cosine, rows))
    order = np.argsort(-cosine, axis=1, kind="stable")
    return np.take_along_axis(cosine, order, axis=1), np.take_along_axis(rows, order, axis=1)
