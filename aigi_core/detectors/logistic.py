"""Exact L2 logistic regression, many problems at once that share their rows.

The objective is scikit-learn's: ``1/2 |w|^2 + C * sum_i s_i log(1 + exp(-y_i f_i))`` with ``f = X w + b`` and the
intercept ``b`` unpenalised. Every fit ends with a gradient below ``tol`` (Euclidean norm over weights and intercept,
computed afresh in float64), or raises.

How it is fast: Newton's method whose directions come from float32, and far from the solution its gradients too; those
that end a fit are float64. Wide problems solve for the direction by conjugate gradients, preconditioned with the rows'
leading second moments (one :class:`~aigi_core.detectors.directions.Gram` serves every C, every draw and every generator
that shares a pool's real images); narrow ones form Hessians, and keep each as long as it converges. All problems of a
call move together, so that a pass over ``X`` is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.directions import Gram, Hessians, conjugate_gradients, product
from aigi_core.errors import AigiError

TOLERANCE = 1e-8
NARROW = 96
"""Up to this many features a Hessian is cheaper than conjugate gradients."""
_MAX_OUTER = 100

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """Solutions of B problems.

    Attributes:
        weights: [B, d].
        intercept: [B]; zeros where none was fitted.
        gradient_norm: [B], Euclidean norm of the objective's gradient over weights and intercept, at the solution.
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
        AigiError: X is not finite, a class is missing, shapes disagree, or the gradient cannot be brought below tol.
    """
    X, Y, C_, S = _check(X, y, C, sample_weight)
    if class_weight == "balanced":
        S = S * balance(Y, S)
    c = C_ * S  # [n, B or 1]
    n, d = X.shape
    batch = max(Y.shape[1], c.shape[1])
    W, b = np.zeros((d, batch)), np.zeros(batch)
    if init is not None:
        W[:], b[:] = np.broadcast_to(init.weights.T, W.shape), init.intercept if fit_intercept else 0.0
    if n < d:  # the solution lies in the span of the rows: rotate into it (X = Z Q', w = Q u)
        Q, R = np.linalg.qr(X.T)
        fit = _newton(np.ascontiguousarray(R.T), Y, c, Q.T @ W, b, fit_intercept, tol, None)
        weights = fit.weights @ Q.T
        return LogisticFit(weights, fit.intercept, fit.gradient_norm, fit.iterations)
    return _newton(X, Y, c, W, b, fit_intercept, tol, gram)


def log_loss(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log-loss of each decision value, of any shape: log(1 + exp(-(2y - 1) f)), stable for any f."""
    f = np.asarray(f)
    loss: Array = np.log1p(np.exp(-np.abs(f))) + np.maximum(np.where(np.asarray(y) > 0.5, -f, f), 0.0)
    return loss


def _check(X: Any, y: Any, C: Any, sample_weight: Any) -> tuple[Array, Array, Array, Array]:
    X = np.ascontiguousarray(X, np.float64)
    if X.ndim != 2 or 0 in X.shape:
        raise AigiError(
            f"Logistic regression needs a matrix of features, rows by columns; this one has shape {X.shape}."
        )
    if not np.isfinite(X.sum()) and not np.isfinite(X).all():  # the sum is the quicker look
        row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
        raise AigiError(f"Row {row} of the features holds NaN or infinity: leave that image out or encode it again.")
    Y = np.atleast_2d(np.asarray(y, np.float64)).T
    S = np.ones((len(X), 1)) if sample_weight is None else np.atleast_2d(np.asarray(sample_weight, np.float64)).T
    C_ = np.atleast_1d(np.asarray(C, np.float64))
    if len(Y) != len(X) or len(S) != len(X) or len({Y.shape[1], S.shape[1], len(C_)} - {1}) > 1:
        raise AigiError(
            f"Features {X.shape}, labels {Y.T.shape}, row weights {S.T.shape} and C {C_.shape} do not belong together: "
            f"expected one label and weight a row, and one batch size for all."
        )
    if not np.isin(Y, (0, 1)).all():
        raise AigiError("Labels must be 0 (real) or 1 (fake).")
    if not (np.isfinite(S).all() and (S >= 0).all() and np.isfinite(C_).all() and (C_ > 0).all()):
        raise AigiError("Row weights must be finite and not negative, and C must be finite and positive.")
    fake, real = (S * Y).sum(axis=0), (S * (1 - Y)).sum(axis=0)
    if not (fake > 0).all() or not (real > 0).all():
        absent = "fake" if not (fake > 0).all() else "real"
        raise AigiError(f"A detector needs images of both classes, and there is no {absent} one among {len(X)} rows.")
    return X, Y, C_, S


def balance(Y: Float[np.ndarray, "n B"], S: Float[np.ndarray, "n B"]) -> Float[np.ndarray, "n B"]:
    """Factors of ``class_weight="balanced"`` for labels and row weights, problems in columns.

    scikit-learn's "balanced": total weight / (2 * weight of the class).
    """
    fakes, total = (S * Y).sum(axis=0), (S + 0 * Y).sum(axis=0)
    balance: Array = np.where(Y > 0.5, total / (2 * fakes), total / (2 * (total - fakes)))
    return balance


