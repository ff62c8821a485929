"""Logistic regression on any feature view, and on the cosine with the residual (Gaintseva et al.
2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int8

from aigi_core.detectors.detector import Detector, FeatureDetector, LinearDetector
from aigi_core.detectors.features import EmbeddingView, FeatureView, ResidualView
from aigi_core.detectors.methods.base import Method, Rows, numbers_of, protocol_of, register
from aigi_core.detectors.presets import Means
from aigi_core.detectors.protocol import Protocol, TrainingSet
from aigi_core.detectors.residual import residual_directions, train_residual
from aigi_core.detectors.solvers.logistic import NULL_TOLERANCE, fit_logistic
from aigi_core.detectors.training import (
    TrainingImages,
    train,
    train_detectors,
    train_twice,
    training_seconds,
)
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace

PAPER_SECONDS = 1.9e-6
"""Seconds of a core that the paper's grid takes for each number of a training set's features."""


@register
class LogisticRegression(Method):
    name = "logistic"
    title = "Logistic regression"
    source = "Gaintseva et al. 2024; linear probe of Ojha et al. 2023"
    chosen = "C from eight values, by validation accuracy."
    cost = "Trains in tens of milliseconds, scores with one matrix product."
    linear = True

    def seconds(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | str,
        protocol: Protocol,
        *,
        twice: bool = False,
    ) -> float:
        if protocol.grid == "paper":
            width = int(workspace.embeddings.shape[1]) if isinstance(view, FeatureView) else 1
            numbers = numbers_of(workspace.domains, training_sets, protocol) * width
            return numbers * PAPER_SECONDS
        return training_seconds(workspace, len(training_sets), view, protocol, twins=twice)

    def train_on(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> list[LinearDetector]:
        return train_detectors(images, training_sets, protocol)

    def train_twice(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> tuple[Sequence[LinearDetector], Sequence[LinearDetector]]:
        whole, alone = zip(*train_twice(images, training_sets, protocol), strict=True)
        return whole, alone

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        if not isinstance(detector, LinearDetector):
            return detector
        protocol = _same_point(detector)
        return train(workspace, [detector.training_set], detector.view, protocol)[0]

    def null_weights(
        self, features: Rows, labels: Int8[np.ndarray, "B n"], detector: LinearDetector
    ) -> Float[np.ndarray, "B p"]:
        # C stays the detector's own: choosing it anew for every draw would cost eight times as much
        # and give the same, since C mostly scales w and not where it points.
        protocol = detector.provenance.get("protocol", {})
        return fit_logistic(
            features,
            labels,
            detector.C,
            fit_intercept=protocol.get("fit_intercept", True),
            class_weight=protocol.get("class_weight"),
            tol=NULL_TOLERANCE,
        ).weights


@register
class Residual(Method):
    name = "residual"
    title = "Residual"
    source = "Gaintseva et al. 2024, equation of resid_g"
    sees = "The cosine of the embedding with the difference of the two classes' mean directions."
    chosen = "C from eight values, by validation accuracy."
    cost = "Trains in milliseconds, scores with one matrix product."
    linear = True
    views = (EmbeddingView,)
    why_whole = "A residual is taken of the whole normalised embedding"

    def train_on(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> Sequence[FeatureDetector]:
        raise AigiError(
            "Residual detectors see a direction of their own each: choose another feature view for"
            " this."
        )

    def train(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | None = None,
        protocol: Protocol | None = None,
    ) -> Sequence[Detector]:
        self.check(workspace, view or EmbeddingView())
        return train_residual(workspace, training_sets, protocol)

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        if not isinstance(detector, LinearDetector):
            return detector
        means: Means = "unit embeddings"
        if isinstance(detector.view, ResidualView) and not detector.view.normalise:
            means = "raw embeddings"
        protocol = _same_point(detector)
        return train_residual(workspace, [detector.training_set], protocol, means=means)[0]

    def null_weights(
        self, features: Rows, labels: Int8[np.ndarray, "B n"], detector: LinearDetector
    ) -> Float[np.ndarray, "B p"]:
        del detector
        return residual_directions(features, labels)


def _same_point(detector: LinearDetector) -> Protocol:
    return replace(protocol_of(detector), C=(detector.C,), grid="path", refit=False)
