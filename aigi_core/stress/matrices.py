"""What survives a JPEG: whole matrices on perturbed images, detectors trained on them, heads and
components that hold.

Robustness and bias are kept apart by what is perturbed: both classes (does the sign of generation
survive?), fakes alone or real images alone (does the operation itself look fake, or real?).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.audit.matching import take_domains
from aigi_core.detectors.detector import LinearDetector
from aigi_core.detectors.features import EmbeddingView, FeatureView
from aigi_core.detectors.heads import Progress
from aigi_core.detectors.protocol import Protocol, TrainingSet, as_names
from aigi_core.detectors.stored import load_detectors
from aigi_core.detectors.training import TrainingImages, train_detectors
from aigi_core.errors import AigiError, NotMadeError
from aigi_core.manifest import FAKE, REAL, SPLITS
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.perturb import Op, parse_ops
from aigi_core.reprs import ShortRepr
from aigi_core.significance import q_values
from aigi_core.stress.copies import AUGMENTED, Perturbed, open_perturbed, perturbed_ops
from aigi_core.transfer import (
    Estimate,
    MatrixDifference,
    PairedDifference,
    TransferMatrix,
    difference,
    transfer_matrix,
)
from aigi_core.workspace import Workspace

Side = Literal["both", "fake", "real"]
SIDES: tuple[Side, ...] = ("both", "fake", "real")
CLEAN = "clean"


@dataclass(frozen=True, eq=False, repr=False)
class Stress(ShortRepr):
    """Matrices of detectors under each operation; all share images and draws, so differences are
    paired.

    Attributes:
        matrices: (trained on, tested on, side perturbed) -> matrix. Trained on is ``clean``, an
            operation or ``augmented``; tested on is ``clean`` or an operation; the side of a clean
            test is ``both``.
    """

    matrices: dict[tuple[str, str, Side], TransferMatrix] = field(repr=False)

    def curves(self, metric: str = DEFAULT_METRIC) -> pd.DataFrame:
        """Every cell under every operation.

        Returns:
            Columns ``trained, op, kind, strength, side``, then those of
            :meth:`TransferMatrix.to_frame`.
        """
        tables = []
        for (trained, op, side), matrix in self.matrices.items():
            kind, strength = (CLEAN, np.nan) if op == CLEAN else _kind(op)
            table = matrix.to_frame([metric])
            front = ["trained", "op", "kind", "strength", "side"]
            tables.append(
                table.assign(trained=trained, op=op, kind=kind, strength=strength, side=side)[
                    [*front, *table.columns]
                ]
            )
        return pd.concat(tables, ignore_index=True)

    def change(
        self, op: str, side: Side = "both", trained: str = CLEAN, metric: str = DEFAULT_METRIC
    ) -> MatrixDifference:
        """Perturbed minus clean test, cell by cell, paired, with p- and q-values."""
        key = (trained, op, side, metric)
        if key not in self._known_changes:
            matrices = self._of(trained, op, side), self._of(trained, CLEAN, "both")
            self._known_changes[key] = difference(*matrices, metric)
        return self._known_changes[key]

    @cached_property
    def _known_changes(self) -> dict[tuple[str, str, Side, str], MatrixDifference]:
        """What :meth:`change` gave before: both tables ask for it."""
        return {}

    def gain(
        self, op: str, trained: str, side: Side = "both", metric: str = DEFAULT_METRIC
    ) -> MatrixDifference:
        """Trained on perturbed images minus trained on clean ones, under the same test."""
        return difference(self._of(trained, op, side), self._of(CLEAN, op, side), metric)

    def summary(self, metric: str = DEFAULT_METRIC) -> pd.DataFrame:
        """Means over the in-domain and the out-of-domain cells, with the paired change against the
        clean test.

        Returns:
            One row a matrix and group of cells: ``trained, op, side, cells, value, low, high,
                change, change_low, change_high, p_value, n`` (cells), and ``q_value``
                (Benjamini-Hochberg over the operations of the same detectors, side and cells; 1 for
                the clean test).
        """
        rows = []
        for (trained, op, side), matrix in self.matrices.items():
            change = self.change(op, side, trained, metric)
            for cells, mask in (("in-domain", matrix.in_domain), ("ood", ~matrix.in_domain)):
                if not mask.any():
                    continue
                mean, moved = matrix.mean(metric, mask), change.mean(mask)
                rows.append(
                    dict(
                        trained=trained,
                        op=op,
                        side=side,
                        cells=cells,
                        **_row(mean, moved),
                    )
                )
        table = pd.DataFrame(rows)
        tested = table[table["op"] != CLEAN]
        adjusted = tested.groupby(["trained", "side", "cells"], sort=False)["p_value"].transform(
            lambda p: q_values(p.to_numpy())
        )
        return table.assign(q_value=adjusted.reindex(table.index, fill_value=1.0))

    def by_generator(self, metric: str = DEFAULT_METRIC) -> pd.DataFrame:
        """Every generator under every operation: its own detector, and the mean of those that never
        saw it.

        Returns:
            Columns ``name, trained, op, kind, strength, side, cells, value, low, high, change,
            change_low, change_high, p_value`` (paired, against the clean test), ``q_value``
            (Benjamini-Hochberg over the generators of a matrix) and ``n`` (cells).
        """
        rows: list[dict[str, object]] = []
        for (trained, op, side), matrix in self.matrices.items():
            kind, strength = (CLEAN, np.nan) if op == CLEAN else _kind(op)
            change = self.change(op, side, trained, metric)
            for cells, mask in (("in-domain", matrix.in_domain), ("ood", ~matrix.in_domain)):
                for at, name in enumerate(matrix.test):
                    mine = mask & (np.arange(len(matrix.test)) == at)
                    if not mine.any():
                        continue
                    mean, moved = matrix.mean(metric, mine), change.mean(mine)
                    rows.append(
                        dict(
                            name=name,
                            trained=trained,
                            op=op,
                            kind=kind,
                            strength=strength,
                            side=side,
                            cells=cells,
                            **_row(mean, moved),
                        )
                    )
        table = pd.DataFrame(rows)
        parts = table.groupby(["trained", "op", "side", "cells"], sort=False)["p_value"]
        return table.assign(q_value=parts.transform(lambda p: q_values(p.to_numpy())))

    def gains(self, trained: str, metric: str = DEFAULT_METRIC) -> pd.DataFrame:
        """Training on perturbed images against training on clean ones, under every test of both
        classes.

        Returns:
            One row a test and group of cells: ``op, cells, value, low, high, p_value, n`` (paired;
                ``n`` cells), and ``q_value`` (Benjamini-Hochberg over all rows).
        """
        rows: list[dict[str, object]] = []
        for of, op, side in self.matrices:
            if of != trained or side != "both":
                continue
            gain, inside = (
                self.gain(op, trained, metric=metric),
                self._of(trained, op, side).in_domain,
            )
            rows += [
                {"op": op, "cells": cells, **vars(gain.mean(mask))}
                for cells, mask in (("in-domain", inside), ("ood", ~inside))
                if mask.any()
            ]
        if not rows:
            raise AigiError(f"No detector was trained on {trained}: name it in 'trained_on'.")
        table = pd.DataFrame(rows)
        return table.assign(q_value=q_values(table["p_value"].to_numpy()))

    def _of(self, trained: str, op: str, side: Side) -> TransferMatrix:
        if (trained, op, side) not in self.matrices:
            have = "; ".join(sorted({f"{t} on {o} ({s})" for t, o, s in self.matrices}))
            raise AigiError(
                f"This was not measured: trained on {trained}, tested on {op} ({side}). Measured:"
                f" {have}."
            )
        return self.matrices[trained, op, side]


def stress(
    workspace: Workspace,
    training_sets: Sequence[TrainingSet] | None = None,
    ops: Sequence[str | Op] | None = None,
    *,
    trained_on: Sequence[str] = (CLEAN,),
    sides: Sequence[Side] = SIDES,
    view: FeatureView | None = None,
    protocol: Protocol | None = None,
    test: Sequence[str] | None = None,
    metrics: Sequence[str] = (DEFAULT_METRIC, "auc", "accuracy_real", "accuracy_fake"),
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Stress:
    """Matrices on clean and perturbed test images, of detectors trained on clean or perturbed ones.

    Args:
        training_sets: each generator alone by default.
        ops: operations to test on; all that the workspace holds by default.
        trained_on: ``clean``, an operation (its copies in place of the images), or ``augmented``
            (the images and their copies under all operations that have training copies).
        sides: which test images are perturbed.
        progress: called with (matrices done, matrices in all).

    Raises:
        WorkspaceError: copies that are not there.
        AigiError: an operation without test copies, or without training copies where it is trained
            on.
    """
    domains = workspace.domains
    sets = [as_names(s) for s in (domains.generators if training_sets is None else training_sets)]
    chosen = perturbed_ops(workspace) if ops is None else ops
    copies = [open_perturbed(workspace, op) for op in chosen]
    if not copies:
        raise NotMadeError(
            f"The workspace holds no perturbed copies: run '{workspace.command('perturb')}'."
        )
    for copy in copies:
        if "test" not in copy.splits:
            again = workspace.command(
                "perturb",
                ops=str(copy.op),
                splits=sorted({*copy.splits, "test"}),
            )
            raise AigiError(f"The copies of {copy.op} hold no test images: run '{again}'.")
    if bad := [side for side in sides if side not in SIDES]:
        raise AigiError(f"There is no side {bad[0]!r}: expected {', '.join(SIDES)}.")
    view = view or EmbeddingView()
    features = view.matrix(workspace)
    perturbed = {str(copy.op): view.matrix(copy) for copy in copies}
    result: dict[tuple[str, str, Side], TransferMatrix] = {}
    total = len(dict.fromkeys(trained_on)) * (1 + len(perturbed) * len(dict.fromkeys(sides)))
    for trained in dict.fromkeys(trained_on):
        detectors = _trained(
            workspace,
            sets,
            trained=trained,
            view=view,
            features=features,
            protocol=protocol,
            copies=copies,
            perturbed=perturbed,
        )
        clean = np.stack([detector.score(features) for detector in detectors])

        def add(key: tuple[str, str, Side], scores: np.ndarray) -> None:
            result[key] = transfer_matrix(
                scores, domains, sets, test, metrics=metrics, draws=draws, seed=seed
            )
            if progress is not None:
                progress(len(result), total)

        add((trained, CLEAN, "both"), clean)
        for copy in copies:
            moved = np.stack([detector.score(perturbed[str(copy.op)]) for detector in detectors])
            for side in dict.fromkeys(sides):
                add(
                    (trained, str(copy.op), side),
                    replaced(clean, moved, copy.rows, domains.labels, side),
                )
    return Stress(result)


def clean_tables(workspace: Workspace, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Summary and table by generator of detectors trained on clean images, one a generator, under
    every operation that the workspace holds."""
    every = stress(workspace, metrics=(metric,))
    return every.summary(metric), every.by_generator(metric)


