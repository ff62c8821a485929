"""Logistic regressions on more rows than fit in memory: the solutions of the in-memory engine,
reached by passes over a memory map.

The objective is that of :mod:`~aigi_core.detectors.logistic`. A pass reads the map block by
block, on two threads, and gives the gradients of all problems at once: two matrix products for the
rows of a block that belong to the same problems, so that no product is made for rows that do not
count. Directions come from L-BFGS (Nocedal and Wright 2006, algorithm 7.4) whose first matrix is
the inverse Hessian of a stratified sample of rows, at the sample's own solution: that sample also
gives the point to start from.

A pass in float64 gives gradients at a point of reference and keeps each row's probability there.
Passes in float32 from there on add only what changes, so their rounding is relative to the change
and not to the gradient's large terms that cancel. A fit ends where a pass in float64 says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_solve, lapack
from threadpoolctl import threadpool_limits

from aigi_core.detectors.solvers.logistic import LogisticFit, fit_logistic
from aigi_core.errors import AigiError
from aigi_core.statements import counted

Array = np.ndarray
_Item = TypeVar("_Item")
_Made = TypeVar("_Made")

BLOCK = 32_768
"""Rows read at a time: 100 MB of 768 float32 features."""
SAMPLE = 12_288
"""Rows of the sample whose Hessian steers the passes, for each problem's training set."""
RELATIVE_TOLERANCE = 1e-9
"""Where a fit ends: the gradient's norm over the total weight C * sum(s) of its rows."""
WORKERS = 2
"""Threads that a pass runs on; sums go by blocks in order, so results do not depend on it."""
_ALONE = 3
"""How many times as large the sample is where only one C is fitted: its one Hessian costs less than
the passes that it saves."""
_MEMORY = 12
_MAX_PASSES = 80
_MAX_REFERENCES = 5
"""Points of reference; from the last one on, passes are in float64."""
_CHANGE = 1e-5
"""Share of the reference's gradient down to which changes in float32 are followed."""
_ROUNDING = 1e-9
"""Share of an objective's total weight below which its changes say nothing about a step."""
_FARTHEST = np.float32(80)
"""Log-odds beyond which changes are not followed: exp of more overflows float32."""
_MOST_GROUPS = 64
"""Different memberships of rows beyond which all rows are taken for members of all problems."""


