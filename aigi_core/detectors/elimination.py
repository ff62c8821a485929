"""Greedy backward elimination of components, exact at every step (paper, section on components).

At each step the one component leaves whose removal gives the best score of "train on D1, score on D2": accuracy, ties
by log-loss. A step costs little more than one fit, because
- all candidates are estimated together. To first order the solution without component j moves by
  ``-(w_j / Hinv_jj) Hinv[:, j]`` (a Newton step; optimal brain surgeon), and all scores are one pass over
  ``Hinv @ X_score.T``; that matrix, ``Hinv`` and ``Hinv @ X.T`` take rank-one downdates when a component leaves;
- candidates that this cannot tell from the leader are estimated to second order, where it matters: at the images whose
  verdict is in doubt, and in their mean log-loss. The second order also makes up for a Hessian some removals old;
- candidates still in doubt, and in any case the chosen one, are fitted exactly, so that every reported score is that of
  an exactly trained detector. Estimates are float32; gradients of exact fits are float64.
An estimate's error is bounded by the next power of the relative correction rho, times a factor learnt from exact fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import blas

from aigi_core.detectors.logistic import TOLERANCE, LogisticFit, balance, fit_logistic, inverse_spd, log_loss
from aigi_core.errors import AigiError

Array = np.ndarray
Progress = Callable[[int, int], None]
"""Called after each removal with (removals done, removals at most); raise in it to cancel."""

_BLOCK = 16
"""Removals between fresh Hessians, at most."""
_NARROW = 48
"""Up to this many components the Hessian is fresh at each step: it costs nothing."""
_TOGETHER = 32
"""Candidates estimated to second order at a time."""
_SAFETY = 3.0
"""Factor on the largest error of an estimate seen lately."""
_SAME = 1e-10
"""Log-losses closer than this are equal: the lower component number goes first, and fewer removals are the cut."""
_NOISE = {np.dtype(np.float32): (1e-6, 5e-8), np.dtype(np.float64): (1e-12, 1e-13)}
"""Rounding of a margin, and of a mean log-loss."""
_FIRST_ERRORS = (0.5, 0.1, 0.3, 0.05)
"""Errors to reckon with before any was seen (see :class:`_Race`)."""
_LEAST_ERRORS = (0.05, 0.01, 0.03, 0.005)
"""And at the least: those fitted lately may all have been easy ones, whose errors drown in rounding."""


@dataclass(frozen=True, eq=False)
class Elimination:
    """One direction of a search. Entry t of the curves belongs to the detector after t removals.

    Attributes:
        removed: [r] component numbers in the order of their removal.
        accuracy, log_loss: [r + 1] on the scoring rows, both classes alike where balanced.
        gradient_norm: [r + 1] of the objective at each reported detector.
        tied: [r] how many candidates shared the chosen one's accuracy.
        d: components at the start; C: inverse penalty; n_train, n_score: rows.
    """

    removed: Int[Array, " r"]
    accuracy: Float[Array, " r+1"]
    log_loss: Float[Array, " r+1"]
    gradient_norm: Float[Array, " r+1"]
    tied: Int[Array, " r"]
    d: int
    C: float
    n_train: int
    n_score: int

    @property
    def cut(self) -> int:
        """Removals at the best score (ties: lower log-loss, then fewer removals)."""
        best = np.where(self.accuracy == self.accuracy.max(), self.log_loss, np.inf)
        return int(np.flatnonzero(best <= best.min() + _SAME)[0])  # rounding must not decide

    @property
    def cut_removed(self) -> tuple[int, ...]:
        """Components that the cut list removes, in order of removal."""
        return tuple(self.removed[: self.cut].tolist())


def eliminate(
    X: Float[Array, "n d"],
    y: Int[Array, " n"],
    X_score: Float[Array, "m d"],
    y_score: Int[Array, " m"],
    *,
    C: float,
    fit_intercept: bool = True,
    sample_weight: Float[Array, " n"] | None = None,
    class_weight: str | None = None,
    keep: int = 1,
    patience: int | None = None,
    progress: Progress | None = None,
) -> Elimination:
    """Remove components one by one, each time the one whose removal scores best, down to ``keep`` of them.

    Args:
        X, y: rows trained on. X_score, y_score: rows scored (fake = 1, real = 0).
        class_weight: ``"balanced"`` gives both classes the same total weight, in training and in scores.
        patience: stop once this many removals in a row have not bettered the best score; None goes to the end.

    Raises:
        AigiError: as :func:`~aigi_core.detectors.logistic.fit_logistic`; or the scoring rows do not fit.
    """
    X_score = np.ascontiguousarray(X_score, np.float64)
    X = np.ascontiguousarray(X, np.float64)
    if X_score.ndim != 2 or X.ndim != 2 or X_score.shape[1] != X.shape[1] or not len(X_score):
        raise AigiError(f"Rows to score have shape {X_score.shape}, rows to train on {X.shape}: widths must agree.")
    if not np.isfinite(X_score).all():
        raise AigiError("The rows to score hold NaN or infinity: leave those images out or encode them again.")
    d = X.shape[1]
    if not 1 <= keep <= d:
        raise AigiError(f"Between 1 and {d} components can be kept, not {keep}.")
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if class_weight == "balanced":
        weight = weight * balance(np.asarray(y, np.float64)[:, None], weight[:, None])[:, 0]
    fake = np.asarray(y_score) > 0
    points = _points(fake) if class_weight == "balanced" else (1, 1)
    order = np.argsort(~fake, kind="stable")  # fakes first: each class is one block of columns
    state = _State(X, np.asarray(y, np.float64), X_score[order], fake[order], points, C, weight, fit_intercept)
    removed: list[int] = []
    tied: list[int] = []
    curve = [state.score()]
    best, since = curve[0][:2], 0
    while d - len(removed) > keep:
        component, ties = state.remove_best()
        removed.append(component)
        tied.append(ties)
        curve.append(state.score())
        if progress is not None:
            progress(len(removed), d - keep)
        better = curve[-1][:2] > best
        best, since = max(best, curve[-1][:2]), 0 if better else since + 1
        if patience is not None and since >= patience:
            break
    right, negative_loss, norm = (np.array(column) for column in zip(*curve, strict=True))
    return Elimination(
        np.array(removed, int), right / state.points.sum(), -negative_loss, norm, np.array(tied, int), d, float(C), len(X), len(X_score)
    )  # fmt: skip


def _points(fake: Bool[Array, " m"]) -> tuple[int, int]:
    """What a fake and a real image count for so that both classes count alike: whole numbers, for equal scores to tie."""
    fakes, reals = int(fake.sum()), int((~fake).sum())
    common = gcd(fakes, reals)
    return (reals // common, fakes // common) if fakes and reals else (1, 1)


class _State:
    """The current exact solution, and what estimates its neighbours.

    Solutions are [p + 1] with the intercept last. Between fresh Hessians removed components stay in place: the
    downdated inverse has a zero row and column there, so they move no more.
    """

    def __init__(
        self,
        X: Array,
        y: Array,
        T: Array,
        fake: Array,
        points: tuple[int, int],
        C: float,
        weight: Array,
        intercept: bool,
    ) -> None:
        self.X, self.y, self.T, self.fake = X, y, T, fake
        self.points = np.where(fake, *points)
        self.share = self.points / self.points.sum()
        self.C, self.weight, self.c, self.intercept = C, weight, C * weight, intercept
        self.sign = np.where(fake, 1.0, -1.0)
        self.numbers = np.arange(X.shape[1])
        self.alive = np.ones(X.shape[1], bool)
        self.errors: deque[Array] = deque([np.array(_FIRST_ERRORS)], maxlen=24)
        fit = fit_logistic(X, y, C, sample_weight=weight, fit_intercept=intercept)
        self._arrive(np.append(fit.weights[0], fit.intercept[0]), float(fit.gradient_norm[0]))
        self.age = _BLOCK  # the first step computes the Hessian

    def _arrive(self, theta: Array, norm: float) -> None:
        self.theta, self.norm = theta, norm
        self.f, self.m = self.X @ theta[:-1] + theta[-1], self.T @ theta[:-1] + theta[-1]

    def score(self) -> tuple[int, float, float]:
        """Points of the images judged rightly, minus the mean log-loss, and the gradient's norm."""
        right = int(self.points @ ((self.m > 0) == self.fake))
        return right, -float(self.share @ log_loss(self.m, self.fake)), self.norm

    def remove_best(self) -> tuple[int, int]:
        """Remove the component whose absence scores best; returns its number and how many tied in accuracy."""
        if self.age >= _BLOCK or self.alive.sum() <= _NARROW:
            self._refresh()
        self.age += 1
        race = self._estimate()
        contenders = race.contenders()
        while len(contenders):  # few at a time: each sharper estimate of a leader rules out others
            rough = contenders[race.order[contenders] == 1]
            if len(rough):
                self._correct(race, rough[:_TOGETHER])
            else:
                self._fit(race, int(contenders[0]))
            contenders = race.contenders()
        leader = race.leader()
        if leader not in race.solutions:
            self._fit(race, leader)
        self.errors.append(race.seen)
        self._go(leader, *race.solutions[leader])
        return int(self.numbers[leader]), int((race.right == race.right[leader]).sum())

    def _refresh(self) -> None:
        """Drop removed columns; compute afresh the inverse Hessian and how scoring rows answer to each component."""
        if not self.alive.all():
            self.X, self.T = np.ascontiguousarray(self.X[:, self.alive]), np.ascontiguousarray(self.T[:, self.alive])
            self.theta, self.numbers = self.theta[np.append(self.alive, True)], self.numbers[self.alive]
            self.alive = np.ones(len(self.numbers), bool)
        p = len(self.numbers)
        curvature = self.curvature = self._curvature()[0]
        # float32 carries the inverse as long as the Hessian's condition (at most about its trace) leaves it digits.
        trace = float(curvature @ np.einsum("ij,ij->i", self.X, self.X))
        dtype = np.float32 if trace < 1e5 else np.float64
        self.rows, self.score_rows = (np.ones((len(A), p + 1), dtype) for A in (self.X, self.T))
        self.rows[:, :p], self.score_rows[:, :p] = self.X, self.T
        rooted = self.rows * np.sqrt(curvature).astype(dtype)[:, None]
        H = rooted.T @ rooted
        H.flat[: p * (p + 2) : p + 2] += 1
        if not self.intercept:
            H[p, :p] = H[:p, p] = 0
            H[p, p] = 1
        self.inverse = inverse_spd(H)
        if not self.intercept:
            self.inverse[p, p] = 0
        self.answers = self.inverse @ self.score_rows.T  # [p + 1, m]
        self.own_answers = self.inverse @ self.rows.T  # [p + 1, n]
        self.age = 0

    def _curvature(self) -> tuple[Array, Array]:
        """Second and third derivative of each training row's loss in its margin, [n]."""
        t = np.tanh(0.5 * self.f)
        second = self.c * 0.25 * (1 - t * t)
        return second, -second * t

    def _estimate(self) -> _Race:
        """First-order solutions of all candidates and what their scores can be."""
        p, dtype = len(self.numbers), self.inverse.dtype
        step = np.zeros(p, dtype)
        step[self.alive] = -self.theta[:p][self.alive] / np.diagonal(self.inverse)[:p][self.alive]
        margins = self.answers[:p] * step[:, None]
        size = np.maximum(margins.max(axis=1), -margins.min(axis=1)).astype(np.float64)
        margins += self.m.astype(dtype)
        margins *= self.sign.astype(dtype)
        # rho: the second-order correction relative to the first-order move, in the norm of the Hessian. It has a part
        # from the Hessian's age and one from the loss's third derivative.
        second, third = self._curvature()
        square = np.square(self.own_answers[:p])
        energy = square @ second.astype(dtype)
        age = square @ ((second - self.curvature) ** 2 / (second + 1e-30)).astype(dtype)
        curve = np.square(square, out=square) @ (third**2 / (second + 1e-30) / 4).astype(dtype)
        rho = np.sqrt((age + step**2 * curve) / np.maximum(energy, 1e-30)).astype(np.float64)
        race = _Race(self.alive, step, size, rho, self.points, self.fake)
        race.worst = np.maximum(_SAFETY * np.max(self.errors, axis=0), _LEAST_ERRORS)
        race.record(np.arange(p), margins, order=1)
        return race

    def _correct(self, race: _Race, columns: Array) -> None:
        """Second-order estimates of these candidates: of margins in doubt and of the mean log-loss.

        With u = X d the first-order move of training margins, the solution moves on by ``-Hinv X'q`` in the subspace
        without the candidate, where ``q = (D_now - D_then) u + D'_now u^2 / 2``.
        """
        dtype, step = self.inverse.dtype, race.step[columns]
        second, third = self._curvature()
        u = self.own_answers[columns] * step[:, None]
        q = u * (0.5 * third).astype(dtype)
        q += (second - self.curvature).astype(dtype)
        q *= u
        # Projection off the candidate's own column: a change of its step.
        extra = np.einsum("jn,jn->j", self.own_answers[columns], q) / np.diagonal(self.inverse)[columns]
        slopes = (-self.sign / (1 + np.exp(self.m * self.sign)) * self.share).astype(dtype)
        answer = self.answers @ slopes
        loss = race.loss[columns] + extra * answer[columns] - q @ (self.rows @ answer)
        margins = race.margins[columns]
        doubtful = np.flatnonzero((np.abs(margins) <= race.bound[columns, None]).any(axis=0))
        move = self.answers[np.ix_(columns, doubtful)] * extra[:, None] - q @ (self.rows @ self.answers[:, doubtful])
        margins[:, doubtful] += move * self.sign[doubtful].astype(dtype)
        race.learn(columns, np.abs(move).max(axis=1, initial=0), np.abs(loss - race.loss[columns]))
        race.record(columns, margins, order=2)
        race.loss[columns] = loss
        race.doubtful |= dict.fromkeys(columns.tolist(), doubtful)

    def _newton(self, gradient: Array, column: int) -> Array:
        """Inverse Hessian times gradient [p + 1], in the subspace without this column."""
        size = float(np.linalg.norm(gradient))
        out: Array = (self.inverse @ (gradient / size).astype(self.inverse.dtype)).astype(np.float64)
        out -= self.inverse[:, column] * (out[column] / self.inverse[column, column])
        out[column] = 0
        return size * out

    def _fit(self, race: _Race, column: int) -> None:
        """The exact solution without this column: quasi-Newton from the inverse at hand (L-BFGS, Nocedal 1980) with
        float64 gradients, or else from scratch."""
        theta = self.theta + race.step[column] * self.inverse[column]
        theta[column] = 0.0
        before, last = np.inf, np.zeros(0)
        pairs: list[tuple[Array, Array, float]] = []
        while True:
            f = self.X @ theta[:-1] + theta[-1]
            r = self.c * (0.5 + 0.5 * np.tanh(0.5 * f) - self.y)
            gradient = np.append((self.X.T @ r + theta[:-1]) * self.alive, r.sum() * self.intercept)
            gradient[column] = 0.0
            norm = float(np.linalg.norm(gradient))
            if norm < TOLERANCE:
                break
            if norm > 0.5 * before:
                theta, norm = self._fit_afresh(column, theta)
                self.age = _BLOCK  # this Hessian has served its time
                break
            if len(last):
                change = gradient - last
                pairs.append((step, change, 1 / float(step @ change)))
            step = -self._two_loops(gradient, pairs, column)
            theta += step
            before, last = norm, gradient
        race.settle(column, (self.T @ theta[:-1] + theta[-1]) * self.sign)
        race.solutions[column] = (theta, norm)

    def _two_loops(self, gradient: Array, pairs: list[tuple[Array, Array, float]], column: int) -> Array:
        q, shares = gradient.copy(), []
        for step, change, scale in reversed(pairs):
            shares.append(scale * float(step @ q))
            q -= shares[-1] * change
        out = self._newton(q, column)
        for (step, change, scale), share in zip(pairs, reversed(shares), strict=True):
            out += step * (share - scale * float(change @ out))
        return out

    def _fit_afresh(self, column: int, start: Array) -> tuple[Array, float]:
        kept = np.flatnonzero(self.alive & (np.arange(len(self.alive)) != column))
        init = LogisticFit(start[kept][None], start[-1:], np.zeros(1), np.zeros(1, int))
        fit = fit_logistic(
            self.X[:, kept], self.y, self.C, sample_weight=self.weight, fit_intercept=self.intercept, init=init
        )
        theta = np.zeros(len(start))
        theta[kept], theta[-1] = fit.weights[0], fit.intercept[0]
        return theta, float(fit.gradient_norm[0])

    def _go(self, column: int, theta: Array, norm: float) -> None:
        """Move to the solution without this column and downdate the inverse."""
        self.alive[column] = False
        self._arrive(theta, norm)
        own, pivot = self.inverse[column].copy(), self.inverse[column, column]
        ger = blas.sger if self.inverse.dtype == np.float32 else blas.dger
        self.answers = ger(-1 / pivot, self.answers[column].copy(), own, a=self.answers.T, overwrite_a=1).T
        self.own_answers = ger(-1 / pivot, self.own_answers[column].copy(), own, a=self.own_answers.T, overwrite_a=1).T
        self.inverse = ger(-1 / pivot, own, own, a=self.inverse.T, overwrite_a=1).T


