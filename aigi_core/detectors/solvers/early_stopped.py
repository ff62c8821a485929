"""Logistic regressions that are stopped early, to the last bit those of scikit-learn's
``LogisticRegression``.

The paper's grid stops solvers at several limits, so the path of a solver is part of it. What is
called here is what that class calls in turn; it checks its arguments anew for every fit, nine
tenths of the time of a fit on a hundred images. ``tests/detectors/test_presets.py`` holds every
point against the class itself: look here first when scikit-learn's pin is raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.solvers.logistic import LogisticFit, balance
from aigi_core.errors import AigiError

GRADIENT = 1e-4
"""scikit-learn's default tolerance."""
SEED = 0
"""Of the order in which ``saga`` visits images."""


@dataclass(frozen=True, eq=False)
class Images:
    """What is fitted.

    Attributes:
        X: features.
        target: labels as numbers, fake = 1, real = 0.
        weight: of each image; None where all weigh alike.
        intercept: whether there is one.
    """

    X: Float[np.ndarray, "n p"]
    target: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"] | None
    intercept: bool

    @classmethod
    def of(
        cls,
        X: Float[np.ndarray, "n p"],
        y: Int[np.ndarray, " n"],
        *,
        class_weight: Literal["balanced"] | None,
        intercept: bool,
    ) -> Images:
        """Raises AigiError for features that are no numbers, or one class alone."""
        X = np.ascontiguousarray(X, np.float64)
        target = (np.asarray(y) > 0).astype(np.float64)
        if not np.isfinite(X).all() or len(np.unique(target)) != 2:
            raise AigiError(
                "A detector needs finite features of images of both classes: encode the images"
                " again, or add images of the class that is missing."
            )
        weight = None
        if class_weight == "balanced":
            weight = balance(target[:, None], np.ones((len(X), 1)))[:, 0]
        return cls(X, target, weight, intercept)

    @property
    def start(self) -> Float[np.ndarray, " p_or_more"]:
        return np.zeros(self.X.shape[1] + self.intercept)


def early_stopped(
    images: Images, solver: str, C: float, limits: Sequence[int]
) -> list[LogisticFit]:
    """One solution of ``lbfgs`` or ``saga`` for each limit of iterations, which ascend. A fit that
    ended before its limit is the same object under every higher one.
    """
    return (_lbfgs if solver == "lbfgs" else _saga)(images, C, limits)


def _lbfgs(images: Images, C: float, limits: Sequence[int]) -> list[LogisticFit]:
    """One descent, seen at every limit: a limit does not change the path to it."""
    from scipy.optimize import minimize  # takes long to load
    from sklearn._loss import HalfBinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    loss = LinearModelLoss(base_loss=HalfBinomialLoss(), fit_intercept=images.intercept)
    total = len(images.X) if images.weight is None else float(images.weight.sum())
    passed: list[np.ndarray] = []

    def remember(xk: np.ndarray) -> None:
        passed.append(xk.copy() if len(passed) + 1 in limits else xk[:0])

    end = minimize(
        loss.loss_gradient,
        images.start,
        method="L-BFGS-B",
        jac=True,
        args=(images.X, images.target, images.weight, 1.0 / (C * total), 1),
        options={
            "maxiter": limits[-1],
            "maxls": 50,
            "gtol": GRADIENT,
            "ftol": 64 * np.finfo(float).eps,
        },
        callback=remember,
    )
    ended = int(end.nit)
    last = _fit(images, end.x, ended)
    return [last if limit >= ended else _fit(images, passed[limit - 1], limit) for limit in limits]


def _saga(images: Images, C: float, limits: Sequence[int]) -> list[LogisticFit]:
    """One descent, seen at every limit.

    scikit-learn would begin anew for each. Its solver is called for one pass over the images at a
    time: between two, all that it goes on from lies in the arrays and in the random order of
    ``dataset``, but for the weights before, which it compares with; so that is done here.
    """
    from sklearn.linear_model._base import make_dataset
    from sklearn.linear_model._sag import get_auto_step_size
    from sklearn.linear_model._sag_fast import sag64
    from sklearn.utils.extmath import row_norms

    n, p = images.X.shape
    weight = np.ones(n) if images.weight is None else images.weight
    dataset, decay = make_dataset(images.X, images.target, weight, np.random.RandomState(SEED))
    penalty = 1.0 / C / n
    largest = row_norms(images.X, squared=True).max()
    step = get_auto_step_size(largest, penalty, "log", images.intercept, n_samples=n, is_saga=True)
    w, gradients = np.zeros((p, 1)), np.zeros((p, 1))
    intercept, of_intercept = np.zeros(1), np.zeros(1)
    remembered, seen = np.zeros((n, 1)), np.zeros(n, np.int32)
    known = passes = 0
    ended = False
    fits: list[LogisticFit] = []
    for limit in limits:
        while passes < limit and not ended:
            before = w.copy()
            known, _ = sag64(
                dataset,
                w,
                intercept,
                n,
                p,
                1,
                GRADIENT,
                1,
                "log",
                step,
                penalty,
                0.0,
                gradients,
                remembered,
                seen,
                known,
                images.intercept,
                of_intercept,
                decay,
                True,
                False,
            )
            passes += 1
            top, change = np.abs(w).max(), np.abs(w - before).max()
            ended = bool(change / top <= GRADIENT if top else change == 0)
            if ended or passes == limit:
                last = _fit(images, np.append(w, intercept[: images.intercept]), passes)
        fits.append(last)
    return fits


def _fit(images: Images, w: np.ndarray, iterations: int) -> LogisticFit:
    p = images.X.shape[1]
    intercept = w[p:].copy() if images.intercept else np.zeros(1)
    return LogisticFit(w[None, :p].copy(), intercept, np.array([np.nan]), np.array([iterations]))
