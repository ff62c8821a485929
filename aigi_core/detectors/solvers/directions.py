"""Where Newton's method goes next: directions for many logistic regressions on the same rows at
once.

Wide problems solve for them by conjugate gradients in float32, preconditioned with the rows'
leading second moments; narrow ones form Hessians. Gradients, and so what a fit converges to, are
the caller's.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32
from scipy.linalg import lapack

from aigi_core.errors import AigiError

Array = np.ndarray
_AXES = 64
"""Leading axes that the preconditioner tells apart."""
_MAX_INNER = 200


class Gram:
    """Leading second moments of rows, which precondition; one serves all fits on similar rows.

    It only steers how fast a fit converges, never what it converges to, so it may come from other
    rows than those
    fitted: the pool's real images, a generator's neighbours, a sample. The leading axes come from a
    randomised range finder, the rest of the spectrum counts as flat (Frangella, Tropp and Udell
    2023, Randomized Nystroem Preconditioning): as good as the whole inverse where spectra fall, at
    a fraction of its cost.
    """

    def __init__(self, X: Float[Array, "n d"]) -> None:
        centred = np.asarray(X, np.float32) - X.mean(axis=0, dtype=np.float64).astype(np.float32)
        d = centred.shape[1]
        probe = np.random.default_rng(0).standard_normal((d, min(d, _AXES + 16)), np.float32)
        for _ in range(2):
            probe = np.linalg.qr(centred.T @ (centred @ probe))[0]
        image = centred @ probe
        values, vectors = np.linalg.eigh(image.T @ image / np.float32(len(centred)))
        self.axes: Float32[Array, "d r"] = probe @ vectors[:, -_AXES:]
        self.moments: Float32[Array, " r"] = np.maximum(values[-_AXES:], 0)
        rest = np.einsum("ij,ij->", centred, centred) / len(centred) - self.moments.sum()
        self.rest = max(float(rest), 0.0) / max(d - self.axes.shape[1], 1)

    def precondition(
        self, residual: Float32[Array, "d B"], curvature: Float32[Array, " B"]
    ) -> Float32[Array, "d B"]:
        """The inverse of ``I + curvature * covariance`` times each column."""
        flat = 1 / (1 + curvature * self.rest)
        leading = 1 / (1 + curvature * self.moments[:, None]) - flat
        out: Array = self.axes @ (leading * (self.axes.T @ residual))
        out += flat * residual
        return out


class Hessians:
    """Newton's directions from Hessians themselves, bordered by the intercept; each serves as long
    as it converges.

    Hessians are of the rows' precision, systems are solved in float64. Columns whose row weights
    are proportional, as they are at the start, share one product.
    """

    def __init__(self, Z: Array, precision: type, intercept: bool) -> None:
        self.Z: Array = Z.astype(precision)
        self.intercept, self.p = intercept, self.Z.shape[1]
        self.factors: dict[int, Array] = {}
        self.potrf, self.potrs = lapack.get_lapack_funcs(("potrf", "potrs"), dtype=np.float64)

    def directions(
        self, D: Array, G: Array, h: Array, names: Array, stale: Array
    ) -> tuple[Array, Array]:
        """Steps [p, K] and [K] of columns called names; those marked stale have their Hessian made
        afresh.
        """
        fresh = [k for k, name in enumerate(names.tolist()) if stale[k] or name not in self.factors]
        if fresh:
            weights = D[:, fresh].astype(self.Z.dtype)
            edges, totals = product(self.Z.T, weights), weights.sum(axis=0, dtype=np.float64)
            alike = not self.factors and self._proportional(weights)
            common = self._moments(weights[:, 0]) / totals[0] if alike else None
            for i, k in enumerate(fresh):
                moments = self._moments(weights[:, i]) if common is None else common * totals[i]
                self.factors[int(names[k])] = self._factor(moments, edges[:, i], totals[i])
        step = np.append(-G, -h[None], axis=0)
        for k, name in enumerate(names.tolist()):
            step[:, k] = self.potrs(self.factors[name], step[:, k])[0]
        return step[:-1], step[-1]

    def _proportional(self, weights: Array) -> bool:
        shares = weights / weights.sum(axis=0)
        return bool(np.abs(shares - shares[:, :1]).max() < 1e-6 * shares.max())

    def _moments(self, weights: Array) -> Array:
        rooted = self.Z * np.sqrt(weights)[:, None]
        moments: Array = rooted.T @ rooted
        return moments

    def _factor(self, moments: Array, edge: Array, total: float) -> Array:
        H = np.eye(self.p + 1, order="F")
        H[:-1, :-1] += moments
        if self.intercept:
            H[-1, :-1] = H[:-1, -1] = edge
            H[-1, -1] = total
        factor: Array
        factor, info = self.potrf(H, overwrite_a=1)
        if info != 0:
            raise AigiError(
                "The features have no usable second moments: look for enormous values among them."
            )
        return factor


def conjugate_gradients(
    Z: Float32[Array, "n p"],
    D: Array,
    *,
    G: Array,
    h: Array,
    norm: Array,
    eta: Array,
    intercept: bool,
    gram: Gram,
) -> tuple[Array, Array]:
    """Newton's direction to a relative residual of eta, with the intercept eliminated."""
    D32 = D.astype(np.float32)
    total = D.sum(axis=0)
    pull = (
        product(Z.T, D32) / total.astype(np.float32)
        if intercept
        else np.zeros((len(G), len(h)), np.float32)
    )  # D-mean row
    rhs = (-(G - pull * h) / norm).astype(np.float32)
    X = np.zeros_like(rhs)
    which = np.arange(len(h))
    R = rhs
    enough = eta * np.sqrt((rhs * rhs).sum(axis=0))
    here = pull
    curvature = total.astype(np.float32)
    S = gram.precondition(R, curvature)
    P = S
    rho = (R * S).sum(axis=0)
    for _ in range(_MAX_INNER):
        U = product(Z, P)
        if intercept:
            U -= (here * P).sum(axis=0)
        Q = product(Z.T, D32 * U)
        # Where the intercept is eliminated D'U = 0 by construction, so no second centring is
        # needed.
        Q += P
        alpha = rho / (P * Q).sum(axis=0)
        X[:, which] += alpha * P
        R = R - alpha * Q
        keep = np.sqrt((R * R).sum(axis=0)) > enough
        if not keep.any():
            break
        if not keep.all():
            which, enough, curvature, rho = which[keep], enough[keep], curvature[keep], rho[keep]
            R, P, here, D32 = R[:, keep], P[:, keep], here[:, keep], D32[:, keep]
        S = gram.precondition(R, curvature)
        rho_new = (R * S).sum(axis=0)
        P = S + (rho_new / rho) * P
        rho = rho_new
    dV = X.astype(np.float64) * norm
    # From the intercept's own row of the Newton system: sum(D) db + D' Z dV = -h.
    dv = (
        -(h / total) - (pull.astype(np.float64) * dV).sum(axis=0) if intercept else np.zeros_like(h)
    )
    return dV, dv


