"""TextSpan: the ordered texts that span a head's output, and the variance each explains.

Source: Gandelsman, Efros, Steinhardt 2024, "Interpreting CLIP's Image Representation via Text-Based
Decomposition", Algorithm 1. There, all outputs [N, d] and all texts [M, d] are deflated after each
choice: O(m N M d). Here the same choices come from the head's k x k covariance (k at most
head_width) and two matrix-vector products a choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.heads import Head, all_heads, context_scales, contexts, head_basis
from aigi_core.workspace import Workspace

_REFRESH = 8
"""Scores are recomputed from scratch after so many choices, before the rounding of updates can
matter.
"""


@dataclass(frozen=True, eq=False)
class TextSpan:
    """Texts in the order in which they were chosen.

    Attributes:
        texts: [m] rows of the texts.
        explained_variance: [m] share of the head's variance that each adds; the sum is at most 1.
        variance: the head's total variance (trace of its covariance).
    """

    texts: Int[np.ndarray, " m"]
    explained_variance: Float[np.ndarray, " m"]
    variance: float


def text_span(
    covariance: Float[np.ndarray, "k k"], texts: Float[np.ndarray, "M k"], m: int = 20
) -> TextSpan:
    """Choose up to m texts greedily by the variance of the outputs' projection on them, deflating
    after each choice.

    Args:
        covariance: of the head's outputs, in an orthonormal basis of their span.
        texts: coordinates of the texts' projections on that span. As in the source they keep their
            lengths: a text that lies mostly outside of what the head can write scores low.

    Fewer than m are returned where the texts or the head's variance are exhausted. Raises AigiError
    for an output without variance.
    """
    total = float(np.trace(covariance))
    if not np.isfinite(total) or total <= 0:
        raise AigiError(
            "The output of this head is the same for all chosen images: choose more"
            " images, or another head."
        )
    covariance, texts = covariance.astype(np.float64, copy=True), np.asarray(texts, np.float64)
    lengths = np.einsum("mk,mk->m", texts, texts)
    basis = np.empty((0, len(covariance)))
    chosen: list[int] = []
    variances: list[float] = []
    for step in range(min(m, *texts.shape)):
        if step % _REFRESH == 0:
            scores = np.einsum("mk,mk->m", texts @ covariance, texts)
        best = int(np.argmax(scores))
        direction = texts[best]
        for _ in range(2):  # twice is enough to be orthogonal to working precision
            direction = direction - (basis @ direction) @ basis
        length = float(np.linalg.norm(direction))
        if scores[best] <= 1e-12 * total * lengths[best] or length <= 1e-7 * np.sqrt(lengths[best]):
            break
        direction = direction / length
        along = covariance @ direction
        variance = float(direction @ along)
        g, h = texts @ direction, texts @ along
        scores -= g * (2 * h - variance * g)
        covariance -= np.outer(direction, along) + np.outer(along, direction)
        covariance += variance * np.outer(direction, direction)
        basis = np.vstack([basis, direction])
        chosen.append(best)
        variances.append(variance / total)
    return TextSpan(np.array(chosen, int), np.array(variances), total)


def head_covariance(
    workspace: Workspace,
    layer: int,
    head: int,
    rows: Int[np.ndarray, " n"],
    scale: Float[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "k k"]]:
    """Orthonormal basis of what a head writes, and the covariance of its outputs on n images in
    that basis.

    Args:
        scale: as given by :func:`~aigi_core.heads.context_scales` for these rows.
    """
    Q, to_basis = head_basis(workspace, (layer, head))
    mean = np.zeros(len(to_basis))
    for _, part in contexts(workspace, (layer, head), rows, scale):
        mean += part.sum(axis=0) / len(rows)
    second = np.zeros((len(to_basis), len(to_basis)))
    for _, part in contexts(workspace, (layer, head), rows, scale):
        second += (part - mean).T @ (part - mean) / (len(rows) - 1)
    return Q, to_basis.T @ second @ to_basis


def head_text_spans(
    workspace: Workspace,
    texts: Float[np.ndarray, "M d"],
    m: int = 20,
    *,
    heads: Sequence[Head] | None = None,
    rows: Int[np.ndarray, " n"] | None = None,
    normalised: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """TextSpan of many heads (all by default).

    Args:
        texts: [M, d] unit rows in the joint space.
        rows: images over which a head's variance is taken (all by default).
        normalised: divide each contribution by the length of its image's embedding, as the source
            does.
        progress: called with (heads done, heads in all).

    Returns:
        One row a choice: ``layer, head, rank`` (from 1), ``text`` (row of texts), ``explained``
            (share of the head's variance), ``variance``. A head that writes a constant has no rows.
    """
    if np.ndim(texts) != 2 or not len(texts) or texts.shape[1] != workspace.embeddings.shape[1]:
        raise AigiError(
            f"Texts must be rows of width {workspace.embeddings.shape[1]}, got shape"
            f" {np.shape(texts)}: take a text bank of this workspace's own encoder."
        )
    rows = np.arange(len(workspace.embeddings)) if rows is None else rows
    if len(rows) < 2:
        raise AigiError(
            f"A head's variance needs at least two images, got {len(rows)}: choose more."
        )
    scale = context_scales(workspace, rows, normalised)
    wanted = all_heads(workspace) if heads is None else list(heads)
    texts = np.asarray(texts, np.float32)
    tables = []
    for done, (layer, head) in enumerate(wanted, start=1):
        Q, covariance = head_covariance(workspace, layer, head, rows, scale)
        if np.trace(covariance) > 0:
            span = text_span(covariance, texts @ Q.astype(np.float32), m)
            tables.append(
                pd.DataFrame(
                    {
                        "layer": layer,
                        "head": head,
                        "rank": np.arange(1, len(span.texts) + 1),
                        "text": span.texts,
                        "explained": span.explained_variance,
                        "variance": span.variance,
                    }
                )
            )
        if progress:
            progress(done, len(wanted))
    if not tables:
        raise AigiError(
            "The output of each of these heads is the same for all chosen images: choose"
            " more images."
        )
    return pd.concat(tables, ignore_index=True)
