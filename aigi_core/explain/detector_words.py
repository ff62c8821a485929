"""What a trained detector says in words, held against the same training on shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.detectors.detector import Detector, require_direction
from aigi_core.detectors.features import EmbeddingView, ResidualView, rescaled
from aigi_core.detectors.methods import method
from aigi_core.errors import AigiError, NotGivenError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import (
    DRAWS,
    mean_difference,
    permuted_labels,
    random_members,
    word_null,
)
from aigi_core.explain.reading import read
from aigi_core.explain.words import Words, words
from aigi_core.significance import q_values
from aigi_core.statements import counted
from aigi_core.transfer import DEFAULT_METRIC, TransferMatrix
from aigi_core.workspace import Workspace


def detector_words(
    workspace: Workspace,
    lexicon: Lexicon,
    detector: Detector,
    k: int = 20,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Words:
    """Nearest and farthest texts of a detector's weights, with a permutation null of ``draws``
    retrained detectors.

    Raises:
        AigiError: a detector of another encoder, or labels that cannot be shuffled.
    """
    null = word_null(lexicon, null_directions(workspace, detector, draws, seed), "permutation", k)
    return words(lexicon, read(workspace, detector).direction, k, null=null, name=detector.name)


def content_words(
    workspace: Workspace,
    lexicon: Lexicon,
    generators: str | Sequence[str],
    k: int = 20,
    *,
    splits: str | Sequence[str] = "train",
    draws: int = DRAWS,
    seed: int = 0,
    extent: bool = True,
) -> Words:
    """What a training set shows, real and fake alike, that the workspace's other images do not.

    A detector's weights cannot say what both classes share: trained on faces only, they say nothing
    about faces, and yet faces are all that the detector knows. The direction is the mean of the
    set's embeddings less that of the other images of the splits; the null draws sets of as many
    images at random, whole groups at a time.

    Args:
        extent: ask whether the set lies farther along a text than random sets lie along any (a
            permutation test of the difference of means). Otherwise only directions are compared:
            random sets differ from the others by next to nothing, and yet the direction of that
            nothing may lie near to a text.

    Raises:
        AigiError: an unknown generator. NotGivenError: a set that holds all images of the splits.
    """
    domains = workspace.domains
    among = np.flatnonzero(
        np.isin(domains.split, (splits,) if isinstance(splits, str) else tuple(splits))
    )
    mine = np.isin(among, domains.rows(generators, splits)).astype(np.int8)
    name = generators if isinstance(generators, str) else " + ".join(generators)
    if mine.all():
        raise NotGivenError(
            f"The content of the training set of {name} has nothing to be compared with,"
            f" because it holds all {counted(len(among), 'image')} of its split: add images"
            " of a second generator. The words of the detector itself do not need them."
        )
    members = np.vstack([mine[None], random_members(domains, among, int(mine.sum()), draws, seed)])
    directions = mean_difference(EmbeddingView().matrix(workspace, among), members)
    lengths = np.linalg.norm(directions, axis=1)
    null = word_null(
        lexicon, directions[1:], "permutation", k, lengths[1:] / lengths[0] if extent else None
    )
    return words(lexicon, directions[0], k, null=null, name=name)


def null_directions(
    workspace: Workspace, detector: Detector, draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, "B d"]:
    """The directions of detectors of the same method, hyperparameters and training images, trained
    on shuffled labels.
    """
    linear = require_direction(detector)
    domains = workspace.domains
    protocol = detector.provenance.get("protocol", {})
    rows = domains.rows(
        detector.training_set, ("train", "val") if protocol.get("refit", True) else "train"
    )
    labels = permuted_labels(domains, rows, draws, seed)
    # a residual detector computes its one feature anew for each set of labels
    seen = (
        EmbeddingView(normalise=linear.view.normalise)
        if isinstance(linear.view, ResidualView)
        else linear.view
    )
    X = seen.matrix(workspace, rows)
    factors = seen.penalty_factors(X[domains.split[rows] == "train"])
    how = method(detector.method).bound(workspace)
    weights = how.null_weights(rescaled(X, factors), labels, linear)
    drawn = [replace(linear, view=seen, weights=own) for own in rescaled(weights, factors)]
    return np.stack([one.joint_weights(workspace).sum(axis=0) for one in drawn])


def words_table(
    result: Sequence[Words], matrix: TransferMatrix, metric: str = DEFAULT_METRIC
) -> pd.DataFrame:
    """One row a detector: what it says, how surely, and how it does; input of
    :func:`~.nameability.nameability`.

    Args:
        result: words of each row of the matrix, in its order.

    Returns:
        Columns ``detector, family, nearest, nameable`` (top cosine), ``p_value, q_value``
        (Benjamini-Hochberg over the detectors), ``null`` (median top cosine of the null),
        ``excess`` (top cosine less that), ``farthest, farthest_cosine, farthest_p_value``,
        ``in_domain`` and ``ood`` (each with ``_low`` and ``_high``) and ``n_ood``, the generators
        that it has not seen.
    """
    if len(result) != len(matrix.train):
        raise AigiError(
            f"The matrix has {counted(len(matrix.train), 'detector')}, words came for"
            f" {len(result)}: give one"
            " for each."
        )
    rows = []
    for k, word_lists in enumerate(result):
        near, far = word_lists.nearest.iloc[0], word_lists.farthest.iloc[0]
        null = word_lists.chance[1]
        rows.append(
            {
                "detector": matrix.train_names[k],
                "family": matrix.train_families[k],
                "nearest": near["text"],
                "nameable": near["cosine"],
                "p_value": near.get("p_value", np.nan),
                "null": null,
                "excess": near["cosine"] - null,
                "farthest": far["text"],
                "farthest_cosine": far["cosine"],
                "farthest_p_value": far.get("p_value", np.nan),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(5, "q_value", q_values(table["p_value"].to_numpy()))
    each = [matrix.rows([k]) for k in range(len(matrix.train))]
    for name, inside in (("in_domain", True), ("ood", False)):
        means = [own.mean(metric, own.in_domain == inside) for own in each]
        for end, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            table[f"{name}{end}"] = [getattr(mean, part) for mean in means]
    return table.assign(n_ood=[mean.n for mean in means])