def product(A: Array, B: Array) -> Array:
    """``A @ B`` for few columns: BLAS is slow at matrices of 2, 3, 5, 6 or 7 columns."""
    k = B.shape[1]
    if 1 < k < 4:
        return np.stack([A @ B[:, i] for i in range(k)], axis=1)
    if 4 < k < 8 and A.size > 1 << 16:
        padded: Array = A @ np.pad(B, ((0, 0), (0, 8 - k)))
        return padded[:, :k]
    product: Array = A @ B
    return product


def inverse_spd(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """Inverse of a symmetric positive definite matrix by Cholesky, in its own precision where that
    suffices.
    """
    potrf, potri = lapack.get_lapack_funcs(("potrf", "potri"), (matrix,))
    factor, info = potrf(matrix, lower=1)
    if info == 0:
        factor, info = potri(factor, lower=1, overwrite_c=1)
    if info != 0:
        if matrix.dtype != np.float64:
            return inverse_spd(matrix.astype(np.float64)).astype(matrix.dtype)
        raise AigiError(
            "The features have no usable second moments: look for infinite or enormous values among"
            " them."
        )
    inverse: Array = factor + factor.T  # potrf leaves zeros above the diagonal
    inverse.flat[:: len(inverse) + 1] *= 0.5
    return np.ascontiguousarray(inverse)
