"""What a head is about: a direction of its output, its texts against a null, and the images where
it is extreme.

A head's direction can mean three things, and they need not agree:

- ``difference``: mean contribution to the fakes less that to the reals (the default: it needs no
  fit).
- ``weights``: weights of a logistic regression on this head alone, as a direction in the joint
  space.
- ``mean``: mean contribution to all images: what the head writes whatever the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.detectors.detector import LinearDetector, score_detectors
from aigi_core.detectors.features import HeadsView, head_scale
from aigi_core.detectors.head_points import HeadPoints
from aigi_core.detectors.heads import HeadScores, Progress
from aigi_core.detectors.presets import PRESETS, Preset
from aigi_core.detectors.protocol import TrainingSet
from aigi_core.detectors.solvers.logistic import NULL_TOLERANCE, fit_logistic
from aigi_core.detectors.training import train, train_at, train_with_twins
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon, unit_directions
from aigi_core.explain.nulls import (
    DRAWS,
    Kind,
    mean_difference,
    permuted_labels,
    random_directions,
    word_null,
)
from aigi_core.explain.words import Words, words
from aigi_core.heads import Head, all_heads, context_scales, contexts, head_basis
from aigi_core.manifest import REAL
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.reprs import ShortRepr
from aigi_core.transfer import TransferMatrix, transfer_matrix
from aigi_core.workspace import Workspace

Definition = Literal["difference", "weights", "mean"]
PAPER_SECONDS = {True: 9e-7, False: 4.3e-6}
"""Seconds of a core that :func:`heads_alone` and a search of heads take together by the paper's
grid, for each number of a head's output: at points that are known, and walking the grid."""


@dataclass(frozen=True, eq=False, repr=False)
class HeadDirection(ShortRepr):
    """A head's direction [d] in the joint space, and B such directions without meaning [B, d]."""

    vector: Float[np.ndarray, " d"]
    null: Float[np.ndarray, "B d"]
    kind: Kind


def head_outputs(
    workspace: Workspace,
    layer: int,
    head: int,
    rows: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "n k"]]:
    """A head's contributions in an orthonormal basis of what it can write: the basis, and
    coordinates of each image.
    """
    Q, to_basis = head_basis(workspace, (layer, head))
    scale = context_scales(workspace, rows)
    coordinates = np.empty((len(rows), to_basis.shape[1]))
    for block, part in contexts(workspace, (layer, head), rows, scale):
        coordinates[block] = part @ to_basis
    return Q, coordinates


