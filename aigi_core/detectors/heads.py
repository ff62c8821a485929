"""Detectors on attention heads: every head alone, the best together, and joint forward selection.

Each head's direct contribution to the embedding is a feature set of its own, used in exact
head_width-d form (see
:class:`~aigi_core.detectors.features.HeadsView`). As in the paper a head is trained on one
generator and scored on the validation split of another, and the three best are concatenated.
Forward selection goes beyond the paper: it asks which head adds most to those already chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.features import HeadsView, head_scale
from aigi_core.detectors.head_points import HeadPoints
from aigi_core.detectors.presets import HeadSpace, PenaltyFrom
from aigi_core.detectors.protocol import (
    Chosen,
    GridPoint,
    Protocol,
    TrainingSet,
    as_names,
    at_point,
    run_protocol,
    validation_scores,
)
from aigi_core.errors import AigiError
from aigi_core.heads import Head, all_heads, embedding_norms, head_features, stream_features
from aigi_core.intervals import count_interval, mean_of_rates_interval
from aigi_core.manifest import Domains
from aigi_core.reprs import ShortRepr
from aigi_core.resampling import group_weights
from aigi_core.statements import counted
from aigi_core.winner import Winner, winner
from aigi_core.workspace import Workspace

Progress = Callable[[int, int], None]
"""Called with (fits done, fits at most); raise in it to cancel."""
DRAWS = 500
"""Draws of the scored images for what the choice of the best head gains."""
Blocks = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False, repr=False)
class HeadScores(ShortRepr):
    """Every head alone, for a (train, validate) pair of generators.

    Attributes:
        table: one row a head, best first: layer, index, C, accuracy (balanced over the classes
            where the protocol is) with its interval (low, high), log_loss. best: the first of
            them, named "layer.index", with an interval that allows for the choice. train_on,
            validate_on: generators. n_train, n_val: rows trained on and scored.
    """

    table: pd.DataFrame
    best: Winner
    train_on: tuple[str, ...]
    validate_on: tuple[str, ...]
    n_train: int
    n_val: int

    def top(self, k: int = 3) -> tuple[Head, ...]:
        """The k best heads (accuracy, then lower log-loss, then lower layer and index), best
        first.
        """
        if not 1 <= k <= len(self.table):
            raise AigiError(
                f"Between 1 and {counted(len(self.table), 'head')} can be chosen, not {k}."
            )
        rows = self.table.head(k)
        return tuple(zip(rows["layer"].tolist(), rows["index"].tolist(), strict=True))

    def view(self, k: int = 3) -> HeadsView:
        """The k best heads, concatenated."""
        return HeadsView(self.top(k))


def score_heads(
    workspace: Workspace,
    train_on: TrainingSet,
    validate_on: TrainingSet,
    protocol: Protocol | None = None,
    *,
    heads: Sequence[Head] | None = None,
    space: HeadSpace = "embedding",
    penalty: PenaltyFrom = "own",
    points: HeadPoints | None = None,
    trained: Sequence[LinearDetector] = (),
    progress: Progress | None = None,
) -> HeadScores:
    """Logistic regression on each head alone, trained on one generator and scored on another's
    validation split.

    The model scored is that of the training split.

    Args:
        space: what a head's features are.
        penalty: C is chosen on the validation split of the training generator itself (``own``), or
            on that of the generator that the head is scored on (``scored``), as in the paper.
        points: the points of the paper's grid that a job found to be chosen; without, every head
            walks its grid.
        trained: detectors on each of these heads, not refitted on validation images, where somebody
            has trained them; ``penalty`` is ``own`` then.

    Raises:
        AigiError: both generators are the same, unknown, or without images of a class in a split.
    """
    reader, protocol = _Reader(workspace, train_on, validate_on, space), protocol or Protocol()
    wanted = tuple(heads) if heads is not None else all_heads(workspace)
    rows, verdicts = [], []
    for done, head in enumerate(wanted, 1):
        if trained:
            C = trained[done - 1].C
            judged = trained[done - 1].view.matrix(workspace, reader.rows["score"])
            f = trained[done - 1].score(judged)
            accuracy, loss, right = _judged(f, reader.labels["score"], protocol)
        else:
            blocks = reader.blocks((head,))
            if penalty == "scored":
                blocks["val"] = blocks["score"]
            by = validate_on if penalty == "scored" else train_on
            point = points.point(train_on, (head,), by) if points else None
            chosen, accuracy, loss, right = _score(blocks, protocol, point)
            C = chosen.C
        rows.append(
            (
                *head,
                C,
                accuracy,
                *_interval(right, reader.labels["score"] > 0, protocol),
                loss,
            )
        )
        verdicts.append(right)
        if progress is not None:
            progress(done, len(wanted))
    table = pd.DataFrame(
        rows, columns=["layer", "index", "C", "accuracy", "low", "high", "log_loss"]
    )
    n_train, n_val = (len(reader.rows[split]) for split in ("train", "score"))
    best = _best(table, np.array(verdicts), reader, protocol)
    table = table.sort_values(
        ["accuracy", "log_loss", "layer", "index"],
        ascending=[False, True, True, True],
        ignore_index=True,
    )
    return HeadScores(table, best, as_names(train_on), as_names(validate_on), n_train, n_val)


def most_validated(domains: Domains, among: Sequence[str]) -> str:
    """The generator with the most fakes to validate on: heads are told apart best there."""
    return max(
        among, key=lambda name: int(((domains.generator == name) & (domains.split == "val")).sum())
    )


@dataclass(frozen=True, eq=False, repr=False)
class HeadSelection(ShortRepr):
    """Joint forward selection. Entry t of the curves is the detector on the first t + 1 heads.

    Attributes:
        heads: in the order chosen. accuracy, log_loss: on the scoring generator. C: inverse penalty
            of every fit.
    """

    heads: tuple[Head, ...]
    accuracy: np.ndarray
    log_loss: np.ndarray
    C: float
    n_train: int
    n_val: int

    @property
    def cut(self) -> int:
        """Heads at the best score (ties: lower log-loss, then fewer heads)."""
        return int(np.lexsort((self.log_loss, -self.accuracy))[0]) + 1

    @property
    def view(self) -> HeadsView:
        """The heads up to the cut."""
        return HeadsView(self.heads[: self.cut])


def select_heads(
    workspace: Workspace,
    train_on: TrainingSet,
    validate_on: TrainingSet,
    protocol: Protocol | None = None,
    *,
    most: int = 8,
    C: float | None = None,
    heads: Sequence[Head] | None = None,
    progress: Progress | None = None,
) -> HeadSelection:
    """Add, one by one, the head whose addition scores best on another generator (accuracy, then
    log-loss).

    Every candidate is fitted exactly at each step, together with the heads already chosen.

    Args:
        most: heads chosen at most. C: penalty of all fits; by default that of the best single head.
        heads: candidates, all of them by default.
    """
    reader, protocol = _Reader(workspace, train_on, validate_on), protocol or Protocol()
    wanted = list(dict.fromkeys(heads)) if heads is not None else list(all_heads(workspace))
    most = min(most, len(wanted))
    if most < 1:
        raise AigiError("No head can be chosen: name candidates and let at least one be chosen.")
    if C is None:
        C = float(
            score_heads(workspace, train_on, validate_on, protocol, heads=wanted).table["C"].iloc[0]
        )
    fixed = replace(protocol, C=(C,), grid="path", refit=False)
    chosen: list[Head] = []
    curve: list[tuple[float, float]] = []
    fits, total = 0, sum(len(wanted) - k for k in range(most))
    while len(chosen) < most:
        scores = []
        for head in wanted:
            if head in chosen:
                continue
            _, accuracy, loss, _ = _score(reader.blocks((*chosen, head)), fixed)
            scores.append((-accuracy, loss, head))
            fits += 1
            if progress is not None:
                progress(fits, total)
        negative, loss, best = min(scores)
        chosen.append(best)
        curve.append((-negative, loss))
    accuracy, log_loss = np.array(curve).T
    return HeadSelection(
        tuple(chosen), accuracy, log_loss, C, len(reader.rows["train"]), len(reader.rows["score"])
    )


class _Reader:
    """Features of heads for the three row sets of a (train, validate) pair, each head read once."""

    def __init__(
        self,
        workspace: Workspace,
        train_on: TrainingSet,
        validate_on: TrainingSet,
        space: HeadSpace = "embedding",
    ) -> None:
        trained, scored = as_names(train_on), as_names(validate_on)
        if set(trained) & set(scored):
            raise AigiError(
                "Heads are trained on one generator and scored on another, and"
                f" {', '.join(set(trained) & set(scored))} is both: choose two different ones."
            )
        workspace.need("heads")  # before all embeddings are looked at
        domains = workspace.domains
        self.rows = {
            "train": domains.rows(trained, "train"),
            "val": domains.rows(trained, "val"),
            "score": domains.rows(scored, "val"),
        }
        self.labels = {name: domains.labels[rows] for name, rows in self.rows.items()}
        self.all_rows = np.concatenate(list(self.rows.values()))
        self.ends = np.cumsum([len(rows) for rows in self.rows.values()])[:-1]
        self.workspace, self.space = workspace, space
        self.norms = embedding_norms(workspace, self.all_rows)
        self.cache: dict[Head, np.ndarray] = {}

    def blocks(self, heads: tuple[Head, ...]) -> Blocks:
        """Features and labels of train, val and score for these heads, concatenated."""
        for head in heads:
            if head in self.cache:
                continue
            if self.space == "stream":
                self.cache[head] = stream_features(self.workspace, head, self.all_rows)
            else:
                features = head_features(self.workspace, head, self.all_rows, self.norms)
                self.cache[head] = head_scale(features[: self.ends[0]]) * features
        features = (
            np.concatenate([self.cache[head] for head in heads], axis=1)
            if len(heads) > 1
            else self.cache[heads[0]]
        )
        parts = np.split(features, self.ends)
        return {
            name: (part, self.labels[name]) for name, part in zip(self.rows, parts, strict=True)
        }


def _score(
    blocks: Blocks, protocol: Protocol, point: GridPoint | None = None
) -> tuple[Chosen, float, float, np.ndarray]:
    """Train on ``train`` (C by ``val``, or at a point that is known to be chosen); accuracy and
    log-loss on ``score``, and which of its images are judged rightly.
    """
    alone = replace(protocol, refit=False)
    if point is None:
        chosen = run_protocol(blocks["train"], blocks["val"], alone)
    else:
        chosen = at_point(*blocks["train"], alone, point)
    X, y = blocks["score"]
    return chosen, *_judged(chosen.score(X), y, protocol)


def _judged(
    f: Float[np.ndarray, " n"], y: Int[np.ndarray, " n"], protocol: Protocol
) -> tuple[float, float, Bool[np.ndarray, " n"]]:
    """Accuracy and log-loss of some images' log-odds, and which are judged rightly."""
    accuracy, loss = validation_scores(f[:, None], y, protocol.class_weight)
    return float(accuracy[0]), float(loss[0]), (f > 0) == (y > 0)


