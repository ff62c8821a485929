"""What all pairs share, and one pair: each an idempotent function from a workspace and a key to
arrays and tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aigi_core.detectors.components import ComponentSearch, search_components
from aigi_core.detectors.detector import (
    Detector,
    LinearDetector,
    score_detectors,
)
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView, rescaled
from aigi_core.detectors.presets import Preset, preset
from aigi_core.detectors.protocol import GridPoints, best_point, grid_fits, validation_scores
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import TrainingImages, train, train_detectors
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import random_directions, word_null
from aigi_core.geometry import compare_geometry
from aigi_core.heads import all_heads
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.transfer.atlas import METRICS_KEPT, AtlasKey
from aigi_core.transfer.bootstrap import draw_counts
from aigi_core.transfer.difference import difference
from aigi_core.transfer.matrix import TransferMatrix, transfer_matrix
from aigi_core.transfer.pairs import Pair, d_eval
from aigi_core.transfer.random_removal import RandomRemoval, random_removal
from aigi_core.workspace import Workspace

Arrays = dict[str, np.ndarray]
Tables = dict[str, list[dict[str, Any]]]
WORD_NULL = 200
"""Random directions that a detector's nearest phrase is held against."""
GEOMETRY_DRAWS = 200


@dataclass(frozen=True, eq=False)
class Searcher:
    """A workspace with what every pair needs of it, computed once a process."""

    workspace: Workspace
    key: AtlasKey
    shared: Arrays = field(repr=False)

    @property
    def preset(self) -> Preset:
        return preset(self.key.protocol)

    @property
    def generators(self) -> tuple[str, ...]:
        return self.workspace.domains.generators

    @cached_property
    def features(self) -> Float[np.ndarray, "N d"]:
        return EmbeddingView().matrix(self.workspace)

    @cached_property
    def embedding(self) -> tuple[list[LinearDetector], TransferMatrix]:
        images = TrainingImages(self.features, self.workspace.domains)
        detectors = train_detectors(images, self.generators, self.preset.training)
        return detectors, self.measure(detectors)

    @cached_property
    def lexicon(self) -> Lexicon | None:
        return (
            Lexicon.of(self.workspace, "phrases")
            if "phrases" in self.workspace.text_banks
            else None
        )

    def measure(self, detectors: Sequence[Detector]) -> TransferMatrix:
        return transfer_matrix(
            score_detectors(detectors, self.workspace),
            self.workspace.domains,
            self.generators,
            metrics=METRICS_KEPT,
            draws=self.key.draws,
            seed=self.key.seed,
            workers=1,
        )

    def on_view(self, view: FeatureView) -> tuple[list[LinearDetector], TransferMatrix]:
        detectors = train(self.workspace, self.generators, view, self.preset.training)
        return detectors, self.measure(detectors)

    def run(self, pair: Pair) -> tuple[Arrays, Tables]:
        """Search one pair both ways and measure what comes out on D_eval."""
        d_eval(self.workspace.domains, pair)
        components = search_components(self.workspace, pair, self.preset.training, workers=1)
        d = self.features.shape[1]
        removed = components.removed_at(self.preset.cut)
        kept = ~np.isin(np.arange(d), removed)
        view = EmbeddingView(without=removed)
        detectors, after = self.on_view(view) if removed else self.embedding
        summary = self.outcomes(pair, "components", int(kept.sum()), after)
        ways = {"heads a>b": pair, "heads b>a": pair[::-1]} if self.workspace.gives.heads else {}
        best = [self.top_heads(*way) for way in ways.values()]
        top = np.array(best, np.int16) if best else np.zeros((0, 0, 2), np.int16)
        arrays = {
            **_directions(components, d),
            "kept": np.packbits(kept),
            "top_heads": top,
            "matrix components": _stack(after),
        }
        for way, (name, heads) in enumerate(zip(ways, top, strict=True)):
            chosen = tuple((int(layer), int(head)) for layer, head in heads)
            matrix = self.on_view(HeadsView(chosen, space=self.preset.head_space))[1]
            arrays[f"matrix {name}"] = _stack(matrix)
            seen = ways[name] if self.preset.heads_leave_out_train else ways[name][1:]
            summary += self.outcomes(pair, name, len(top[way]), matrix, seen)
        tables = {
            "summary": summary,
            "geometry": self.geometry(pair, kept),
            "words": self.words(pair, detectors, after, kept),
        }
        return arrays, tables

    def top_heads(self, train: str, val: str) -> list[tuple[int, int]]:
        """The best single heads for this (train, validation), best first; ties by log-loss, as
        stored.
        """
        i, j = self.generators.index(train), self.generators.index(val)
        accuracy, loss = (
            self.shared["head_scores"][i, :, :, j],
            self.shared["head_log_loss"][i, :, :, j],
        )
        order = np.lexsort((loss.ravel(), -accuracy.ravel()))[: self.key.top_heads]
        return [
            (int(layer), int(head))
            for layer, head in zip(*np.unravel_index(order, accuracy.shape), strict=True)
        ]

    def outcomes(
        self,
        pair: Pair,
        view: str,
        kept: int,
        after: TransferMatrix,
        seen: tuple[str, ...] | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of the summary: before, after and change on D_eval, with and without the
        diagonal.

        Args:
            seen: generators that D_eval leaves out; by default both of the pair.
        """
        before = self.embedding[1]
        rows = []
        for metric in METRICS_KEPT:
            change = difference(after, before, metric)
            for cells, mask in _cells(before, pair if seen is None else seen).items():
                row = {
                    "a": pair[0],
                    "b": pair[1],
                    "view": view,
                    "kept": kept,
                    "metric": metric,
                    "cells": cells,
                }
                row |= {"n": int(mask.sum())}
                for name, selection in (
                    ("before", before.mean(metric, mask)),
                    ("after", after.mean(metric, mask)),
                ):
                    row |= {
                        name: selection.value,
                        f"{name}_low": selection.low,
                        f"{name}_high": selection.high,
                    }
                gap = change.mean(mask)
                row |= {
                    "change": gap.value,
                    "change_low": gap.low,
                    "change_high": gap.high,
                    "p_value": gap.p_value,
                }
                if view == "components" and metric == self.preset.metric:
                    chance = self.random.band(kept, mask)
                    row |= dict(zip(("random", "random_low", "random_high"), chance, strict=True))
                rows.append(row)
        return rows

    @cached_property
    def random(self) -> RandomRemoval:
        sets = tuple((name,) for name in self.generators)
        kept, values = self.shared["random_kept"], self.shared["random_values"]
        return RandomRemoval(kept, values, self.preset.metric, sets, self.generators)

    def geometry(self, pair: Pair, kept: Bool[np.ndarray, " d"]) -> list[dict[str, Any]]:
        """Geometry of D_eval's test images before and after removal; no row where fewer than two
        components stay.
        """
        domains = self.workspace.domains
        if kept.sum() < 2:
            return []
        rows = domains.rows(d_eval(domains, pair), "test")
        counts = draw_counts(domains, rows, GEOMETRY_DRAWS, self.key.seed)
        comparison = compare_geometry(
            self.features[rows], kept, counts=counts, controls=self.key.controls, seed=self.key.seed
        )
        return [
            {"a": pair[0], "b": pair[1]} | {str(k): v for k, v in row.items()}
            for row in comparison.table.to_dict("records")
        ]

    def words(
        self,
        pair: Iterable[str],
        detectors: Sequence[LinearDetector],
        matrix: TransferMatrix,
        kept: Bool[np.ndarray, " d"],
    ) -> list[dict[str, Any]]:
        """How nameable each detector is, against random directions with the covariance of what is
        kept.

        ``ood`` is the balanced accuracy on generators that neither the detector nor the search has
        seen.
        """
        if self.lexicon is None:
            return []
        names = tuple(pair)
        domains = self.workspace.domains
        rows = np.flatnonzero(domains.split == "train")
        null = word_null(
            self.lexicon,
            random_directions(np.where(kept, self.features[rows], 0), WORD_NULL, self.key.seed),
            "random",
            1,
        )
        directions = np.concatenate(
            [detector.joint_weights(self.workspace) for detector in detectors]
        )
        usable = np.linalg.norm(directions, axis=1) > 0
        cosines, nearest = self.lexicon.search(np.where(usable[:, None], directions, 1.0), 1)
        unseen = ~matrix.in_domain & np.array([name not in names for name in matrix.test])
        about = dict(zip(("a", "b"), names or ("", ""), strict=True))
        return [
            about
            | {
                "detector": name,
                "family": matrix.family_of[name],
                "text": str(self.lexicon.table["text"].iloc[nearest[k, 0]]),
                "cosine": float(cosines[k, 0]),
                "null": float(np.median(null.nearest[:, 0])),
                "p_value": float(null.p_value(cosines[k, :1])[0]),
                "ood": _mean(matrix.values[DEFAULT_METRIC][k, unseen[k]]),
                "searched": name in names,
            }
            for k, name in enumerate(self.generators)
            if usable[k]
        ]


def head_grid(workspace: Workspace) -> tuple[int, int]:
    """Layers and heads a layer; 0 and 0 where the encoder has none."""
    if not workspace.gives.has("heads"):
        return 0, 0
    layers, heads = workspace.heads.shape[:2]
    return int(layers), int(heads)


def compute_shared(
    workspace: Workspace, key: AtlasKey, step: Any = lambda name: None
) -> tuple[Arrays, Tables]:
    """Embedding and residual matrices, every single head on every (train, validation), and random
    removals.
    """
    searcher = Searcher(workspace, key, {})
    step("embedding and residual matrices")
    detectors, embedding = searcher.embedding
    used = searcher.preset
    residual = searcher.measure(
        train_residual(workspace, searcher.generators, used.training, means=used.residual)
    )
    step("single heads")
    accuracy, loss = _head_scores(workspace, used)
    step("random removals")
    # random removals are no part of the paper: exact fits stand for its grid
    chance = random_removal(
        workspace,
        protocol=replace(used.training, grid="path"),
        metric=used.metric,
        seed=key.seed,
    )
    arrays = {
        "matrix embedding": _stack(embedding),
        "matrix residual": _stack(residual),
        "head_scores": accuracy,
        "head_log_loss": loss,
        "random_kept": chance.kept,
        "random_values": chance.values.astype(np.float32),
    }
    everything = np.ones(searcher.features.shape[1], bool)
    return arrays, {"words": searcher.words((), detectors, embedding, everything)}


def _head_scores(
    workspace: Workspace, used: Preset
) -> tuple[Float[np.ndarray, "K layers heads K"], Float[np.ndarray, "K layers heads K"]]:
    """Accuracy and log-loss of each single head's detector, trained on one generator, on the
    validation images of another; NaN where the two are one (its validation images chose its
    penalty). The same scores as ``detectors.score_heads``."""
    domains, names = workspace.domains, workspace.domains.generators
    layers, per_layer = head_grid(workspace)
    accuracy, loss = (
        np.full((len(names), layers, per_layer, len(names)), np.nan, np.float32) for _ in range(2)
    )
    rows = np.flatnonzero(domains.split == "val")
    columns = [np.searchsorted(rows, domains.rows(name, "val")) for name in names]
    protocol = replace(used.training, refit=False)  # as score_heads: the training split's model
    for layer, head in all_heads(workspace) if layers else ():
        view = HeadsView(((layer, head),), space=used.head_space)
        for i, decisions in enumerate(head_decisions(workspace, view, names, rows, used)):
            for j, column in enumerate(columns):
                if i == j:
                    continue
                scores = validation_scores(
                    decisions.of[column], domains.labels[rows[column]], protocol.class_weight
                )
                best = best_point(*scores, decisions.points)
                accuracy[i, layer, head, j], loss[i, layer, head, j] = (
                    part[best] for part in scores
                )
    return accuracy, loss


class Decisions(NamedTuple):
    """Of one head's detector: one column where its own validation images chose the penalty, one for
    each point of the grid where those of the generator that is scored do."""

    of: Float[np.ndarray, "m P"]
    points: GridPoints


def head_decisions(
    workspace: Workspace,
    view: HeadsView,
    names: Sequence[str],
    rows: Int[np.ndarray, " m"],
    used: Preset,
) -> Iterator[Decisions]:
    """Of detectors of each generator in turn, on these rows."""
    protocol, domains = replace(used.training, refit=False), workspace.domains
    if used.head_penalty == "own":
        detectors = train(workspace, names, view, protocol)
        features = detectors[0].view.matrix(workspace, rows)
        for detector in detectors:
            yield Decisions(detector.score(features)[:, None], [("", detector.C, 0)])
        return
    features = view.matrix(workspace)
    for name in names:
        trained_on = domains.rows(name, "train")
        X = rescaled(features, view.penalty_factors(features[trained_on]))
        points, fits = grid_fits(X[trained_on], domains.labels[trained_on], protocol)
        of = np.concatenate([fit.decision_function(X[rows]) for fit in fits], axis=1)
        yield Decisions(of, points)


def _cells(matrix: TransferMatrix, pair: tuple[str, ...]) -> dict[str, Bool[np.ndarray, "K T"]]:
    seen = matrix.without(pair)
    return {"D_eval": seen, "D_eval, ood": seen & ~matrix.in_domain}


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean()) if len(values) else np.nan


def _stack(matrix: TransferMatrix) -> Float[np.ndarray, "M K T"]:
    return np.stack([matrix.values[metric] for metric in METRICS_KEPT]).astype(np.float32)


def _directions(searched: ComponentSearch, d: int) -> Arrays:
    """Both directions of a search as padded arrays: -1 and NaN after a list's end."""
    arrays: Arrays = {
        "removed": np.full((2, d), -1, np.int16),
        "tied": np.zeros((2, d), np.int16),
        "accuracy": np.full((2, d + 1), np.nan, np.float32),
        "log_loss": np.full((2, d + 1), np.nan, np.float16),
        "cut": np.zeros(2, np.int16),
        "C": np.zeros(2, np.float32),
    }
    for way, direction in enumerate((searched.forward, searched.backward)):
        for name in ("removed", "tied", "accuracy", "log_loss"):
            values = getattr(direction, name)
            arrays[name][way, : len(values)] = values
        arrays["cut"][way], arrays["C"][way] = direction.cut, direction.C
    return arrays
