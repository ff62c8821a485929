"""Each head's share of the embedding, read from the cache one head at a time.

Head (l, h) adds ``heads[l, h, i] @ head_maps[l, h] / std_i`` to the embedding of image i. It has at
most head_width
dimensions: with ``head_maps[l, h].T = Q R`` (Q orthonormal) its coordinates ``heads[l, h, i] @ R.T
/ std_i`` keep every length, angle and variance, at a sixth to a twelfth of the cost.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.features import Head
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace

BLOCK = 16_384
"""Images read at once: what one pass keeps in memory does not depend on the number of images."""


def check_head(workspace: Workspace, layer: int, head: int) -> Head:
    """The head's (layer, index), counted from 0; raises AigiError where the encoder has no such
    head.
    """
    layers, heads = workspace.heads.shape[:2]
    if not (0 <= layer < layers and 0 <= head < heads):
        raise AigiError(
            f"There is no head {head} in layer {layer}: {workspace.encoder['model']} has layers 0"
            f" to {layers - 1} with heads 0 to {heads - 1}."
        )
    return int(layer), int(head)


def norms(
    workspace: Workspace, rows: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " n"]:
    """Length of each image's embedding, in float64; raises AigiError for an embedding of length
    zero or not finite.
    """
    rows = np.arange(len(workspace.embeddings)) if rows is None else rows
    lengths = np.empty(len(rows))
    for block in blocks(len(rows)):
        part = np.asarray(workspace.embeddings[rows[block]], np.float64)
        lengths[block] = np.sqrt((part * part).sum(axis=1))
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        row = int(rows[np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))[0]])
        raise AigiError(
            f"The embedding of {workspace.images['path'][row]!r} is zero or not finite: leave that"
            " image out or encode it again."
        )
    return lengths


def scales(
    workspace: Workspace, rows: Int[np.ndarray, " n"] | None = None, normalised: bool = True
) -> Float[np.ndarray, " n"]:
    """What a head's mapped context is multiplied by: 1 / ln_post's std, and 1 / the embedding's
    length if normalised.
    """
    rows = np.arange(len(workspace.embeddings)) if rows is None else rows
    scale = 1.0 / np.asarray(workspace.ln_post[rows, 1], np.float64)
    return scale / norms(workspace, rows) if normalised else scale


def head_basis(
    workspace: Workspace, layer: int, head: int
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "hw k"]]:
    """Orthonormal basis Q of what the head can write, and the map from its context to coordinates
    in that basis.
    """
    head_map = workspace.decomposition["head_maps"][check_head(workspace, layer, head)].astype(
        np.float64
    )
    Q, R = np.linalg.qr(head_map.T)
    return Q, np.ascontiguousarray(R.T)


def contexts(
    workspace: Workspace,
    layer: int,
    head: int,
    rows: Int[np.ndarray, " n"],
    scale: Float[np.ndarray, " n"],
) -> Iterator[tuple[slice, Float[np.ndarray, "b hw"]]]:
    """The head's scaled contexts, block by block: (slice of rows, float64 [block, head_width])."""
    cache = workspace.heads[check_head(workspace, layer, head)]
    for block in blocks(len(rows)):
        yield block, cache[rows[block]].astype(np.float64) * scale[block, None]


def blocks(n: int, size: int | None = None) -> Iterator[slice]:
    """Consecutive slices that cover range(n)."""
    step = size or BLOCK
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