def _best(
    table: pd.DataFrame, right: Bool[np.ndarray, "M n"], reader: _Reader, protocol: Protocol
) -> Winner:
    """The head with the highest accuracy; draws of the scored images, whole groups at a time, say
    what its choice gains."""
    rows, fake = reader.rows["score"], reader.labels["score"] > 0
    groups = reader.workspace.domains.group_numbers(rows)
    weights = group_weights(groups, DRAWS, strata=fake)
    classes = [np.ones(len(fake), bool)] if protocol.class_weight is None else [fake, ~fake]
    with np.errstate(invalid="ignore"):
        shares = [
            (weights[:, of] @ right[:, of].T.astype(float)) / weights[:, of].sum(axis=1)[:, None]
            for of in classes
        ]
    candidates = pd.DataFrame(
        {
            "name": [f"{layer}.{index}" for layer, index in table[["layer", "index"]].to_numpy()],
            "value": table["accuracy"],
            "low": table["low"],
            "high": table["high"],
            "n": len(fake),
        }
    )
    # Among equal accuracies the order of the table decides, as it does for the heads chosen.
    order = np.lexsort((table["index"], table["layer"], table["log_loss"], -table["accuracy"]))
    drawn: np.ndarray = np.mean(shares, axis=0)
    return winner(candidates.iloc[order], drawn[:, order], limits=(0, 1))


def _interval(right: np.ndarray, fake: np.ndarray, protocol: Protocol) -> tuple[float, float]:
    """Interval of the share judged rightly; of the mean of both classes' shares where they weigh
    alike."""
    if protocol.class_weight is None:
        low, high = count_interval(right.sum(), len(right))
        return float(low), float(high)
    real, fakes = right[~fake], right[fake]
    bounds = mean_of_rates_interval(
        (real.mean(), fakes.mean()), (np.array(len(real)), np.array(len(fakes))), (0.5, 0.5)
    )
    return float(bounds.low), float(bounds.high)