class _Race:
    """What is known of each candidate's score: points of images judged rightly and mean log-loss, with bounds on both.

    Attributes:
        size: [p] largest first-order move of a scoring row's margin; rho: [p] relative size of the next order.
        margins: [p, m] towards the true class; bound: [p] on their error.
        seen, worst: [4] errors of margins and log-loss to first and to second order, relative to :meth:`scale`:
            those seen in this step, and those to reckon with.
        solutions: candidates fitted exactly: solution and norm of the gradient.
    """

    def __init__(self, alive: Array, step: Array, size: Array, rho: Array, points: Array, fake: Array) -> None:
        p = len(alive)
        self.alive, self.step, self.size, self.rho = alive, step, size, rho
        self.share, self.fakes = points / points.sum(), int(fake.sum())
        self.points = int(points[0]), int(points[-1])  # of a fake, of a real image
        self.right, self.least, self.most = (np.full(p, -1) for _ in range(3))
        self.loss, self.loss_error, self.bound = np.full(p, np.inf), np.zeros(p), np.zeros(p)
        self.order = np.ones(p, int)
        self.doubtful: dict[int, Array] = {}
        self.seen, self.worst = np.zeros(4), np.zeros(4)
        self.solutions: dict[int, tuple[Array, float]] = {}

    def scale(self, order: int) -> Array:
        """[p] what the error of an estimate of this order is measured in."""
        scale: Array = self.size * self.rho**order
        return scale

    def learn(self, columns: Array, margin: Array, loss: Array) -> None:
        """Note errors [K] of the estimates of these candidates, all of one order, as a better one has shown them."""
        order = int(self.order[columns[0]])
        scale, noise = self.scale(order)[columns], _NOISE[self.margins.dtype]
        for kind, error in enumerate((margin, loss)):
            at = 2 * order - 2 + kind
            self.seen[at] = max(self.seen[at], float(((error - noise[kind]) / (scale + 1e-300)).max()))

    def record(self, columns: Array, margins: Array, order: int) -> None:
        """Take margins [K, m] known to this order, and their mean log-loss."""
        if order == 1:
            self.margins = margins
        else:
            self.margins[columns] = margins
        noise, scale = _NOISE[margins.dtype], self.scale(order)[columns]
        self.order[columns] = order
        self.bound[columns] = self.worst[2 * order - 2] * scale + noise[0]
        self._count(columns, margins)
        self.loss_error[columns] = self.worst[2 * order - 1] * scale + noise[1]
        if order == 1:
            share = self.share.astype(margins.dtype)
            size = np.abs(margins)
            tail = 0.5 * (margins @ share - size @ share)  # mean of min(margin, 0)
            np.exp(np.negative(size, out=size), out=size)
            self.loss[columns] = np.log1p(size, out=size) @ share - tail
            self.loss[~self.alive] = np.inf

    def settle(self, column: int, margins: Array) -> None:
        """Take the exact margins [m] of a candidate, and note by how much its estimate erred."""
        loss = float(self.share @ (np.log1p(np.exp(-np.abs(margins))) - np.minimum(margins, 0)))
        error = np.abs(margins - self.margins[column])
        if column in self.doubtful:  # only these were estimated to second order
            error = error[self.doubtful[column]]
        only = np.array([column])
        self.learn(only, error.max(initial=0, keepdims=True), np.abs(loss - self.loss[only]))
        self.bound[column], self.loss_error[column], self.loss[column] = 1e-9, 1e-11, loss
        self._count(only, margins[None])

    def _count(self, columns: Array, margins: Array) -> None:
        limit = self.bound[columns].astype(margins.dtype)[:, None]
        self.right[columns], self.least[columns], self.most[columns] = (
            self._points_above(margins > value) for value in (0, limit, -limit)
        )
        dead = columns[~self.alive[columns]]
        self.right[dead] = self.least[dead] = self.most[dead] = -1

    def _points_above(self, right: Array) -> Array:
        parts = (right[:, : self.fakes], right[:, self.fakes :])
        fakes, reals = (part.view(np.uint8).sum(axis=1, dtype=np.int32) for part in parts)
        points: Array = self.points[0] * fakes + self.points[1] * reals
        return points

    def leader(self) -> int:
        """Most points, then least log-loss, then the lowest number."""
        top = np.flatnonzero(self.right == self.right.max())
        return int(top[np.flatnonzero(self.loss[top] <= self.loss[top].min() + _SAME)[0]])

    def contenders(self) -> Array:
        """The leader and those that may yet beat it, likeliest first, but for exact ones; none where it stands."""
        leader = self.leader()
        beaten = (self.most < self.least[leader]) | (
            (self.most <= self.least[leader])
            & (self.loss - self.loss_error > self.loss[leader] + self.loss_error[leader])
        )
        beaten[leader] = True
        others = np.flatnonzero(~beaten & self.alive)
        if not len(others):
            return others
        order = np.lexsort((self.loss[others], -self.most[others]))
        return np.array([k for k in (leader, *others[order].tolist()) if k not in self.solutions], int)