def _on_threads(work: Callable[[_Item], _Made], items: Sequence[_Item]) -> Iterator[_Made]:
    """Results in order of the items; each thread's products on one thread of BLAS."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
        yield from pool.map(work, items)


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

        def of_block(start: int) -> Float[Array, " n"]:
            part = np.asarray(values[start : start + block], np.float64)
            lengths: Array = np.sqrt(np.einsum("ij,ij->i", part, part))
            return lengths

        norms = np.concatenate([*_on_threads(of_block, range(0, len(values), block))])
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


def _loss(f: Float[Array, "n b"]) -> Float[Array, "n b"]:
    """log(1 + exp(-f))."""
    loss: Array = np.log1p(np.exp(-np.abs(f)))
    loss -= np.minimum(f, 0)
    return loss


@dataclass(eq=False)
class _Group:
    """Rows of a block that belong to the same problems.

    Attributes:
        at: rows of the map.
        problems: which problems they belong to.
        signed: [n] the factor of each row, negative for real ones.
        f0: [n, B of these problems] log-odds of the right class at the reference.
    """

    at: Int[Array, " n"]
    problems: Int[Array, " k"]
    signed: Float[Array, " n"]
    f0: Float[Array, "n b"] | None = None


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
        self.rows, self.columns, self.intercept = rows, columns, intercept
        self.passes, self.progress = passes, progress
        self.weights = [problem.weight for problem in problems]
        self.blocks = _grouped(rows, fake, self.weights, block)
        self.reference: tuple[Array, Array, Array] = (np.empty(0, int), np.empty(0), np.empty(0))

    def exact(
        self, x: Float[Array, "p B"], active: Int[Array, " B"]
    ) -> tuple[Float[Array, "p B"], Float[Array, " B"]]:
        """Gradients [d + 1, B] and objectives [B] of the active columns at x (last row: bias), in
        float64; x becomes the reference."""

        def of_group(group: _Group, own: Int[Array, " b"], G: Array, value: Array) -> None:
            part: Array = np.asarray(self.rows.values[group.at], np.float64)
            f = part @ x[:-1, own]
            f *= group.signed[:, None]
            sign = np.sign(group.signed)[:, None]
            f += sign * x[-1, own]
            c = self._weights(group, active[own])
            value[own] += np.einsum("ij,ij->j", c, _loss(f))
            group.f0 = np.clip(f, -_FARTHEST, _FARTHEST).astype(np.float32)
            e = np.exp(-np.abs(f))
            e = np.where(f > 0, e, 1) / (1 + e)
            e *= c
            self._add(part, e, own=own, G=G, group=group)

        G, value = self._sums(of_group, active)
        G[:-1] += x[:-1]
        value += 0.5 * (x[:-1] ** 2).sum(axis=0)
        self.reference = active, x.copy(), G
        self.passes.float64 += 1
        self._tell(active)
        return G, value

    def change(
        self, x: Float[Array, "p B"], active: Int[Array, " B"]
    ) -> tuple[Float[Array, "p B"], Float[Array, " B"]]:
        """Gradients of columns that the reference has, at x, and by how much their objectives
        differ from those there: what changes is summed in float32."""
        known, x0, G0 = self.reference
        at = np.searchsorted(known, active)
        step = x - x0[:, at]
        W: Array = step.astype(np.float32)

        def of_group(group: _Group, own: Int[Array, " b"], G: Array, value: Array) -> None:
            assert group.f0 is not None, "an exact pass comes first"
            part: Array = np.asarray(self.rows.values[group.at], np.float32)
            signed = group.signed.astype(np.float32)[:, None]
            f = part @ W[:-1, own]
            f *= signed
            f += np.sign(signed) * W[-1, own]
            f0 = group.f0
            held = np.flatnonzero(np.isin(self.columns.problem[known], group.problems))
            if len(held) != len(own):
                f0 = f0[:, np.searchsorted(held, at[own])]
            np.clip(f, -_FARTHEST - f0, _FARTHEST - f0, out=f)
            there = f + f0
            c = self._weights(group, active[own]).astype(np.float32)
            value[own] += np.einsum("ij,ij->j", c, _loss(there) - _loss(f0), dtype=np.float64)
            # The difference of two sigmoids as one quotient, in which nothing cancels.
            half = np.float32(0.5)
            e = np.sinh(half * f)
            e /= np.cosh(half * there) * np.cosh(half * f0)
            e *= -half
            e *= c
            self._add(part, e, own=own, G=G, group=group)

        G, value = self._sums(of_group, active)
        G += G0[:, at]
        G[:-1] += step[:-1]
        value += (step[:-1] * (x0[:-1, at] + 0.5 * step[:-1])).sum(axis=0)
        self.passes.float32 += 1
        self._tell(active)
        return G, value

    def _weights(self, group: _Group, columns: Int[Array, " b"]) -> Float[Array, "n b"]:
        """Weight of each row in each column: C times that of its problem."""
        of_problem = {k: self.weights[k][group.at] for k in group.problems}
        chosen = [of_problem[k] for k in self.columns.problem[columns]]
        weights: Array = np.stack(chosen, axis=1) * self.columns.C[columns]
        return weights

    def _add(
        self,
        part: Float[Array, "n d"],
        e: Float[Array, "n b"],
        *,
        own: Int[Array, " b"],
        G: Float[Array, "p B"],
        group: _Group,
    ) -> None:
        """Add a group's part to the gradients, from its weighted probabilities."""
        e *= -np.sign(group.signed).astype(e.dtype)[:, None]
        if self.intercept:
            G[-1, own] += e.sum(axis=0, dtype=np.float64)
        e *= np.abs(group.signed).astype(e.dtype)[:, None]
        G[:-1, own] += part.T @ e

    def _sums(
        self,
        of_group: Callable[[_Group, Int[Array, " b"], Array, Array], None],
        active: Int[Array, " B"],
    ) -> tuple[Float[Array, "p B"], Float[Array, " B"]]:
        """Sums over all rows of what a function adds for a group."""
        problem = self.columns.problem[active]

        def of_block(groups: list[_Group]) -> tuple[Array, Array]:
            G, value = np.zeros((self.rows.width + 1, len(active))), np.zeros(len(active))
            for group in groups:
                own = np.flatnonzero(np.isin(problem, group.problems))
                if len(own):
                    of_group(group, own, G, value)
            return G, value

        total = np.zeros((self.rows.width + 1, len(active))), np.zeros(len(active))
        for parts in _on_threads(of_block, self.blocks):
            total[0][:] += parts[0]
            total[1][:] += parts[1]
        return total

    def _tell(self, active: Int[Array, " B"]) -> None:
        if self.progress:
            self.progress(f"pass {self.passes.total}, {counted(len(active), 'fit')} left")