def training_gains(workspace: Workspace, trained: str, metric: str) -> pd.DataFrame:
    """:meth:`Stress.gains` of such detectors trained on copies, under every operation."""
    both = stress(workspace, trained_on=(CLEAN, trained), sides=("both",), metrics=(metric,))
    return both.gains(trained, metric)


def replaced(
    clean: Float[np.ndarray, "K N"],
    moved: Float[np.ndarray, "K n"],
    rows: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " N"],
    side: Side,
) -> Float[np.ndarray, "K N"]:
    """Scores in which the perturbed copies stand for their images, on one side or both."""
    wanted = {"both": (REAL, FAKE), "fake": (FAKE,), "real": (REAL,)}[side]
    mine = np.isin(labels[rows], wanted)
    scores = clean.copy()
    scores[:, rows[mine]] = moved[:, mine]
    return scores


def _trained(
    workspace: Workspace,
    sets: Sequence[tuple[str, ...]],
    *,
    trained: str,
    view: FeatureView,
    features: Float[np.ndarray, "N p"],
    protocol: Protocol | None,
    copies: Sequence[Perturbed],
    perturbed: dict[str, np.ndarray],
) -> list[LinearDetector]:
    domains = workspace.domains
    if trained == CLEAN:
        kept = isinstance(view, EmbeddingView) and load_detectors(workspace, sets, view, protocol)
        if kept:
            return kept
        return train_detectors(TrainingImages(features, domains, view), sets, protocol)
    usable = [copy for copy in copies if {"train", "val"} <= set(copy.splits)]
    if trained != AUGMENTED:
        wanted = str(parse_ops([trained])[0])
        usable = [copy for copy in usable if str(copy.op) == wanted]
    if not usable:
        what = "any operation" if trained == AUGMENTED else trained
        again = workspace.command(
            "perturb",
            splits=SPLITS,
            ops=str(copies[0].op) if trained == AUGMENTED else trained,
        )
        raise AigiError(
            f"There are no training copies of {what} among the operations tested: run '{again}'."
        )
    if trained == AUGMENTED:
        index = np.concatenate([np.arange(len(domains)), *(copy.rows for copy in usable)])
        stacked = np.concatenate([features, *(perturbed[str(copy.op)] for copy in usable)])
        images = TrainingImages(stacked, take_domains(domains, index), view)
        return train_detectors(images, sets, protocol)
    instead = features.copy()
    instead[usable[0].rows] = perturbed[str(usable[0].op)]
    return train_detectors(TrainingImages(instead, domains, view), sets, protocol)


def _kind(op: str) -> tuple[str, float]:
    parsed = parse_ops([op])[0]
    return parsed.kind, parsed.value


def _row(mean: Estimate, moved: PairedDifference) -> dict[str, object]:
    return dict(
        value=mean.value,
        low=mean.low,
        high=mean.high,
        change=moved.value,
        change_low=moved.low,
        change_high=moved.high,
        p_value=moved.p_value,
        n=mean.n,
    )
