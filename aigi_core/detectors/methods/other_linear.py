"""Linear methods through scikit-learn, and the difference of means: their detectors have weights,
so words, evidence and removals work for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from aigi_core.detectors.detector import FeatureDetector
from aigi_core.detectors.methods.base import (
    Block,
    FeatureMethod,
    Labels,
    Parameters,
    Rows,
    class_weights,
    register,
)
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError

ALPHAS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
SHRINKAGES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.01, 0.001)
MAX_ITER = 20_000


class LinearSVM(FeatureMethod):
    """Linear support vector machine (liblinear, which penalises the bias as a weight)."""

    loss: ClassVar[str]
    linear = True
    scale = "margins"
    chosen = "C from eight values, by validation accuracy."

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        return [{"C": C} for C in sorted(protocol.C)]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        C = float(parameters["C"])
        model = LinearSVC(
            C=C,
            loss=self.loss,
            dual=self.loss == "hinge",
            fit_intercept=protocol.fit_intercept,
            class_weight=protocol.class_weight,
            max_iter=MAX_ITER,
            random_state=0,
        )
        # Filters of warnings belong to the whole process: another thread that raises or ignores
        # them must not decide what happens here, nor this one elsewhere.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, np.asarray(y) > 0)
        if np.max(model.n_iter_) >= MAX_ITER:
            raise AigiError(
                f"The support vector machine did not converge at C = {C:g} within"
                f" {MAX_ITER:,} iterations: choose smaller C, or normalised features."
            )
        bias = float(np.ravel(model.intercept_)[0]) if protocol.fit_intercept else 0.0
        return {"weights": model.coef_[0].astype(np.float64), "bias": bias, "C": C}


@register
class HingeSVM(LinearSVM):
    name = "svm"
    title = "Linear SVM (hinge)"
    source = "Cozzolino et al. 2024 (their C is not published)"
    cost = "Trains in tenths of a second, scores with one matrix product."
    number_seconds = 1.05e-6
    loss = "hinge"


@register
class SquaredHingeSVM(LinearSVM):
    name = "svm-squared"
    title = "Linear SVM (squared hinge)"
    source = "Cozzolino et al. 2024, with liblinear's usual loss"
    cost = "Trains in tenths of a second, scores with one matrix product."
    number_seconds = 8e-7
    loss = "squared_hinge"


@register
class Ridge(FeatureMethod):
    name = "ridge"
    title = "Ridge regression"
    source = "Hoerl and Kennard 1970, on labels of -1 and 1"
    chosen = "Penalty from seven values, by validation accuracy."
    cost = "Trains in milliseconds, scores with one matrix product."
    number_seconds, cube_seconds = 5e-8, 6e-10
    linear = True
    scale = "regressed labels"

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        return [{"alpha": alpha} for alpha in ALPHAS]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        """Minimise sum_i s_i (y_i - f_i)^2 + alpha |w|^2 with the class weights s."""
        return _solved(_moments(X, y, protocol), parameters)

    def try_grid(
        self,
        grid: Sequence[Parameters],
        blocks: dict[str, Block],
        protocol: Protocol,
        make: Callable[..., FeatureDetector],
    ) -> tuple[list[Parameters], Float[np.ndarray, "m B"]]:
        """All penalties from one matrix of moments."""
        moments, val = _moments(*blocks["train"], protocol), blocks["val"][0]
        scores = [make(_solved(moments, point)).score(val) for point in grid]
        return list(grid), np.stack(scores, axis=1)


@dataclass(frozen=True, eq=False)
class _Moments:
    """What a ridge regression takes of its images: moments about the centre, and the centre."""

    matrix: Float[np.ndarray, "p p"]
    towards: Float[np.ndarray, " p"]
    centre: Float[np.ndarray, " p"]
    level: float


def _moments(X: Rows, y: Labels, protocol: Protocol) -> _Moments:
    weight = class_weights(y, protocol)
    target = np.where(np.asarray(y) > 0, 1.0, -1.0)
    centre, level = np.zeros(X.shape[1]), 0.0
    if protocol.fit_intercept:
        centre, level = weight @ X / weight.sum(), float(weight @ target / weight.sum())
    Z = X - centre
    return _Moments((Z * weight[:, None]).T @ Z, Z.T @ (weight * (target - level)), centre, level)


def _solved(moments: _Moments, parameters: Parameters) -> dict[str, Any]:
    matrix = moments.matrix + parameters["alpha"] * np.eye(len(moments.matrix))
    weights = np.linalg.solve(matrix, moments.towards)
    return {"weights": weights, "bias": moments.level - float(moments.centre @ weights)}


@register
class Discriminant(FeatureMethod):
    name = "lda"
    title = "Linear discriminant with shrinkage"
    source = "Fisher 1936; shrinkage after Friedman 1989"
    chosen = "Shrinkage from seven values, by validation accuracy."
    cost = "Trains in tens of milliseconds, scores with one matrix product."
    number_seconds, cube_seconds = 1e-7, 4.5e-10
    linear = True

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        return [{"shrinkage": shrinkage} for shrinkage in SHRINKAGES]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        """The same as scikit-learn's with the solver ``lsqr``, but for rounding: that one takes a
        singular value decomposition for each point of the grid."""
        return _separated(_spread(X, y, protocol), parameters, protocol)

    def try_grid(
        self,
        grid: Sequence[Parameters],
        blocks: dict[str, Block],
        protocol: Protocol,
        make: Callable[..., FeatureDetector],
    ) -> tuple[list[Parameters], Float[np.ndarray, "m B"]]:
        """All shrinkages from one matrix of covariances."""
        spread, val = _spread(*blocks["train"], protocol), blocks["val"][0]
        scores = [make(_separated(spread, point, protocol)).score(val) for point in grid]
        return list(grid), np.stack(scores, axis=1)


@dataclass(frozen=True, eq=False)
class _Spread:
    """What a discriminant takes of its images: the classes' covariances, weighed by their priors,
    the mean variance of these, and the means and priors, real images first."""

    matrix: Float[np.ndarray, "p p"]
    variance: float
    means: Float[np.ndarray, "2 p"]
    priors: Float[np.ndarray, " 2"]


def _spread(X: Rows, y: Labels, protocol: Protocol) -> _Spread:
    fake = np.asarray(y) > 0
    share = float(fake.mean()) if protocol.class_weight is None else 0.5
    priors = np.array([1 - share, share])
    means, matrix = np.empty((2, X.shape[1])), np.zeros((X.shape[1], X.shape[1]))
    for at, own in enumerate((X[~fake], X[fake])):
        means[at] = own.mean(axis=0)
        centred = own - means[at]
        matrix += priors[at] / len(own) * (centred.T @ centred)
    return _Spread(matrix, float(np.trace(matrix)) / len(matrix), means, priors)


def _separated(spread: _Spread, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
    from scipy import linalg

    kept = float(parameters["shrinkage"])
    matrix = (1 - kept) * spread.matrix
    matrix[np.diag_indices_from(matrix)] += kept * spread.variance
    try:
        towards = linalg.solve(matrix, spread.means.T, assume_a="pos", check_finite=False)
    except np.linalg.LinAlgError:  # both classes are one point each
        towards = np.linalg.lstsq(matrix, spread.means.T)[0]
    levels = np.log(spread.priors) - np.einsum("kp,pk->k", spread.means, towards) / 2
    bias = float(levels[1] - levels[0]) if protocol.fit_intercept else 0.0
    return {"weights": towards[:, 1] - towards[:, 0], "bias": bias}


@register
class MeanDifference(FeatureMethod):
    name = "mean-difference"
    title = "Difference of means"
    source = "Nearest class mean; the residual without normalising the means or a regression"
    chosen = "None."
    cost = "Trains in milliseconds, scores with one matrix product."
    number_seconds = 2e-8
    linear = True
    scale = "projections"

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        return [{}]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        del parameters
        fake = np.asarray(y) > 0
        means = X[fake].mean(axis=0), X[~fake].mean(axis=0)
        weights = means[0] - means[1]
        bias = -float(weights @ (means[0] + means[1])) / 2 if protocol.fit_intercept else 0.0
        return {"weights": weights, "bias": bias}
