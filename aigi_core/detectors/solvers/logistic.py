"""Exact L2 logistic regression, many problems at once that share their rows.

The objective is scikit-learn's: ``1/2 |w|^2 + C * sum_i s_i log(1 + exp(-y_i f_i))`` with ``f = X w
+ b`` and the intercept ``b`` unpenalised. Every fit ends with a gradient below ``tol`` (Euclidean
norm over weights and intercept, computed afresh in float64), or raises.

How it is fast: Newton's method whose directions come from float32, and far from the solution its
gradients too; those that end a fit are float64. Wide problems solve for the direction by conjugate
gradients, preconditioned with the rows' leading second moments (one
:class:`~.directions.Gram` serves every C, every draw and every generator that
shares a pool's real images); narrow ones form Hessians, and keep each as long as it converges. All
problems of a call move together, so that a pass over ``X`` is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.solvers.directions import Gram, Hessians, conjugate_gradients, product
from aigi_core.errors import AigiError
from aigi_core.statements import counted

TOLERANCE = 1e-8
NARROW = 96
"""Up to this many features a Hessian is cheaper than conjugate gradients."""
NULL_TOLERANCE = 1e-5
"""Gradient at which fits on shuffled labels stop: a cosine's fifth digit does not matter to a
null.
"""
_MAX_OUTER = 100
_COARSE = 1e-5
"""Gradient, relative to the rows' total weight, to which float32 rows lead."""

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """Solutions of B problems.

    Attributes:
        weights: [B, d].
        intercept: [B]; zeros where none was fitted.
        gradient_norm: [B], Euclidean norm of the objective's gradient over weights and intercept,
            at the solution.
        iterations: [B] Newton steps.
    """

    weights: Float[Array, "B d"]
    intercept: Float[Array, " B"]
    gradient_norm: Float[Array, " B"]
    iterations: Int[Array, " B"]

    def decision_function(self, X: Float[Array, "n d"]) -> Float[Array, "n B"]:
        """Log-odds of being fake for each row under each solution."""
        f: Array = np.asarray(X, np.float64) @ self.weights.T + self.intercept
        return f


def fit_logistic(
    X: Float[Array, "n d"],
    y: Float[Array, " n"] | Float[Array, "B n"],
    C: float | Float[Array, " B"] = 1.0,
    *,
    sample_weight: Float[Array, " n"] | Float[Array, "B n"] | None = None,
    fit_intercept: bool = True,
    class_weight: Literal["balanced"] | None = None,
    tol: float = TOLERANCE,
    init: LogisticFit | None = None,
    gram: Gram | None = None,
) -> LogisticFit:
    """Fit B logistic regressions on the same rows, each with its own labels, C and row weights.

    Args:
        X: [n, d] features, finite.
        y: [n] or [B, n] labels, fake = 1, real = 0.
        C: inverse strength of the penalty, one for all or one a problem.
        sample_weight: [n] or [B, n] weights of rows, zero or more (bootstrap draws: counts).
        class_weight: ``"balanced"`` gives both classes the same total weight, as in scikit-learn.
        init: solutions to start from (B of them or one), such as those of a neighbouring C.
        gram: second moments shared with other fits; computed from X where absent.

    Raises:
        AigiError: X is not finite, a class is missing, shapes disagree, or the gradient cannot be
            brought below tol.
    """
    X, Y, C_, S = _check(X, y, C, sample_weight)
    if class_weight == "balanced":
        S = S * balance(Y, S)
    c = C_ * S  # [n, B or 1]
    n, d = X.shape
    batch = max(Y.shape[1], c.shape[1])
    W, b = np.zeros((d, batch)), np.zeros(batch)
    if init is not None:
        W[:], b[:] = (
            np.broadcast_to(init.weights.T, W.shape),
            init.intercept if fit_intercept else 0.0,
        )
    if n < d:  # the solution lies in the span of the rows: rotate into it (X = Z Q', w = Q u)
        Q, R = np.linalg.qr(X.T)
        fit = _Newton(np.ascontiguousarray(R.T), Y, c, fit_intercept, None).minimise(
            Q.T @ W, b, tol
        )
        weights = fit.weights @ Q.T
        return LogisticFit(weights, fit.intercept, fit.gradient_norm, fit.iterations)
    return _Newton(X, Y, c, fit_intercept, gram).minimise(W, b, tol)


