"""What a change of the embedding does to the transfer matrix, beside what meaningless changes of
the same size do.

Two uses. *Ablation*: some heads replaced by their mean; the control replaces as many other heads.
*Concepts*: some texts projected out ("is this detector only a food detector?"); the control
projects out as many random directions with the data's covariance, or as many random texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.detectors.heads import Progress
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.solvers.logistic import fit_logistic
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import random_directions
from aigi_core.explain.reading import Change, Reading, ablation, changed_embeddings, removal, scores
from aigi_core.heads import Head, all_heads, embedding_norms
from aigi_core.reprs import ShortRepr
from aigi_core.statements import Finding, counted, number, p_text
from aigi_core.transfer import (
    DEFAULT_METRIC,
    METRICS,
    MatrixDifference,
    TrainSet,
    TransferMatrix,
    difference,
    transfer_matrix,
)
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

CONTROLS = 20
_SAMPLE = 4096


@dataclass(frozen=True, eq=False, repr=False)
class Effect(ShortRepr):
    """Attributes:
    says: what was changed.
    before, after: the matrix without and with the change, on the same images and draws.
    change: ``after - before`` with intervals, paired.
    table: per detector and for all of them, in-domain and OOD: ``detector, cells, before, after,
    change, low, high,
        p_value`` (paired bootstrap), ``n`` (cells), and beside it ``control_mean, control_low,
        control_high`` (range of the controls), ``p_control`` (two-sided rank among them),
        ``controls`` (how many).
    controls: [R, K, T] change made by each control.
    """

    says: str
    before: TransferMatrix = field(repr=False)
    after: TransferMatrix = field(repr=False)
    change: MatrixDifference = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    controls: Float[np.ndarray, "R K T"] = field(repr=False)

    def in_words(self, detector: str = "all") -> str:
        """What becomes of one detector (or of ``all``), in-domain and out of domain, beside the
        controls.
        """
        parts = []
        for _, row in self.table[self.table["detector"] == detector].iterrows():
            where = "out of domain" if row["cells"] == "ood" else "in-domain"
            beside = (
                f"{counted(row['controls'], 'control')}:"
                f" {number(100 * row['control_low'], 1, signed=True)} to"
                f" {number(100 * row['control_high'], 1, signed=True)} points,"
                f" {p_text(row['p_control'])} against these"
                if row["controls"]
                else "no control"
            )
            moved = Finding(
                float(row["change"]),
                float(row["low"]),
                float(row["high"]),
                float(row["p_value"]),
                n=int(row["n"]),
                what="paired cell",
            )
            parts.append(
                f"{where} from {number(row['before'])} to {number(row['after'])}:"
                f" {moved.points()}; {beside}"
            )
        return f"{METRICS[self.change.metric].title}: " + "; ".join(parts) + "."


def effect(
    workspace: Workspace,
    readings: Sequence[Reading],
    train: Sequence[str | TrainSet],
    change: Change,
    controls: Sequence[Change] = (),
    *,
    refit: Sequence[float] | None = None,
    metric: str = DEFAULT_METRIC,
    test: Sequence[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Effect:
    """Evaluate detectors on changed embeddings.

    Args:
        train: the training set of each reading.
        refit: C of each detector: train it again (with a bias, classes weighed as by default) on
            the changed embeddings (train and validation split) instead of reading them with the
            weights it has. Asks whether *some* detector could do without what was removed; without
            it, whether *this* one does.
        progress: called with (matrices done, matrices in all).

    Raises:
        AigiError: what :func:`~aigi_core.transfer.transfer_matrix` raises, or a refit of a detector
            that does not read the whole normalised embedding.
    """
    readings = list(readings)
    if refit is not None and (
        len(refit) != len(readings) or any(r.heads or not r.normalised for r in readings)
    ):
        raise AigiError(
            "Only detectors on the whole normalised embedding, with one C each, can be"
            " trained again: choose that feature view."
        )

    def matrix(how: Change, boots: int) -> TransferMatrix:
        mine = (
            readings
            if refit is None or how is unchanged
            else _refitted(workspace, train, how, refit)
        )
        result = scores(workspace, mine, change=how)
        return transfer_matrix(
            result, workspace.domains, train, test, metrics=(metric,), draws=boots, seed=seed
        )

    unchanged = Change()
    before, after = matrix(unchanged, draws), matrix(change, draws)
    drawn: list[np.ndarray] = []
    for control in controls:
        if progress is not None:
            progress(2 + len(drawn), 2 + len(controls))
        drawn.append(matrix(control, 1).values[metric] - before.values[metric])
    by_control = np.stack(drawn) if drawn else np.empty((0, *before.values[metric].shape))
    paired = difference(after, before, metric)
    return Effect(
        change.says,
        before,
        after,
        paired,
        _table(before, after, paired, by_control, metric),
        by_control,
    )


def ablation_effect(
    workspace: Workspace,
    readings: Sequence[Reading],
    train: Sequence[str | TrainSet],
    heads: Sequence[Head],
    *,
    controls: int = CONTROLS,
    metric: str = DEFAULT_METRIC,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Effect:
    """Replace heads by their mean over the training images; controls replace as many others, drawn
    at random.
    """
    change = ablation(workspace, heads)
    others = [head for head in all_heads(workspace) if head not in change.means]
    rng = np.random.default_rng(seed)
    if controls and len(others) < len(change.means):
        raise AigiError(
            f"The control needs {counted(len(change.means), 'other head')}, and fewer are"
            " left: ablate fewer heads, or set the number of controls to 0."
        )
    random = [
        ablation(
            workspace,
            [others[i] for i in rng.choice(len(others), len(change.means), replace=False)],
        )
        for _ in range(controls)
    ]
    return effect(
        workspace,
        readings,
        train,
        change,
        random,
        metric=metric,
        draws=draws,
        seed=seed,
        progress=progress,
    )


def concept_effect(
    workspace: Workspace,
    readings: Sequence[Reading],
    train: Sequence[str | TrainSet],
    lexicon: Lexicon,
    texts: Sequence[str],
    *,
    control: Literal["directions", "texts"] = "directions",
    controls: int = CONTROLS,
    refit: Sequence[float] | None = None,
    metric: str = DEFAULT_METRIC,
    draws: int = 1000,
    seed: int = 0,
) -> Effect:
    """Project texts (of the lexicon, centred as it is) out of every embedding and measure the
    matrix again.

    Raises:
        AigiError: a text that is not in the lexicon, or no text.
    """
    if not texts:
        raise AigiError("No text was chosen: name at least one to project out.")
    vectors = lexicon.vectors[[lexicon.row(text) for text in texts]]
    change = removal(vectors, f"projected out: {', '.join(texts)}")
    assert change.removed is not None
    count = change.removed.shape[1]
    rng = np.random.default_rng(seed)
    if control == "texts":
        drawn = lexicon.vectors[
            np.stack([rng.choice(len(lexicon), count, replace=False) for _ in range(controls)])
        ]
    else:
        rows = np.flatnonzero(workspace.domains.split == "train")
        rows = np.sort(rng.choice(rows, min(len(rows), _SAMPLE), replace=False))
        X = (
            np.asarray(workspace.embeddings[rows], np.float64)
            / embedding_norms(workspace, rows)[:, None]
        )
        drawn = random_directions(X, controls * count, seed).reshape(controls, count, -1)
    random = [removal(vectors) for vectors in drawn]
    return effect(
        workspace,
        readings,
        train,
        change,
        random,
        refit=refit,
        metric=metric,
        draws=draws,
        seed=seed,
    )


def _refitted(
    workspace: Workspace, train: Sequence[str | TrainSet], change: Change, refit: Sequence[float]
) -> list[Reading]:
    domains, fitted = workspace.domains, []
    for names, C in zip(train, refit, strict=True):
        rows = domains.rows(names, ("train", "val"))
        E = changed_embeddings(workspace, change, rows)
        X, weighing = unit_rows(E), Protocol().class_weight
        fit = fit_logistic(X, domains.labels[rows], C, class_weight=weighing)
        fitted.append(Reading(float(fit.intercept[0]), fit.weights[0]))
    return fitted


def _table(
    before: TransferMatrix,
    after: TransferMatrix,
    paired: MatrixDifference,
    controls: Float[np.ndarray, "R K T"],
    metric: str,
) -> pd.DataFrame:
    rows = []
    every = np.ones(len(before.train), bool)
    sets = [("all", every)] + [
        (name, np.arange(len(every)) == k) for k, name in enumerate(before.train_names)
    ]
    for name, mine in sets:
        for cells, mask in (("in-domain", before.in_domain), ("ood", ~before.in_domain)):
            chosen = mask & mine[:, None]
            if not chosen.any():
                continue
            mean = paired.mean(chosen)
            drawn = controls[:, chosen].mean(axis=1)
            rows.append(
                {
                    "detector": name,
                    "cells": cells,
                    "before": before.values[metric][chosen].mean(),
                    "after": after.values[metric][chosen].mean(),
                    "change": mean.value,
                    "low": mean.low,
                    "high": mean.high,
                    "p_value": mean.p_value,
                    "n": mean.n,
                    **_against(mean.value, drawn),
                }
            )
    return pd.DataFrame(rows)


def _against(value: float, controls: Float[np.ndarray, " R"]) -> dict[str, float]:
    if not len(controls):
        return {
            "control_mean": np.nan,
            "control_low": np.nan,
            "control_high": np.nan,
            "p_control": np.nan,
            "controls": 0,
        }
    beyond = (np.abs(controls) >= abs(value) - 1e-12).sum()
    return {
        "control_mean": float(controls.mean()),
        "control_low": float(controls.min()),
        "control_high": float(controls.max()),
        "p_control": float((1 + beyond) / (1 + len(controls))),
        "controls": len(controls),
    }
