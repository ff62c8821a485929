"""Greedy backward elimination of components, exact at every step (paper, section on components).

At each step the one component leaves whose removal gives the best score of "train on D1, score on
D2": accuracy, ties by log-loss. A step costs little more than one fit, because
- all candidates are estimated together. To first order the solution without component j moves by
  ``-(w_j / Hinv_jj) Hinv[:, j]`` (a Newton step; optimal brain surgeon), and all scores are one
  pass over ``Hinv @ X_score.T``; that matrix, ``Hinv`` and ``Hinv @ X.T`` take rank-one downdates
  when a component leaves;
- candidates that this cannot tell from the leader are estimated to second order, where it matters:
  at the images whose verdict is in doubt, and in their mean log-loss. The second order also makes
  up for a Hessian some removals old;
- candidates still in doubt, and in any case the chosen one, are fitted exactly, so that every
  reported score is that of an exactly trained detector. Estimates are float32; gradients of exact
  fits are float64. An estimate's error is bounded by the next power of the relative correction rho,
  times a factor learnt from exact fits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import blas

from aigi_core.detectors.solvers.directions import inverse_spd
from aigi_core.detectors.solvers.logistic import (
    TOLERANCE,
    LogisticFit,
    balance,
    fit_logistic,
    log_loss,
)
from aigi_core.detectors.solvers.race import SAME, Race, Solution
from aigi_core.errors import AigiError
from aigi_core.statements import counted

Array = np.ndarray
Cut = Literal["log-loss", "first", "last"]
"""Which of the steps with the best accuracy ends a list: the one with the least log-loss, the
first, or the last."""
Progress = Callable[[int, int], None]
"""Called after each removal with (removals done, removals at most); raise in it to cancel."""

_BLOCK = 16
"""Removals between fresh Hessians, at most."""
_NARROW = 48
"""Up to this many components the Hessian is fresh at each step: it costs nothing."""
_TOGETHER = 32
"""Candidates estimated to second order at a time."""
_NEARBY = 1e-4
"""A gradient so small that what remains to be moved is tiny."""
_SAFETY = 3.0
"""Factor on the largest error of an estimate seen lately."""
_FIRST_ERRORS = (0.5, 0.1, 0.3, 0.05)
"""Errors to reckon with before any was seen (see :class:`Race`)."""
_LEAST_ERRORS = (0.05, 0.01, 0.03, 0.005)
"""And at the least: those fitted lately may all have been easy ones, whose errors drown in
rounding.
"""


@dataclass(frozen=True, eq=False)
class Elimination:
    """One direction of a search. Entry t of the curves belongs to the detector after t removals.

    Attributes:
        removed: [r] component numbers in the order of their removal.
        accuracy, log_loss: [r + 1] on the scoring rows, both classes alike where balanced.
        gradient_norm: [r + 1] of the objective at each reported detector.
        tied: [r] how many candidates shared the chosen one's accuracy, those out of the running as
            estimated.
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
        return cut_at(self.accuracy, self.log_loss)


def cut_at(
    accuracy: Float[Array, " r+1"], log_loss: Float[Array, " r+1"], rule: Cut = "log-loss"
) -> int:
    """Removals at the best accuracy of a curve (paper, section on components, which names no rule
    for ties).

    Args:
        accuracy, log_loss: after each number of removals.
        rule: among steps of the same accuracy, the least log-loss (then the fewest removals), the
            first, or the last.

    Example:
        >>> cut_at(np.array([0.5, 0.9, 0.7, 0.9]), np.array([1.0, 0.4, 0.5, 0.6]), "last")
        3
    """
    best = np.flatnonzero(accuracy == accuracy.max())
    if rule == "first":
        return int(best[0])
    if rule == "last":
        return int(best[-1])
    loss = log_loss[best]
    return int(best[np.flatnonzero(loss <= loss.min() + SAME)[0]])  # rounding must not decide


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
    """Remove components one by one, each time the one whose removal scores best, down to ``keep``
    of them.

    Args:
        X, y: rows trained on. X_score, y_score: rows scored (fake = 1, real = 0).
        class_weight: ``"balanced"`` gives both classes the same total weight, in training and in
            scores.
        patience: stop once this many removals in a row have not bettered the best score; None goes
            to the end.

    Raises:
        AigiError: as :func:`~aigi_core.detectors.fit_logistic`; or the scoring rows do not
            fit.
    """
    X_score = np.ascontiguousarray(X_score, np.float64)
    X = np.ascontiguousarray(X, np.float64)
    if X_score.ndim != 2 or X.ndim != 2 or X_score.shape[1] != X.shape[1] or not len(X_score):
        raise AigiError(
            f"Rows to score have shape {X_score.shape}, rows to train on {X.shape}: widths must"
            " agree."
        )
    if not np.isfinite(X_score).all():
        raise AigiError(
            "The rows to score hold NaN or infinity: leave those images out or encode them again."
        )
    d = X.shape[1]
    if not 1 <= keep <= d:
        raise AigiError(f"Between 1 and {counted(d, 'component')} can be kept, not {keep}.")
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if class_weight == "balanced":
        weight = weight * balance(np.asarray(y, np.float64)[:, None], weight[:, None])[:, 0]
    fake = np.asarray(y_score) > 0
    points = _points(fake) if class_weight == "balanced" else (1, 1)
    order = np.argsort(~fake, kind="stable")  # fakes first: each class is one block of columns
    state = _State(
        X,
        np.asarray(y, np.float64),
        X_score[order],
        fake=fake[order],
        points=points,
        C=C,
        weight=weight,
        intercept=fit_intercept,
    )
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
        np.array(removed, int),
        right / state.points.sum(),
        -negative_loss,
        norm,
        np.array(tied, int),
        d,
        float(C),
        len(X),
        len(X_score),
    )


