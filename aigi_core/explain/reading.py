"""A linear detector as a sum over parts of the embedding, and its logits when some of those parts
are changed.

    logit_i = bias + (embedding . e_i  +  sum over heads of heads[l, h] . c_lhi) / length_i

with e_i the unnormalised embedding, c_lhi the contribution of head (l, h) to it, and length_i the
embedding's own length (1 for a detector on unnormalised features). When a part changes, the length
changes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.detector import Detector, require_direction
from aigi_core.detectors.features import EmbeddingView, HeadsView, ResidualView
from aigi_core.errors import AigiError
from aigi_core.heads import Head, blocks, check_head, contexts, head_map
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

_BLOCK = 4096


@dataclass(frozen=True, eq=False, repr=False)
class Reading(ShortRepr):
    """What a linear detector reads.

    Attributes:
        bias: its intercept.
        embedding: [d] weights on the whole embedding; zeros for a detector on heads.
        heads: weights on single heads' contributions, in the joint space.
        normalised: whether features are divided by the length.
    """

    bias: float
    embedding: Float[np.ndarray, " d"]
    heads: dict[Head, Float[np.ndarray, " d"]] = field(default_factory=dict)
    normalised: bool = True

    @property
    def direction(self) -> Float[np.ndarray, " d"]:
        """All weights together: the direction in the joint space that the detector's words are
        about.
        """
        total: np.ndarray = self.embedding + sum(self.heads.values(), np.zeros_like(self.embedding))
        return total

    def head_weights(self, layer: int, head: int) -> Float[np.ndarray, " d"]:
        """What one head's contribution is multiplied by: as a part of the embedding and on its
        own.
        """
        return self.embedding + self.heads.get((layer, head), 0.0)

    def lengths(self, embeddings: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """What features are divided by, for each row of (changed) embeddings."""
        if not self.normalised:
            return np.ones(len(embeddings))
        lengths: np.ndarray = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise AigiError(
                "An embedding of length zero, or not finite, has no direction: leave that image"
                " out."
            )
        return lengths


def read(workspace: Workspace, detector: Detector) -> Reading:
    """A trained detector's weights, taken apart.

    Raises:
        AigiError: a detector of another encoder, or one without weights in the joint space.
    """
    detector.decision_function(
        workspace, np.array([0])
    )  # says so where encoder or width are another
    linear = require_direction(detector)
    view, d = linear.view, workspace.embeddings.shape[1]
    weights = linear.joint_weights(workspace)
    if isinstance(view, HeadsView):
        heads: dict[Head, np.ndarray] = {}
        for head, part in zip(view.heads, weights, strict=True):
            heads[head] = heads.get(head, 0.0) + part
        return Reading(linear.bias, np.zeros(d), heads)
    assert isinstance(view, EmbeddingView | ResidualView), "the kinds that have a direction"
    return Reading(linear.bias, weights[0], normalised=view.normalise)


@dataclass(frozen=True, eq=False, repr=False)
class Change(ShortRepr):
    """What is done to the embedding before a detector reads it.

    Attributes:
        means: heads whose contribution is replaced, each with the mean context (over ln_post's std)
            put in its place.
        removed: [d, c] orthonormal directions projected out of the embedding and of every
            contribution.
        says: what was done, in words, for captions and files.
    """

    means: dict[Head, Float[np.ndarray, " hw"]] = field(default_factory=dict)
    removed: Float[np.ndarray, "d c"] | None = None
    says: str = "nothing changed"


def ablation(
    workspace: Workspace, heads: Sequence[Head], reference: Int[np.ndarray, " n"] | None = None
) -> Change:
    """Replace heads by their mean contribution over reference images.

    Args:
        reference: rows; by default all images of the training split, so that no evaluated image
            takes part.

    Raises:
        AigiError: an unknown head, no head, or no reference image.
    """
    rows = (
        np.flatnonzero(workspace.domains.split == "train")
        if reference is None
        else np.asarray(reference)
    )
    if not len(heads) or not len(rows):
        raise AigiError(
            "An ablation needs at least one head and one reference image: choose some of each."
        )
    scale = 1.0 / np.asarray(workspace.ln_post[rows, 1], np.float64)
    means = {}
    for head in dict.fromkeys(heads):
        total = sum(part.sum(axis=0) for _, part in contexts(workspace, head, rows, scale))
        means[check_head(workspace.heads, head)] = np.asarray(total) / len(rows)
    named = ", ".join(f"layer {layer} head {head}" for layer, head in means)
    over = "training images" if reference is None else "chosen images"
    return Change(means, says=f"{named} replaced by the mean over {len(rows):,} {over}")


def removal(directions: Float[np.ndarray, "c d"], says: str = "") -> Change:
    """Project directions out; raises AigiError where they are zero, dependent to nothing, or as
    many as dimensions.
    """
    directions = np.atleast_2d(np.asarray(directions, np.float64))
    if not np.isfinite(directions).all() or not directions.any():
        raise AigiError(
            "A direction of length zero (or not finite) cannot be projected out: choose"
            " another direction."
        )
    _, s, vh = np.linalg.svd(directions, full_matrices=False)
    basis = vh[s > 1e-8 * s[0]].T
    if basis.shape[1] >= len(basis):
        raise AigiError(
            f"Projecting out {counted(basis.shape[1], 'direction')} would leave no dimension:"
            " choose fewer directions."
        )
    return Change(
        removed=basis, says=says or f"{counted(basis.shape[1], 'direction')} projected out"
    )


def changed_embeddings(
    workspace: Workspace, change: Change, rows: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "n d"]:
    """The embeddings (unnormalised, float64) with a change made to them."""
    rows = np.arange(len(workspace.embeddings)) if rows is None else np.asarray(rows)
    E = np.asarray(workspace.embeddings[rows], np.float64)
    scale = 1.0 / np.asarray(workspace.ln_post[rows, 1], np.float64)
    for head, mean in change.means.items():
        to_space = head_map(workspace, head)
        for block, part in contexts(workspace, head, rows, scale):
            E[block] -= (part - mean) @ to_space
    if change.removed is not None:
        E -= (E @ change.removed) @ change.removed.T
    return E


def scores(
    workspace: Workspace,
    readings: Sequence[Reading],
    rows: Int[np.ndarray, " n"] | None = None,
    change: Change | None = None,
) -> Float[np.ndarray, "K n"]:
    """Logits of K detectors on images whose embeddings are changed (or not), block by block."""
    change = change or Change()
    rows = np.arange(len(workspace.embeddings)) if rows is None else np.asarray(rows)
    result = np.empty((len(readings), len(rows)))
    single = sorted({head for reading in readings for head in reading.heads})
    for block in blocks(len(rows), _BLOCK):
        E = changed_embeddings(workspace, change, rows[block])
        scale = 1.0 / np.asarray(workspace.ln_post[rows[block], 1], np.float64)
        logit = E @ np.stack([reading.embedding for reading in readings]).T
        for head in single:
            z = workspace.heads[head][rows[block]].astype(np.float64) * scale[:, None]
            if head in change.means:
                z = np.broadcast_to(change.means[head], z.shape)
            weights = np.stack(
                [reading.heads.get(head, np.zeros(E.shape[1])) for reading in readings], axis=1
            )
            if change.removed is not None:
                weights = weights - change.removed @ (change.removed.T @ weights)
            logit += z @ (head_map(workspace, head) @ weights)
        for at, reading in enumerate(readings):
            result[at, block] = reading.bias + logit[:, at] / reading.lengths(E)
    return result