def _newton(
    Z: Array, Y: Array, c: Array, W: Array, b: Array, intercept: bool, tol: float, gram: Gram | None
) -> LogisticFit:
    """Newton's method on all columns at once; columns leave as they converge."""
    p, batch = W.shape
    W, b = W.copy(), b.copy()
    norms, iterations = np.full(batch, np.inf), np.zeros(batch, int)
    active = np.arange(batch)
    narrow = p <= NARROW
    Z32 = Z.astype(np.float32)
    hessians: dict[type, Hessians] = {}
    pace = np.ones(batch)
    if not narrow and gram is None:
        gram = Gram(Z32)
    stalled = np.zeros(batch, int)

    def gradient(rows: Array, r: Array, V: Array) -> tuple[Array, Array]:
        return product(rows.T, r) + V, r.sum(axis=0) * intercept

    V, v, exact = W, b, True
    f = product(Z, V) + v if V.any() else np.broadcast_to(v, (len(Z), batch))
    sign, total = 2 * Y - 1, c.sum(axis=0)
    loss, r, D = _loss(f, sign, c, V)
    G, h = gradient(Z, r, V)
    for _ in range(_MAX_OUTER):
        norm = np.sqrt((G * G).sum(axis=0) + h * h)
        norms[active] = norm
        done = (norm < tol) & exact
        if done.any():
            W[:, active[done]], b[active[done]] = V[:, done], v[done]
            keep = ~done
            active = active[keep]
            if not len(active):
                return LogisticFit(np.ascontiguousarray(W.T), b, norms, iterations)
            V, v, f, loss, D, G, h, norm = (a[..., keep] for a in (V, v, f, loss, D, G, h, norm))
            sign, c, total = (a if a.shape[-1] == 1 else a[..., keep] for a in (sign, c, total))
        iterations[active] += 1
        eta = _forcing(norm, tol)
        if narrow or (stalled[active] > 1).any():
            precision = np.float64 if (stalled[active] > 0).any() else np.float32
            if precision not in hessians:
                hessians[precision] = Hessians(Z, precision, intercept)
            # A Newton step that shrinks the gradient by rho leaves a Hessian that goes on to shrink it by about 2 rho.
            stale = norm * (2 * pace[active]) ** 2 > 0.1 * tol
            dV, dv = hessians[precision].directions(D, G, h, active, stale)
        else:
            assert gram is not None
            dV, dv = conjugate_gradients(Z32, D, G, h, norm, eta, intercept, gram)
        # Far from all solutions, float32 tells where to go next; what ends a fit is always float64.
        was, exact = exact, bool(narrow or (norm * eta < 1e-6 * total).any())
        rows = Z if exact else Z32
        slack = 1e-12 if exact and was else 1e-5
        V, v, f, loss, r, D = _step(rows, sign, c, V, v, f, loss, G, h, dV, dv, slack)
        G, h = gradient(rows, r.astype(rows.dtype), V)
        pace[active] = np.sqrt((G * G).sum(axis=0) + h * h) / norm
        stalled[active] += pace[active] > 0.5
    worst = int(np.argmax(norms))
    raise AigiError(
        f"Logistic regression did not reach a gradient of {tol:g} (got {norms[worst]:.1e}): scale the features to about "
        f"unit norm, or lower C."
    )


def _forcing(norm: Array, tol: float) -> Array:
    """How far each Newton system is solved: the nearer, the further; and all the way where one more step can end it."""
    eta: Array = np.clip(0.1 * np.sqrt(norm), 1e-3, 0.1)
    last: Array = 0.3 * tol / norm
    eta[last > 5e-5] = np.clip(last, 5e-5, 0.1)[last > 5e-5]
    return eta


def _loss(f: Array, sign: Array, c: Array, V: Array) -> tuple[Array, Array, Array]:
    """Objective [B], gradient in f [n, B] and curvature in f [n, B]; the sign of fakes is 1, of real images -1."""
    margin = sign * f
    e = np.exp(-np.abs(margin))
    q = 1.0 / (1.0 + e)
    wrong = np.where(margin >= 0, e * q, q)
    # The absolute rounding of log(q) is all that a sum of losses needs.
    objective = np.einsum("ij,ij->j", np.broadcast_to(c, f.shape), np.maximum(-margin, 0.0) - np.log(q))
    return objective + 0.5 * (V * V).sum(axis=0), -sign * c * wrong, c * (e * q * q)


def _step(
    Z: Array, sign: Array, c: Array, V: Array, v: Array, f: Array, loss: Array, G: Array, h: Array, dV: Array, dv: Array,
    slack: float,
) -> tuple[Array, Array, Array, Array, Array, Array]:  # fmt: skip
    """The Newton step, halved for those columns whose objective would rise.

    Args:
        slack: the rounding of an objective: near the solution it cannot tell steps apart any more.
    """
    slope = (G * dV).sum(axis=0) + h * dv
    length = np.ones(len(v))
    for _ in range(40):
        V_new, v_new = V + length * dV, v + length * dv
        f_new = product(Z, V_new.astype(Z.dtype)) + v_new
        loss_new, r, D = _loss(f_new, sign, c, V_new)
        rises = loss_new > loss + 1e-4 * length * slope + slack * np.abs(loss)
        if not rises.any():
            break
        length[rises] *= 0.5
    return V_new, v_new, f_new, loss_new, r, D