def log_loss(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log-loss of each decision value, of any shape: log(1 + exp(-(2y - 1) f)), stable for any
    f.
    """
    f = np.asarray(f)
    loss: Array = np.log1p(np.exp(-np.abs(f))) + np.maximum(
        np.where(np.asarray(y) > 0.5, -f, f), 0.0
    )
    return loss


def _check(X: Any, y: Any, C: Any, sample_weight: Any) -> tuple[Array, Array, Array, Array]:
    X = np.ascontiguousarray(X, np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise AigiError(
            "Logistic regression needs a matrix of features, rows by columns; this one has shape"
            f" {X.shape}."
        )
    if not np.isfinite(X.sum()) and not np.isfinite(X).all():  # the sum is the quicker look
        row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
        raise AigiError(
            f"Row {row} of the features holds NaN or infinity: leave that image out or encode it"
            " again."
        )
    Y = np.atleast_2d(np.asarray(y, np.float64)).T
    S = (
        np.ones((len(X), 1))
        if sample_weight is None
        else np.atleast_2d(np.asarray(sample_weight, np.float64)).T
    )
    C_ = np.atleast_1d(np.asarray(C, np.float64))
    if len(Y) != len(X) or len(S) != len(X) or len({Y.shape[1], S.shape[1], len(C_)} - {1}) > 1:
        raise AigiError(
            f"Features {X.shape}, labels {Y.T.shape}, row weights {S.T.shape} and C {C_.shape} do"
            " not belong together: expected one label and weight a row, and one batch size for"
            " all."
        )
    if not np.isin(Y, (0, 1)).all():
        raise AigiError("Labels must be 0 (real) or 1 (fake).")
    if not (np.isfinite(S).all() and (S >= 0).all() and np.isfinite(C_).all() and (C_ > 0).all()):
        raise AigiError(
            "Row weights must be finite and not negative, and C must be finite and positive."
        )
    fake, real = (S * Y).sum(axis=0), (S * (1 - Y)).sum(axis=0)
    if not (fake > 0).all() or not (real > 0).all():
        absent = "fake" if not (fake > 0).all() else "real"
        raise AigiError(
            f"A detector needs images of both classes, and there is no {absent} one among"
            f" {counted(len(X), 'row')}."
        )
    return X, Y, C_, S


def balance(Y: Float[np.ndarray, "n B"], S: Float[np.ndarray, "n B"]) -> Float[np.ndarray, "n B"]:
    """Factors of ``class_weight="balanced"`` for labels and row weights, problems in columns.

    scikit-learn's "balanced": total weight / (2 * weight of the class).
    """
    fakes, total = (S * Y).sum(axis=0), (S + 0 * Y).sum(axis=0)
    balance: Array = np.where(Y > 0.5, total / (2 * fakes), total / (2 * (total - fakes)))
    return balance


@dataclass(eq=False)
class _Point:
    """Where K columns stand: solutions [p, K] and [K], decision values and curvature in them [n,
    K], gradient and norm.
    """

    V: Array
    v: Array
    f: Array
    D: Array
    G: Array
    h: Array
    norm: Array

    def columns(self, keep: Array) -> _Point:
        return _Point(*(getattr(self, name)[..., keep] for name in _Point.__dataclass_fields__))


class _Newton:
    """Newton's method on all columns at once: on float32 rows while they can tell where to go, then
    exactly.
    """

    def __init__(self, Z: Array, Y: Array, c: Array, intercept: bool, gram: Gram | None) -> None:
        self.Z = Z
        self.Z32 = Z.astype(np.float32)
        self.intercept = intercept
        self.sign, self.c = 2 * Y - 1, c
        self.gram = None if Z.shape[1] <= NARROW else gram or Gram(self.Z32)
        self.hessians: dict[type, Hessians] = {}

    def minimise(self, W: Array, b: Array, tol: float) -> LogisticFit:
        """From [p, B] and [B] to a gradient below tol."""
        batch = len(b)
        self.W = W.copy()
        self.b = b.copy()
        self.tol = tol
        self.norms, self.iterations = np.full(batch, np.inf), np.zeros(batch, int)
        self.pace, self.stalled = np.ones(batch), np.zeros(batch, int)
        total = np.broadcast_to(self.c.sum(axis=0), batch)
        self._descend(self.Z32, np.maximum(_COARSE * total, tol), 1e-5)
        self.stalled[:] = 0
        self._descend(self.Z, np.full(batch, tol), 1e-12)
        if not (self.norms < tol).all():
            raise AigiError(
                f"Logistic regression did not reach a gradient of {tol:g} (got"
                f" {self.norms.max():.1e}): scale the features to about unit norm, or lower C."
            )
        return LogisticFit(np.ascontiguousarray(self.W.T), self.b, self.norms, self.iterations)

    def _descend(self, rows: Array, goal: Array, slack: float) -> None:
        """Bring every column's gradient below its goal, or as far as the rows' precision
        carries.
        """
        coarse = rows is self.Z32
        active = np.arange(len(goal))
        sign, c = self.sign.astype(rows.dtype), self.c.astype(rows.dtype)
        here = self._at(rows, sign, c, self.W, self.b)
        for _ in range(_MAX_OUTER):
            self.norms[active] = here.norm
            done = here.norm < goal[active]
            if coarse:
                done |= self.stalled[active] > 1
            if done.any():
                self.W[:, active[done]], self.b[active[done]] = here.V[:, done], here.v[done]
                active, here = active[~done], here.columns(~done)
                sign, c = (a if a.shape[1] == 1 else a[:, ~done] for a in (sign, c))
                if not len(active):
                    return
            self.iterations[active] += 1
            dV, dv = self._direction(here, active, goal[active])
            there = self._step(rows, sign, c=c, here=here, dV=dV, dv=dv, slack=slack)
            self.pace[active] = there.norm / here.norm
            self.stalled[active] += self.pace[active] > 0.5
            here = there
        self.W[:, active], self.b[active] = here.V, here.v

    def _direction(self, here: _Point, active: Array, goal: Array) -> tuple[Array, Array]:
        stalled = self.stalled[active]
        if self.gram is not None and (stalled < 2).all():
            eta = _forcing(here.norm, self.tol)
            return conjugate_gradients(
                self.Z32,
                here.D,
                G=here.G,
                h=here.h,
                norm=here.norm,
                eta=eta,
                intercept=self.intercept,
                gram=self.gram,
            )
        precision = np.float64 if (stalled > 0).any() else np.float32
        if precision not in self.hessians:
            self.hessians[precision] = Hessians(self.Z, precision, self.intercept)
        # A Newton step that shrinks the gradient by rho leaves a Hessian that goes on to shrink it
        # by about 2 rho.
        stale = here.norm * (2 * self.pace[active]) ** 3 > 0.1 * goal
        return self.hessians[precision].directions(here.D, here.G, here.h, active, stale)

    def _at(self, rows: Array, sign: Array, c: Array, V: Array, v: Array) -> _Point:
        """The sign of fakes is 1, of real images -1."""
        f = product(rows, V.astype(rows.dtype)) + v.astype(rows.dtype)
        with np.errstate(over="ignore"):
            wrong = 1 / (1 + np.exp(sign * f))  # probability of the other class
        r = c * wrong
        D = r - r * wrong
        r *= -sign
        G, h = product(rows.T, r) + V, r.sum(axis=0, dtype=np.float64) * self.intercept
        return _Point(V, v, f, D, G, h, np.sqrt((G * G).sum(axis=0) + h * h))

    def _step(
        self,
        rows: Array,
        sign: Array,
        *,
        c: Array,
        here: _Point,
        dV: Array,
        dv: Array,
        slack: float,
    ) -> _Point:
        """The Newton step, halved for those columns whose objective would rise.

        It is only looked at where the gradient does not shrink, or points far back along the step.

        Args:
            slack: the rounding of an objective: near the solution it cannot tell steps apart any
                more.
        """
        length = np.ones(len(dv))
        slope = (here.G * dV).sum(axis=0) + here.h * dv
        for _ in range(40):
            there = self._at(rows, sign, c, here.V + length * dV, here.v + length * dv)
            overshoot = (there.G * dV).sum(axis=0) + there.h * dv
            doubtful = ~((there.norm < 0.9 * here.norm) & (overshoot < -0.1 * slope))
            if not doubtful.any():
                break
            before, after = (_objective(point, sign, c) for point in (here, there))
            doubtful &= after > before + 1e-4 * length * slope + slack * np.abs(before)
            if not doubtful.any():
                break
            length[doubtful] *= 0.5
        return there


def _objective(point: _Point, sign: Array, c: Array) -> Array:
    losses = log_loss(point.f, sign > 0)
    objective: Array = (c * losses).sum(axis=0, dtype=np.float64) + 0.5 * (point.V * point.V).sum(
        axis=0
    )
    return objective


def _forcing(norm: Array, tol: float) -> Array:
    """How far each Newton system is solved: the nearer, the further; and all the way where one more
    step can end it.
    """
    eta: Array = np.clip(0.1 * np.sqrt(norm), 1e-3, 0.1)
    last: Array = 0.3 * tol / norm
    eta[last > 5e-5] = np.clip(last, 5e-5, 0.1)[last > 5e-5]
    return eta