def _grouped(
    rows: Rows, fake: Bool[Array, " N"], weights: list[Float[Array, " N"]], block: int
) -> list[list[_Group]]:
    """The rows of each block that belong to a problem, by which problems they belong to."""
    signed = np.where(fake, rows.scale, -rows.scale)
    code, used = np.zeros(len(rows), int), np.zeros(len(rows), bool)
    for weight in weights:
        used |= weight > 0
        code = np.unique(2 * code + (weight > 0), return_inverse=True)[1]
    if code.max() >= _MOST_GROUPS:
        code[used] = 0
    of_code = {}
    for one in np.unique(code[used]):
        of_it = used & (code == one)
        of_code[one] = np.flatnonzero([(weight[of_it] > 0).any() for weight in weights])
    blocks = []
    for start in range(0, len(rows), block):
        at = start + np.flatnonzero(used[start : start + block])
        groups = []
        for one in np.unique(code[at]):
            own = at[code[at] == one]
            groups.append(_Group(own, of_code[one], signed[own]))
        if groups:
            blocks.append(groups)
    return blocks


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
    """From reference to reference until a pass in float64 finds each gradient below the
    tolerance.
    """
    state = _State(start.copy(), np.full(start.shape[1], np.inf), np.zeros(start.shape[1], int), [])
    active = np.arange(start.shape[1])
    for number in range(1, _MAX_REFERENCES + 1):
        g, value = oracle.exact(state.x[:, active], active)
        state.norm[active] = np.linalg.norm(g, axis=0)
        left = state.norm[active] > tolerance * columns.total[active]
        active, g, value = active[left], g[:, left], value[left]
        if not len(active):
            return state
        state.memory = []  # the last pairs may be mere rounding
        _lbfgs(
            oracle,
            state,
            factors,
            columns.total,
            active=active,
            g=g,
            value=value if number == _MAX_REFERENCES else None,
            tolerance=tolerance,
        )
    if (state.norm <= tolerance * columns.total).all():
        return state
    worst = float((state.norm / columns.total).max())
    raise AigiError(
        f"Logistic regression did not reach a relative gradient of {tolerance:g} (got"
        f" {worst:.1e}): scale the features to about unit norm, or lower C."
    )


