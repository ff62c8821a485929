"""Layers weighted against each other: for every dimension a softmax over layers says which of them
are read (Koutlis and Papadopoulos 2024, RINE, section 3.2).

RINE learns projections around the weights and adds a contrastive loss; here what is weighted goes
straight into a logistic regression, so that the detector stays linear in the tokens. Its settings
are chosen on validation images, where the released ones were ranked on test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, softmax

from aigi_core.detectors.detector import Detector, FeatureDetector, LinearDetector
from aigi_core.detectors.features import FeatureView
from aigi_core.detectors.methods.base import (
    FeatureMethod,
    Labels,
    Parameters,
    Rows,
    class_weights,
    register,
)
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.token_views import AllLayersView
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace

PENALTIES = (0.1, 1.0, 10.0, 100.0)
MAX_ITER = 500


@register
class Layers(FeatureMethod):
    name = "layers"
    title = "Layers, weighted"
    source = "Koutlis and Papadopoulos 2024 (RINE), without its projections and contrastive loss"
    sees = "The token of every layer after its second norm."
    chosen = "C from four values, by validation accuracy; the weights of layers on training images."
    cost = "Trains each detector in seconds; scores with one matrix product over all layers."
    slow = True
    views = (AllLayersView,)

    def __init__(self, layers: int = 0) -> None:
        self.layers = layers

    def missing(self, workspace: Workspace) -> str:
        try:
            workspace.feature("norm2")
        except AigiError as error:
            return str(error)
        return ""

    def bound(self, workspace: Workspace) -> Layers:
        return type(self)(len(workspace.feature("norm2")))

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        return [{"C": C} for C in PENALTIES]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        """Minimise C sum_i s_i log(1 + exp(-y_i f_i)) + (|w|^2 + |a|^2) / 2 with the class weights
        s, where f = sum_d w_d sum_l softmax(a)_ld x_ld + b, from equal weights of layers on."""
        from scipy.optimize import minimize  # takes long to load

        if not self.layers or X.shape[1] % self.layers:
            raise AigiError(
                f"{self.title} needs the tokens of all layers of a workspace: train it on one."
            )
        tokens = X.reshape(len(X), self.layers, -1)
        width, C = tokens.shape[2], float(parameters["C"])
        arguments = (tokens, y, class_weights(y, protocol), C, protocol.fit_intercept)
        start = np.zeros(width * (1 + self.layers) + 1)
        fitted = minimize(
            loss_and_gradient,
            start,
            args=arguments,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITER},
        ).x
        weights, shares, bias = unpack(fitted, width)
        return {"weights": (shares * weights).ravel(), "bias": bias, "C": C}

    def make(self, view: FeatureView, fitted: dict[str, Any], **common: Any) -> FeatureDetector:
        if isinstance(view, AllLayersView):
            view = replace(view, layers=self.layers)  # so that a saved one needs no workspace
        return super().make(view, fitted, **common)

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        if not isinstance(detector, FeatureDetector) or not isinstance(
            detector.view, AllLayersView
        ):
            return detector
        own = type(self)(detector.view.layers)
        return super(Layers, own).twin(workspace, detector)


def unpack(
    point: Float[np.ndarray, " q"], width: int
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "L d"], float]:
    """Weights, shares of the layers (a softmax for each dimension) and bias of a point."""
    return point[:width], softmax(point[width:-1].reshape(-1, width), axis=0), float(point[-1])


def loss_and_gradient(
    point: Float[np.ndarray, " q"],
    tokens: Float[np.ndarray, "n L d"],
    y: Int[np.ndarray, " n"],
    class_weight: Float[np.ndarray, " n"],
    C: float,
    fit_intercept: bool,
) -> tuple[float, Float[np.ndarray, " q"]]:
    """What :meth:`Layers.fit` minimises, and its gradient."""
    width = tokens.shape[2]
    w, shares, bias = unpack(point, width)
    sign = np.where(np.asarray(y) > 0, 1.0, -1.0)
    mixed = np.einsum("nld,ld->nd", tokens, shares)
    margin = sign * (mixed @ w + (bias if fit_intercept else 0.0))
    logits = point[width:-1]
    loss = C * float(class_weight @ np.logaddexp(0, -margin)) + (w @ w + logits @ logits) / 2
    by_image = -C * class_weight * sign * expit(-margin)
    by_share = np.einsum("n,nld->ld", by_image, tokens) * w
    by_logit = shares * (by_share - (shares * by_share).sum(axis=0))
    gradient = np.concatenate(
        [
            mixed.T @ by_image + w,
            by_logit.ravel() + logits,
            [by_image.sum() if fit_intercept else 0.0],
        ]
    )
    return float(loss), gradient


def shares_of_layers(detector: LinearDetector) -> Float[np.ndarray, " L"]:
    """How much of a detector's weights (absolute) each layer has; they add up to 1.

    Raises:
        AigiError: a detector on other features.
    """
    if not isinstance(detector.view, AllLayersView):
        raise AigiError(f"The detector {detector.name!r} does not see the tokens of all layers.")
    by_layer = np.abs(detector.weights.reshape(detector.view.layers, -1)).sum(axis=1)
    shares: np.ndarray = by_layer / by_layer.sum()
    return shares
