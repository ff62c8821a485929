"""Logistic regressions on more rows than fit in memory: the solutions of the in-memory engine,
reached by passes over a memory map.

The objective is that of :mod:`~aigi_core.detectors.logistic`. A pass reads the map block by
block and gives the gradients of all problems at once: two matrix products a block, nothing of the
length of the map is kept. Directions come from L-BFGS (Nocedal and Wright 2006, algorithm 7.4)
whose first matrix is the inverse Hessian of a stratified sample of rows, at the sample's own
solution: that sample also gives the point to start from. Passes are float32 until rounding
limits them, then float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_solve, lapack

from aigi_core.detectors.solvers.logistic import LogisticFit, fit_logistic
from aigi_core.errors import AigiError
from aigi_core.statements import counted

Array = np.ndarray

BLOCK = 32_768
"""Rows read at a time: 100 MB of 768 float32 features."""
SAMPLE = 12_288
"""Rows of the sample whose Hessian steers the passes, for each problem's training set."""
RELATIVE_TOLERANCE = 1e-9
"""Where a fit ends: the gradient's norm over the total weight C * sum(s) of its rows."""
_COARSE = 3e-7
_MEMORY = 12
_MAX_PASSES = 80


@dataclass(frozen=True, eq=False)
class Rows:
    """Features in a memory map, read in blocks.

    Attributes:
        values: [N, d] float32 (or float16 or float64), usually a memory map.
        scale: [N], a factor of each row: one over its norm gives L2-normalised features.
    """

    values: Float[Array, "N d"]
    scale: Float[Array, " N"]

    @classmethod
    def normalised(cls, values: Float[Array, "N d"], block: int = BLOCK) -> Rows:
        """Rows divided by their Euclidean norm; one pass.

        Raises:
            AigiError: a row is zero or not finite; it is named by its number.
        """
        norms = np.empty(len(values))
        for start in range(0, len(values), block):
            part = np.asarray(values[start : start + block], np.float64)
            norms[start : start + block] = np.sqrt(np.einsum("ij,ij->i", part, part))
        bad = ~(np.isfinite(norms) & (norms > 0))
        if bad.any():
            raise AigiError(
                f"The features of row {int(np.flatnonzero(bad)[0])} are zero or not finite"
                f" ({counted(int(bad.sum()), 'such row')}): encode these images again, or leave"
                " them out."
            )
        return cls(values, 1 / norms)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def take(self, rows: Int[Array, " n"]) -> Float[Array, "n d"]:
        """Some rows as float64."""
        taken: Array = np.asarray(self.values[rows], np.float64) * self.scale[rows, None]
        return taken

    def decision_function(
        self, weights: Float[Array, "B d"], bias: Float[Array, " B"], block: int = BLOCK
    ) -> Float[Array, "N B"]:
        """Log-odds of all rows in one pass, products in float64."""
        out = np.empty((len(self), len(weights)))
        W = np.ascontiguousarray(np.asarray(weights, np.float64).T)
        for start in range(0, len(self), block):
            part = np.asarray(self.values[start : start + block], np.float64)
            out[start : start + block] = part @ W
        out *= self.scale[:, None]
        out += bias
        return out


@dataclass(frozen=True, eq=False)
class Problem:
    """One training set, fitted with every C.

    Attributes:
        weight: [N] weight of each row, zero for rows that do not belong to it.
        C: [K] inverse penalties.
    """

    weight: Float[Array, " N"]
    C: tuple[float, ...]


@dataclass(eq=False)
class Passes:
    """How many times the map was read, by precision."""

    float32: int = 0
    float64: int = 0

    @property
    def total(self) -> int:
        return self.float32 + self.float64


@dataclass(eq=False)
class _Columns:
    """All problems' columns: which problem, which C."""

    problem: Int[Array, " B"]
    C: Float[Array, " B"]
    total: Float[Array, " B"] = field(repr=False)