def _lbfgs(
    oracle: _Gradient,
    state: _State,
    factors: list[Array],
    total: Float[Array, " B"],
    *,
    active: Int[Array, " B"],
    g: Float[Array, "p B"],
    value: Float[Array, " B"] | None,
    tolerance: float,
) -> None:
    """All columns at once until each one's gradient is below the tolerance: in float64 from these
    objectives on, or else by changes from the reference, until a gradient is far below that of the
    reference or no longer shrinks.
    """
    first, exact = state.norm.copy(), value is not None
    goal = tolerance * total[active]
    if not exact:
        goal = np.maximum(0.5 * goal, _CHANGE * first[active])
    objective = np.zeros(len(active)) if value is None else value
    evaluate = oracle.exact if exact else oracle.change
    stalled = np.zeros(len(active), int)
    for _ in range((2 if exact else 1) * _MAX_PASSES):
        norm = np.linalg.norm(g, axis=0)
        if exact:
            state.norm[active] = norm
        left = (norm > goal) & (stalled < 2)
        if not left.all():
            active, g, objective, norm, stalled, goal = (
                active[left],
                g[:, left],
                objective[left],
                norm[left],
                stalled[left],
                goal[left],
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
            g_new, objective_new = evaluate(there, active)
            slack = 1e-12 * np.abs(objective) if exact else _ROUNDING * total[active]
            norm_new = np.linalg.norm(g_new, axis=0)
            bad = (norm_new > 0.9 * norm) & (
                objective_new > objective + 1e-4 * length * slope + slack
            )
            if not bad.any():
                break
            length[bad] *= 0.3
        if not exact:
            stalled = stalled + ((norm_new > 0.7 * norm) & (norm_new < 1e-3 * first[active]))
        s, u = there - x, g_new - g
        curvature = np.einsum("ij,ij->j", s, u)
        rho = np.where(curvature > 1e-300, 1 / np.where(curvature > 0, curvature, 1), 0.0)
        kept = np.zeros_like(state.x), np.zeros_like(state.x), np.zeros(state.x.shape[1])
        for whole, part in zip(kept, (s, u, rho), strict=True):
            whole[..., active] = part
        state.memory = [*state.memory, kept][-_MEMORY:]
        # On to the least of the parabola along the step, where the gradient is known without a pass
        # as far as the objective is one.
        before, after = slope * length, np.einsum("ij,ij->j", g_new, step) * length
        near = (norm_new < 0.5 * norm) & (before < after) & (not exact)
        far = np.where(near, before / np.where(near, before - after, 1.0), 1.0)
        far = np.where((far > 0.5) & (far < 2), far, 1.0)
        state.x[:, active] = x + far * s
        state.steps[active] += 1
        g, objective = g + far * u, objective_new


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
    """Solutions on half of a sample of each problem's rows (or where to start), and the factors of
    the whole sample's Hessians there."""

    def of_problem(number: int) -> tuple[LogisticFit, list[Array]]:
        problem = problems[number]
        if init is None:
            taken, s = _stratified(problem, fake, size // 2)
            fit = fit_logistic(
                rows.take(taken),
                fake[taken].astype(float),
                np.asarray(problem.C),
                sample_weight=s,
                fit_intercept=intercept,
                tol=1e-3 * float(np.sqrt(min(problem.C) * max(problem.C)) * s.sum()),
            )
        else:
            fit = init[number]
        taken, s = _stratified(problem, fake, size if len(problem.C) > 1 else _ALONE * size)
        return fit, _factors(rows, problem, fit, taken=taken, s=s, intercept=intercept)

    starts, factors = [], []
    for fit, own in _on_threads(of_problem, range(len(problems))):
        starts += [np.append(w, b) for w, b in zip(fit.weights, fit.intercept, strict=True)]
        factors += own
    return np.stack(starts, axis=1), factors


def _stratified(
    problem: Problem, fake: Bool[Array, " N"], size: int
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """At most so many rows, half of each class, and weights that stand for all rows."""
    chosen, weight = [], []
    for of_class in (fake, ~fake):
        own = np.flatnonzero(of_class & (problem.weight > 0))
        kept = own[np.linspace(0, len(own) - 1, min(len(own), size // 2)).astype(int)]
        chosen.append(kept)
        drawn = problem.weight[kept]
        weight.append(drawn * (problem.weight[own].sum() / drawn.sum()))
    order = np.argsort(np.concatenate(chosen), kind="stable")
    return np.concatenate(chosen)[order], np.concatenate(weight)[order]


def _factors(
    rows: Rows,
    problem: Problem,
    fit: LogisticFit,
    *,
    taken: Int[Array, " n"],
    s: Float[Array, " n"],
    intercept: bool,
) -> list[Array]:
    """Cholesky factors of a problem's Hessians at its solutions, one for each C."""
    potrf = lapack.get_lapack_funcs("potrf", dtype=np.float64)
    H = np.zeros((len(problem.C), rows.width + 1, rows.width + 1))
    for start in range(0, len(taken), 4_096):
        part = slice(start, start + 4_096)
        X = rows.take(taken[part]).astype(np.float32)
        f = X @ fit.weights.T.astype(np.float32) + fit.intercept
        p = 1 / (1 + np.exp(-np.clip(f, -700, 700)))
        for own, D in zip(H, (s[part, None] * p * (1 - p)).T.astype(np.float32), strict=True):
            rooted = X * np.sqrt(D)[:, None]
            own[:-1, :-1] += rooted.T @ rooted
            own[-1, :-1] += X.T @ D
            own[-1, -1] += D.sum()
    factors = []
    for own, C in zip(H, problem.C, strict=True):
        own *= C
        own[:-1, :-1] += np.eye(rows.width)
        own[-1, -1] = own[-1, -1] * (1 + 1e-6) if intercept else 1.0
        if not intercept:
            own[-1, :-1] = 0.0
        factor, info = potrf(own, lower=1)
        if info != 0:
            raise AigiError(
                "The features have no usable second moments: look for enormous values among them."
            )
        factors.append(factor.astype(np.float32))
    return factors