def _points(fake: Bool[Array, " m"]) -> tuple[int, int]:
    """What a fake and a real image count for so that both classes count alike: whole numbers, for
    equal scores to tie.
    """
    fakes, reals = int(fake.sum()), int((~fake).sum())
    common = gcd(fakes, reals)
    return (reals // common, fakes // common) if fakes and reals else (1, 1)


class _State:
    """The current exact solution, and what estimates its neighbours.

    Solutions are [p + 1] with the intercept last. Between fresh Hessians removed components stay in
    place: the downdated inverse has a zero row and column there, so they move no more.
    """

    def __init__(
        self,
        X: Array,
        y: Array,
        T: Array,
        *,
        fake: Array,
        points: tuple[int, int],
        C: float,
        weight: Array,
        intercept: bool,
    ) -> None:
        self.X, self.y, self.T, self.fake = X, y, T, fake
        self.points = np.where(fake, *points)
        self.share = self.points / self.points.sum()
        self.C = C
        self.weight = weight
        self.c = C * weight
        self.intercept = intercept
        self.sign = np.where(fake, 1.0, -1.0)
        self.numbers = np.arange(X.shape[1])
        self.alive = np.ones(X.shape[1], bool)
        self.errors: deque[Array] = deque([np.array(_FIRST_ERRORS)], maxlen=24)
        fit = fit_logistic(X, y, C, sample_weight=weight, fit_intercept=intercept)
        start = self._exactly(np.append(fit.weights[0], fit.intercept[0]))
        self._arrive(start, self._scores(start.theta))
        self.age = _BLOCK  # the first step computes the Hessian

    def _arrive(self, solution: Solution, scores: Array) -> None:
        self.here, self.m = solution, scores
        # Second and third derivative of each training row's loss in its margin, [n].
        t = np.tanh(0.5 * solution.f)
        self.second = self.c * 0.25 * (1 - t * t)
        self.third = -self.second * t

    def _scores(self, theta: Array) -> Array:
        scores: Array = self.T @ theta[:-1] + theta[-1]
        return scores

    def _exactly(self, theta: Array) -> Solution:
        f = self.X @ theta[:-1] + theta[-1]
        r = self._residuals(f)
        return self._solution(theta, f, r, np.append(self.X.T @ r + theta[:-1], r.sum()))

    def _near(self, known: Solution, theta: Array) -> Solution:
        """By what changes from a solution known exactly: the smaller that is, the more exact in
        float32.
        """
        move = theta - known.theta
        f = known.f + self.rows @ move.astype(self.rows.dtype)
        r = self._residuals(f)
        change = self.rows.T @ (r - known.r).astype(self.rows.dtype) + move
        change[-1] -= move[-1]  # the intercept is not penalised
        return self._solution(theta, f, r, known.gradient + change)

    def _residuals(self, f: Array) -> Array:
        residuals: Array = self.c * (0.5 + 0.5 * np.tanh(0.5 * f) - self.y)
        return residuals

    def _solution(self, theta: Array, f: Array, r: Array, gradient: Array) -> Solution:
        gradient[:-1] *= self.alive
        gradient[-1] *= self.intercept
        return Solution(theta, f, r, gradient, float(np.linalg.norm(gradient)))

    def score(self) -> tuple[int, float, float]:
        """Points of the images judged rightly, minus the mean log-loss, and the gradient's norm."""
        right = int(self.points @ ((self.m > 0) == self.fake))
        return right, -float(self.share @ log_loss(self.m, self.fake)), self.here.norm

    def remove_best(self) -> tuple[int, int]:
        """Remove the component whose absence scores best; returns its number and how many tied in
        accuracy.
        """
        if self.age >= _BLOCK or self.alive.sum() <= _NARROW:
            self._refresh()
        self.age += 1
        race = self._estimate()
        contenders = race.contenders()
        answers = self._loss_answers()
        while len(contenders):  # few at a time: each sharper estimate of a leader rules out others
            rough = contenders[race.order[contenders] == 1]
            if len(rough):
                self._correct(race, rough[:_TOGETHER], *answers)
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
        """Drop removed columns; compute afresh the inverse Hessian and how scoring rows answer to
        each component.
        """
        if not self.alive.all():
            kept = np.flatnonzero(np.append(self.alive, True))
            self.X, self.T, self.numbers = (
                a.take(kept[:-1], axis=-1) for a in (self.X, self.T, self.numbers)
            )
            self.here = replace(
                self.here, theta=self.here.theta[kept], gradient=self.here.gradient[kept]
            )
            self.alive = np.ones(len(self.numbers), bool)
        p = len(self.numbers)
        curvature = self.curvature = self.second
        # float32 carries the inverse as long as the Hessian's condition (at most about its trace)
        # leaves it digits.
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

    def _estimate(self) -> Race:
        """First-order solutions of all candidates and what their scores can be."""
        p, dtype = len(self.numbers), self.inverse.dtype
        step = np.zeros(p, dtype)
        step[self.alive] = (
            -self.here.theta[:p][self.alive] / np.diagonal(self.inverse)[:p][self.alive]
        )
        margins = self.answers[:p] * step[:, None]
        size = np.maximum(margins.max(axis=1), -margins.min(axis=1)).astype(np.float64)
        margins += self.m.astype(dtype)
        margins *= self.sign.astype(dtype)
        # rho: the second-order correction relative to the first-order move, in the norm of the
        # Hessian. It has a part from the Hessian's age and one from the loss's third derivative.
        second, third = self.second, self.third
        square = np.square(self.own_answers[:p])
        energy = square @ second.astype(dtype)
        age = square @ ((second - self.curvature) ** 2 / (second + 1e-30)).astype(dtype)
        curve = np.square(square, out=square) @ (third**2 / (second + 1e-30) / 4).astype(dtype)
        rho = np.sqrt((age + step**2 * curve) / np.maximum(energy, 1e-30)).astype(np.float64)
        race = Race(self.alive, step, size, rho, self.points, self.fake)
        # With few components each is much of the solution, and orders beyond the next count.
        wider = 4.0 if self.alive.sum() <= _NARROW else 1.0
        race.worst = wider * np.maximum(_SAFETY * np.max(self.errors, axis=0), _LEAST_ERRORS)
        race.record(np.arange(p), margins, order=1)
        return race

    def _loss_answers(self) -> tuple[Array, Array]:
        """How the mean log-loss answers to each coefficient's gradient, [p + 1], and to each
        training margin's, [n].
        """
        slopes = (-self.sign / (1 + np.exp(self.m * self.sign)) * self.share).astype(
            self.inverse.dtype
        )
        answer = self.answers @ slopes
        return answer, self.rows @ answer

    def _correct(self, race: Race, columns: Array, answer: Array, own_answer: Array) -> None:
        """Second-order estimates of these candidates: of margins in doubt and of the mean log-loss.

        With u = X d the first-order move of training margins, the solution moves on by ``-Hinv
        X'q`` in the subspace without the candidate, where ``q = (D_now - D_then) u + D'_now u^2 /
        2``.
        """
        dtype, step = self.inverse.dtype, race.step[columns]
        second, third = self.second, self.third
        u = self.own_answers[columns] * step[:, None]
        q = u * (0.5 * third).astype(dtype)
        q += (second - self.curvature).astype(dtype)
        q *= u
        # Projection off the candidate's own column: a change of its step.
        extra = (
            np.einsum("jn,jn->j", self.own_answers[columns], q) / np.diagonal(self.inverse)[columns]
        )
        loss = race.loss[columns] + extra * answer[columns] - q @ own_answer
        margins = race.margins[columns]
        doubtful = np.flatnonzero((np.abs(margins) <= race.bound[columns, None]).any(axis=0))
        # In the cheaper order: the other one grows with the square of the images.
        onward = np.linalg.multi_dot([q, self.rows, self.answers[:, doubtful]])
        move = self.answers[np.ix_(columns, doubtful)] * extra[:, None] - onward
        margins[:, doubtful] += move * self.sign[doubtful].astype(dtype)
        race.learn(columns, np.abs(move).max(axis=1, initial=0), np.abs(loss - race.loss[columns]))
        race.record(columns, margins, order=2)
        race.loss[columns] = loss
        race.doubtful |= dict.fromkeys(columns.tolist(), doubtful)

    def _newton(self, gradient: Array, column: int) -> Array:
        """Inverse Hessian times gradient [p + 1], in the subspace without this column."""
        size = float(np.linalg.norm(gradient)) or 1.0  # a zero gradient asks for no step
        out: Array = (self.inverse @ (gradient / size).astype(self.inverse.dtype)).astype(
            np.float64
        )
        out -= self.inverse[:, column] * (out[column] / self.inverse[column, column])
        out[column] = 0
        return size * out

    def _fit(self, race: Race, column: int) -> None:
        """The exact solution without this column: quasi-Newton from the inverse at hand (L-BFGS,
        Nocedal 1980), or else from scratch.

        Margins and gradient are computed in float64 once, nearby; from there on their changes are
        so small that float32 gives them to float64's rounding.
        """
        theta = self.here.theta + race.step[column] * self.inverse[column]
        theta[column] = 0.0
        self.alive[column] = False
        there = self._near(self.here, theta)
        known = None
        pace = 0.1
        pairs: list[tuple[Array, Array, float]] = []
        while True:
            last, step = there, -self._two_loops(there.gradient, pairs, column)
            theta = theta + step
            if known is None and last.norm * pace > _NEARBY:
                there = self._near(self.here, theta)
            elif known is None:
                there = known = self._exactly(theta)
            else:
                there = self._near(known, theta)
            if there.norm < TOLERANCE and known is not None:
                break
            if there is known and there.norm < 2 * last.norm:
                # Steps of float32 may have been lost in its rounding: neither the last norm nor
                # the changes of the gradient say how fast this goes on.
                pairs, pace = [], 0.0
                continue
            pace = there.norm / last.norm
            if not pace <= 0.5:  # NaN, too, must not go on for ever
                if known is not None:
                    there = self._exactly(self._fit_afresh(theta))
                    self.age = _BLOCK  # this Hessian has served its time
                    break
                pace = 0.0  # float32 leads no further
            change = there.gradient - last.gradient
            pairs.append((step, change, 1 / float(step @ change)))
        self.alive[column] = True
        scores = self._scores(there.theta)
        race.set_scores(column, scores * self.sign)
        race.solutions[column] = there, scores

    def _two_loops(
        self, gradient: Array, pairs: list[tuple[Array, Array, float]], column: int
    ) -> Array:
        q, shares = gradient.copy(), []
        for step, change, scale in reversed(pairs):
            shares.append(scale * float(step @ q))
            q -= shares[-1] * change
        out = self._newton(q, column)
        for (step, change, scale), share in zip(pairs, reversed(shares), strict=True):
            out += step * (share - scale * float(change @ out))
        return out

    def _fit_afresh(self, start: Array) -> Array:
        kept = np.flatnonzero(self.alive)
        init = LogisticFit(start[kept][None], start[-1:], np.zeros(1), np.zeros(1, int))
        fit = fit_logistic(
            self.X[:, kept],
            self.y,
            self.C,
            sample_weight=self.weight,
            fit_intercept=self.intercept,
            init=init,
        )
        theta = np.zeros(len(start))
        theta[kept], theta[-1] = fit.weights[0], fit.intercept[0]
        return theta

    def _go(self, column: int, solution: Solution, scores: Array) -> None:
        """Move to the solution without this column and downdate the inverse."""
        self.alive[column] = False
        self._arrive(solution, scores)
        own, pivot = self.inverse[column].copy(), self.inverse[column, column]
        ger = blas.sger if self.inverse.dtype == np.float32 else blas.dger
        self.answers = ger(
            -1 / pivot, self.answers[column].copy(), own, a=self.answers.T, overwrite_a=1
        ).T
        self.own_answers = ger(
            -1 / pivot, self.own_answers[column].copy(), own, a=self.own_answers.T, overwrite_a=1
        ).T
        self.inverse = ger(-1 / pivot, own, own, a=self.inverse.T, overwrite_a=1).T