def fit_blocked(
    rows: Rows,
    labels: Int[Array, " N"],
    problems: list[Problem],
    *,
    fit_intercept: bool = True,
    init: list[LogisticFit] | None = None,
    relative_tolerance: float = RELATIVE_TOLERANCE,
    block: int = BLOCK,
    sample: int = SAMPLE,
    passes: Passes | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[LogisticFit]:
    """Fit every problem for each of its C, all of them in the same passes over the map.

    Args:
        labels: [N], fake = 1, real = 0.
        init: where to start, one fit a problem (such as those on fewer rows); by default the
            solution on the sample.
        relative_tolerance: gradient norm over total row weight at which a fit ends.
        passes: counts the passes made.
        progress: told of each pass in a short sentence.

    Returns:
        One fit a problem, with a row for each C.

    Raises:
        AigiError: a problem without rows of both classes, or whose gradient cannot be brought
            below the tolerance.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.standard_normal((400, 8)).astype(np.float32)
        >>> y = (X[:, 0] + rng.standard_normal(400) > 0).astype(int)
        >>> rows = Rows(X, np.ones(400))
        >>> fit = fit_blocked(rows, y, [Problem(np.ones(400), (1.0,))])[0]
        >>> exact = fit_logistic(X, y, 1.0)
        >>> bool(np.abs(fit.weights - exact.weights).max() < 1e-6)
        True
    """
    passes = passes if passes is not None else Passes()
    fake = np.asarray(labels) > 0
    for number, problem in enumerate(problems):
        if not (problem.weight[fake] > 0).any() or not (problem.weight[~fake] > 0).any():
            raise AigiError(f"Training set {number} needs rows of both classes.")
    columns = _Columns(
        np.repeat(np.arange(len(problems)), [len(p.C) for p in problems]),
        np.concatenate([np.asarray(p.C, np.float64) for p in problems]),
        np.concatenate([np.asarray(p.C, np.float64) * p.weight.sum() for p in problems]),
    )
    start, factors = _sampled(rows, fake, problems, fit_intercept, sample, init)
    oracle = _Gradient(
        rows,
        fake,
        problems=problems,
        columns=columns,
        intercept=fit_intercept,
        block=block,
        passes=passes,
        progress=progress,
    )
    V = _descend(oracle, start, factors, columns, relative_tolerance)
    fits, at = [], 0
    for problem in problems:
        own = slice(at, at + len(problem.C))
        fits.append(
            LogisticFit(
                np.ascontiguousarray(V.x[:-1, own].T),
                V.x[-1, own].copy(),
                V.norm[own].copy(),
                V.steps[own].copy(),
            )
        )
        at += len(problem.C)
    return fits


class _Gradient:
    """Gradients and objectives of all columns in one pass over the rows."""

    def __init__(
        self,
        rows: Rows,
        fake: Bool[Array, " N"],
        *,
        problems: list[Problem],
        columns: _Columns,
        intercept: bool,
        block: int,
        passes: Passes,
        progress: Callable[[str], None] | None,
    ) -> None:
        self.rows, self.columns, self.block = rows, columns, block
        self.intercept, self.passes, self.progress = intercept, passes, progress
        self.sign = np.where(fake, 1.0, -1.0)
        self.weights = np.stack([p.weight for p in problems], axis=1).astype(np.float32)
        self.exact = [p.weight for p in problems]
        used: Array = self.weights.max(axis=1) > 0
        self.members = [
            (start, np.flatnonzero((self.weights[start : start + block] > 0).any(axis=0)))
            for start in range(0, len(rows), block)
            if used[start : start + block].any()
        ]

    def __call__(
        self, x: Float[Array, "p B"], active: Int[Array, " B"], precision: type
    ) -> tuple[Float[Array, "p B"], Float[Array, " B"]]:
        """Gradients [d + 1, B] and objectives [B] of the active columns at x (last row: bias)."""
        W: Array = x[:-1].astype(precision)
        b = x[-1]
        of_problem, C = self.columns.problem[active], self.columns.C[active]
        G = np.zeros_like(x)
        value = np.zeros(len(active))
        for start, present in self.members:
            stop = min(start + self.block, len(self.rows))
            own = np.flatnonzero(np.isin(of_problem, present))
            if not len(own):
                continue
            part: Array = np.asarray(self.rows.values[start:stop], precision)
            scale, sign = self.rows.scale[start:stop], self.sign[start:stop]
            wanted = present[np.isin(present, of_problem)]
            inside: Array = self.weights[start:stop][:, wanted].max(axis=1) > 0
            if not inside.all():
                if not inside.any():
                    continue
                if inside.mean() < 0.7:
                    part, scale, sign = part[inside], scale[inside], sign[inside]
                else:
                    inside = np.ones(len(part), bool)
            weights = np.stack([self.exact[k][start:stop][inside] for k in of_problem[own]], axis=1)
            c = (weights * C[own]).astype(precision)
            f = part @ W[:, own]
            f *= scale.astype(precision)[:, None]
            f += b[own].astype(precision)
            f *= sign.astype(precision)[:, None]
            e = np.exp(-np.abs(f))
            loss = np.log1p(e)
            loss -= np.minimum(f, 0)
            value[own] += np.einsum("ij,ij->j", c, loss, dtype=np.float64)
            e = np.where(f > 0, e, 1) / (1 + e)
            e *= c
            e *= -sign.astype(precision)[:, None]
            if self.intercept:
                G[-1, own] += e.sum(axis=0, dtype=np.float64)
            e *= scale.astype(precision)[:, None]
            G[:-1, own] += part.T @ e
        G[:-1] += x[:-1]
        value += 0.5 * (x[:-1] ** 2).sum(axis=0)
        if precision is np.float32:
            self.passes.float32 += 1
        else:
            self.passes.float64 += 1
        if self.progress:
            self.progress(f"pass {self.passes.total}, {counted(len(active), 'fit')} left")
        return G, value


@dataclass(eq=False)
class _State:
    """Where all columns stand, and the pairs of steps and gradient changes that they remember."""

    x: Float[Array, "p B"]
    norm: Float[Array, " B"]
    steps: Int[Array, " B"]
    memory: list[tuple[Array, Array, Array]]


def _descend(
    oracle: _Gradient,
    start: Float[Array, "p B"],
    factors: list[Array],
    columns: _Columns,
    tolerance: float,
) -> _State:
    state = _State(start.copy(), np.full(start.shape[1], np.inf), np.zeros(start.shape[1], int), [])
    for precision, goal in ((np.float32, max(_COARSE, tolerance)), (np.float64, tolerance)):
        _lbfgs(oracle, state, factors, columns.total, goal, precision)
    if not (state.norm <= tolerance * columns.total).all():
        worst = float((state.norm / columns.total).max())
        raise AigiError(
            f"Logistic regression did not reach a relative gradient of {tolerance:g} (got"
            f" {worst:.1e}): scale the features to about unit norm, or lower C."
        )
    return state


def _lbfgs(
    oracle: _Gradient,
    state: _State,
    factors: list[Array],
    total: Float[Array, " B"],
    goal: float,
    precision: type,
) -> None:
    """All columns at once until each one's relative gradient is below the goal, or, in float32,
    no longer shrinks.
    """
    active = np.arange(state.x.shape[1])
    g, value = oracle(state.x, active, precision)
    stalled = np.zeros(len(active), int)
    for _ in range(_MAX_PASSES):
        norm = np.linalg.norm(g, axis=0)
        state.norm[active] = norm
        left = norm > goal * total[active]
        if precision is np.float32:
            left &= stalled < 2
        if not left.all():
            active, g, value, norm, stalled = (
                active[left],
                g[:, left],
                value[left],
                norm[left],
                stalled[left],
            )
        if not len(active):
            return
        x = state.x[:, active]
        memory = [(s[:, active], u[:, active], r[active]) for s, u, r in state.memory]
        step = -_two_loop(g, memory, [factors[k] for k in active])
        slope = np.einsum("ij,ij->j", g, step)
        length = np.ones(len(active))
        for _attempt in range(20):
            there = x + length * step
            g_new, value_new = oracle(there, active, precision)
            slack = (1e-5 if precision is np.float32 else 1e-12) * np.abs(value)
            norm_new = np.linalg.norm(g_new, axis=0)
            bad = (norm_new > 0.9 * norm) & (value_new > value + 1e-4 * length * slope + slack)
            if not bad.any():
                break
            length[bad] *= 0.3
        stalled = stalled + (norm_new > 0.7 * norm)
        s, u = there - x, g_new - g
        curvature = np.einsum("ij,ij->j", s, u)
        rho = np.where(curvature > 1e-300, 1 / np.where(curvature > 0, curvature, 1), 0.0)
        kept = np.zeros_like(state.x), np.zeros_like(state.x), np.zeros(state.x.shape[1])
        for whole, part in zip(kept, (s, u, rho), strict=True):
            whole[..., active] = part
        state.memory = [*state.memory, kept][-_MEMORY:]
        state.x[:, active] = there
        state.steps[active] += 1
        g, value = g_new, value_new


def _two_loop(
    g: Float[Array, "p B"], memory: list[tuple[Array, Array, Array]], factors: list[Array]
) -> Float[Array, "p B"]:
    q = g.copy()
    alphas = []
    for s, u, rho in reversed(memory):
        alpha = rho * np.einsum("ij,ij->j", s, q)
        q -= alpha * u
        alphas.append(alpha)
    for k, factor in enumerate(factors):
        q[:, k] = cho_solve((factor, True), q[:, k], check_finite=False)
    for (s, u, rho), alpha in zip(memory, reversed(alphas), strict=True):
        beta = rho * np.einsum("ij,ij->j", u, q)
        q += s * (alpha - beta)
    return q


def _sampled(
    rows: Rows,
    fake: Bool[Array, " N"],
    problems: list[Problem],
    intercept: bool,
    size: int,
    init: list[LogisticFit] | None,
) -> tuple[Float[Array, "p B"], list[Array]]:
    """Solutions on a sample of each problem's rows, and the factors of its Hessians there."""
    starts, factors = [], []
    potrf = lapack.get_lapack_funcs("potrf", dtype=np.float64)
    for number, problem in enumerate(problems):
        chosen, weight = [], []
        for of_class in (fake, ~fake):
            own = np.flatnonzero(of_class & (problem.weight > 0))
            kept = own[np.linspace(0, len(own) - 1, min(len(own), size // 2)).astype(int)]
            chosen.append(kept)
            drawn = problem.weight[kept]
            weight.append(drawn * (problem.weight[own].sum() / drawn.sum()))
        order = np.argsort(np.concatenate(chosen), kind="stable")
        taken, s = np.concatenate(chosen)[order], np.concatenate(weight)[order]
        X = rows.take(taken)
        if init is None:
            fit = fit_logistic(
                X,
                fake[taken].astype(float),
                np.asarray(problem.C),
                sample_weight=s,
                fit_intercept=intercept,
                tol=1e-3 * float(np.sqrt(min(problem.C) * max(problem.C)) * s.sum()),
            )
        else:
            fit = init[number]
        X32 = X.astype(np.float32)
        for w, b, C in zip(fit.weights, fit.intercept, problem.C, strict=True):
            p = 1 / (1 + np.exp(-np.clip(X @ w + b, -700, 700)))
            D = C * s * p * (1 - p)
            rooted = X32 * np.sqrt(D).astype(np.float32)[:, None]
            H = np.eye(rows.width + 1)
            H[:-1, :-1] += rooted.T @ rooted
            edge = X.T @ D
            if intercept:
                H[-1, :-1] = H[:-1, -1] = edge
                H[-1, -1] = D.sum() * (1 + 1e-6)
            factor, info = potrf(H, lower=1)
            if info != 0:
                raise AigiError(
                    "The features have no usable second moments: look for enormous values among"
                    " them."
                )
            factors.append(factor.astype(np.float32))
            starts.append(np.append(w, b))
    return np.stack(starts, axis=1), factors