def head_direction(
    workspace: Workspace,
    layer: int,
    head: int,
    generators: str | Sequence[str],
    definition: Definition = "difference",
    *,
    splits: str | Sequence[str] = "train",
    C: float = 1.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> HeadDirection:
    """A head's direction on some generators' fakes and their pools' reals, with directions from
    shuffled labels.

    The mean has no labels; its null are directions with the covariance of the head's output.

    Args:
        C: inverse strength of the penalty for ``weights``, on features scaled as detectors on heads
            scale them.

    Raises:
        AigiError: unknown head, generator or definition; labels that cannot be shuffled.
    """
    if definition not in get_args(Definition):
        raise AigiError(
            f"A head's direction is one of {', '.join(get_args(Definition))}; got {definition!r}."
        )
    domains = workspace.domains
    rows = domains.rows(generators, splits)
    Q, X = head_outputs(workspace, layer, head, rows)
    if definition == "mean":
        return HeadDirection(Q @ X.mean(axis=0), random_directions(X, draws, seed) @ Q.T, "random")
    labels = np.vstack(
        [domains.labels[rows][None], permuted_labels(domains, rows, draws, seed)]
    ).astype(np.int8)
    if definition == "difference":
        result = mean_difference(X, labels)
    else:
        result = fit_logistic(X * head_scale(X), labels, C, tol=NULL_TOLERANCE).weights
    in_space = result @ Q.T
    return HeadDirection(in_space[0], in_space[1:], "permutation")


def head_words(
    workspace: Workspace,
    lexicon: Lexicon,
    layer: int,
    head: int,
    *,
    generators: str | Sequence[str],
    definition: Definition = "difference",
    k: int = 20,
    splits: str | Sequence[str] = "train",
    C: float = 1.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> Words:
    """Nearest and farthest texts of a head's direction, with its null (see :func:`head_direction`).

    The p-values are those of one head: see :func:`heads_words` for what is left of them among all
    heads.
    """
    result = head_direction(
        workspace, layer, head, generators, definition, splits=splits, C=C, draws=draws, seed=seed
    )
    null = word_null(lexicon, result.null, result.kind, k)
    return words(lexicon, result.vector, k, null=null, name=f"layer {layer} head {head}")


def heads_words(
    workspace: Workspace,
    lexicon: Lexicon,
    generators: str | Sequence[str],
    definition: Definition = "difference",
    *,
    splits: str | Sequence[str] = "train",
    C: float = 1.0,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The nearest text of every head, and whether it is more than the best that chance gives among
    as many heads.

    The same shuffled labels (for ``mean``: the same random weights of images) serve all heads, so
    that the largest excess over the heads of each draw is a null that respects how heads depend on
    each other (max-T: Westfall and Young 1993). Excess: the top cosine less its mean under the
    head's own null, in standard deviations of that null.

    Args:
        progress: called with (heads done, heads in all).

    Returns:
        One row a head, clearest first: ``head`` ("layer.index"), ``layer, index, nearest, category,
            cosine, p_value`` (over all texts, this head alone), ``excess, p_all_heads`` (over all
            texts and heads).
    """
    rows, nulls = [], []
    heads = all_heads(workspace)
    for done, (layer, index) in enumerate(heads, 1):
        result = head_direction(
            workspace,
            layer,
            index,
            generators,
            definition,
            splits=splits,
            C=C,
            draws=draws,
            seed=seed,
        )
        cosines, texts = lexicon.search(np.vstack([result.vector[None], result.null]), 1)
        top, null = float(cosines[0, 0]), cosines[1:, 0].astype(np.float64)
        about = lexicon.table.iloc[int(texts[0, 0])]
        spread = max(float(null.std()), 1e-12)
        nulls.append((null - null.mean()) / spread)
        rows.append(
            {
                "head": f"{layer}.{index}",
                "layer": layer,
                "index": index,
                "nearest": about["text"],
                "category": about["category"],
                "cosine": top,
                "p_value": (1 + (null >= top - 1e-6).sum()) / (1 + draws),
                "excess": (top - null.mean()) / spread,
            }
        )
        if progress is not None:
            progress(done, len(heads))
    largest = np.max(nulls, axis=0)
    table = pd.DataFrame(rows)
    table["p_all_heads"] = [
        (1 + (largest >= excess - 1e-6).sum()) / (1 + draws) for excess in table["excess"]
    ]
    return table.sort_values("excess", ascending=False, kind="stable", ignore_index=True)


def extreme_images(
    workspace: Workspace,
    layer: int,
    head: int,
    direction: Float[np.ndarray, " d"],
    k: int = 12,
    rows: Int[np.ndarray, " n"] | None = None,
) -> pd.DataFrame:
    """The images on which a head's contribution (over the embedding's length) points most along a
    direction, and least.

    Args:
        direction: in the joint space: a text, the head's own direction, a detector's w.

    Returns:
        Columns ``side`` ("most", "least"), ``rank, row, path, label, generator, value, deviation``;
        value is the length of the contribution along the unit direction, deviation the same from
        the mean of the real images, in their standard deviations (NaN with fewer than two).

    Raises:
        AigiError: unknown head, zero direction, or no images.
    """
    rows = np.arange(len(workspace.embeddings)) if rows is None else np.asarray(rows)
    if not len(rows):
        raise AigiError("No images were chosen: choose at least one generator and split.")
    unit = unit_directions(direction, workspace.embeddings.shape[1])[0]
    Q, to_basis = head_basis(workspace, (layer, head))
    on_context = to_basis @ (Q.T @ unit)
    value = np.empty(len(rows))
    for block, part in contexts(workspace, (layer, head), rows, context_scales(workspace, rows)):
        value[block] = part @ on_context
    order = np.argsort(-value, kind="stable")
    real = value[workspace.domains.labels[rows] == REAL]
    deviation = np.full(len(value), np.nan)
    if len(real) > 1 and real.std(ddof=1) > 0:
        deviation = (value - real.mean()) / real.std(ddof=1)
    tables = []
    for side, chosen in (("most", order[:k]), ("least", order[::-1][:k])):
        images = workspace.images.iloc[rows[chosen]]
        tables.append(
            pd.DataFrame(
                {
                    "side": side,
                    "rank": np.arange(1, len(chosen) + 1),
                    "row": rows[chosen],
                    "path": images["path"].to_numpy(),
                    "label": images["label"].to_numpy(),
                    "generator": images["generator"].to_numpy(),
                    "value": value[chosen],
                    "deviation": deviation[chosen],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def heads_alone(
    workspace: Workspace,
    train_on: TrainingSet,
    metric: str = DEFAULT_METRIC,
    *,
    draws: int = 200,
    used: Preset = PRESETS["ours"],
    points: HeadPoints | None = None,
    trained: Sequence[LinearDetector] = (),
    progress: Progress | None = None,
) -> TransferMatrix:
    """Every head's own detector on test images: one row a head, in the order of ``all_heads``.

    Args:
        used: how they are trained, and where a head's output is seen.
        points: as of :func:`~aigi_core.detectors.heads.score_heads`.
        trained: the detectors, where somebody has trained them (:func:`train_every_head`).
        progress: called with (heads done, heads in all).
    """
    heads, detectors = all_heads(workspace), list(trained)
    for head in heads[len(detectors) :]:
        view = HeadsView((head,), space=used.head_space)
        detectors.append(train_on_heads(workspace, train_on, view, used, points))
        if progress is not None:
            progress(len(detectors), len(heads))
    sets = [detector.training_set for detector in detectors]
    scores = score_detectors(detectors, workspace)
    return transfer_matrix(scores, workspace.domains, sets, metrics=(metric,), draws=draws)


def train_every_head(
    workspace: Workspace,
    train_on: TrainingSet,
    used: Preset = PRESETS["ours"],
    *,
    progress: Progress | None = None,
) -> list[tuple[LinearDetector, ...]]:
    """Every head's own detector, in the order of ``all_heads``, for :func:`heads_alone`; beside
    each the one not refitted on validation images, for ``score_heads``: two for the price of one.
    """
    heads, pairs = all_heads(workspace), []
    for head in heads:
        view = HeadsView((head,), space=used.head_space)
        pairs += train_with_twins(workspace, [train_on], view, used.training)
        if progress is not None:
            progress(len(pairs), len(heads))
    return pairs


def paper_seconds(
    workspace: Workspace, train_on: TrainingSet, points: HeadPoints | None = None
) -> float:
    """Seconds of a core that both tables of every head take by the paper's grid, about."""
    images = len(workspace.domains.rows(train_on, ("train", "val")))
    numbers = images * len(all_heads(workspace)) * workspace.heads.shape[-1]
    return float(numbers * PAPER_SECONDS[points is not None])


def train_on_heads(
    workspace: Workspace,
    train_on: TrainingSet,
    view: HeadsView,
    used: Preset,
    points: HeadPoints | None = None,
) -> LinearDetector:
    """One detector on some heads, at the point of the paper's grid that is known to be chosen where
    it is.
    """
    point = points.point(train_on, view.heads, train_on) if points else None
    if point is not None:
        return train_at(workspace, train_on, view, used.training, point)
    return train(workspace, [train_on], view, used.training)[0]


def with_test(
    scores: HeadScores, matrix: TransferMatrix, metric: str = DEFAULT_METRIC
) -> pd.DataFrame:
    """The table of a search, best first, with what each head alone does on test images.

    Args:
        matrix: of :func:`heads_alone` for the same training generators.

    Returns:
        ``head`` ("layer.index"), the search's columns, and ``in_domain`` and ``ood``, each with
        ``_low`` and ``_high``, and ``generators``: OOD leaves out the generators that heads were
        scored on.
    """
    cells = ood_cells(matrix, scores.validate_on)
    rows = []
    for at in range(len(matrix.train)):
        own = matrix.rows([at])
        inside, out = own.mean(metric, own.in_domain), own.mean(metric, cells[[at]])
        ends = [end for one in (inside, out) for end in (one.value, one.low, one.high)]
        rows.append((*ends, out.n))
    names = [f"{name}{end}" for name in ("in_domain", "ood") for end in ("", "_low", "_high")]
    measured = pd.DataFrame(rows, columns=[*names, "generators"])
    table = scores.table.copy()
    per_layer = int(table["index"].max()) + 1
    table.insert(0, "head", table["layer"].astype(str) + "." + table["index"].astype(str))
    place = (table["layer"] * per_layer + table["index"]).to_numpy()
    return table.join(measured.iloc[place].reset_index(drop=True))


def ood_cells(matrix: TransferMatrix, left_out: Sequence[str]) -> Bool[np.ndarray, "K T"]:
    """OOD cells without some generators' columns."""
    cells: np.ndarray = ~matrix.in_domain & ~np.isin(matrix.test, list(left_out))
    return cells


def growing(
    workspace: Workspace,
    train_on: TrainingSet,
    heads: Sequence[Head],
    left_out: Sequence[str],
    metric: str = DEFAULT_METRIC,
    used: Preset = PRESETS["ours"],
) -> pd.DataFrame:
    """Detectors on the first 1, 2, ... heads, on test images out of domain: ``heads, head, value,
    low, high, n``.
    """
    views = [HeadsView(tuple(heads[: k + 1]), space=used.head_space) for k in range(len(heads))]
    detectors = [train(workspace, [train_on], view, used.training)[0] for view in views]
    scores = score_detectors(detectors, workspace)
    matrix = transfer_matrix(
        scores, workspace.domains, [d.training_set for d in detectors], metrics=(metric,)
    )
    cells = ood_cells(matrix, left_out)
    steps = np.arange(len(heads))[:, None]
    means = [vars(matrix.mean(metric, cells & (steps == k))) for k in range(len(heads))]
    names = [f"{layer}.{index}" for layer, index in heads]
    return pd.DataFrame(means).assign(heads=np.arange(1, len(heads) + 1), head=names)
