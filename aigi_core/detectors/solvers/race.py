"""A step of a search as a race: what is known of each candidate's score, and who may yet beat the
leader.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

SAME = 1e-10
"""Log-losses closer than this are equal: the lower component number goes first, and fewer removals
are the cut.
"""
NOISE = {np.dtype(np.float32): (1e-6, 5e-8), np.dtype(np.float64): (1e-12, 1e-13)}
"""Rounding of a margin, and of a mean log-loss."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A detector [p + 1] with the intercept last, its margins and the loss's slopes in them [n],
    gradient and its norm.
    """

    theta: Array
    f: Array
    r: Array
    gradient: Array
    norm: float


class Race:
    """What is known of each candidate's score: points of images judged rightly and mean log-loss,
    with bounds on both.

    Attributes:
        size: [p] largest first-order move of a scoring row's margin; rho: [p] relative size of the
            next order.
        margins: [p, m] towards the true class; bound: [p] on their error.
        seen, worst: [4] errors of margins and log-loss to first and to second order, relative to
            :meth:`scale`: those seen in this step, and those to reckon with.
        solutions: candidates fitted exactly, each with the scoring rows' margins towards fake [m].
    """

    def __init__(
        self, alive: Array, step: Array, size: Array, rho: Array, points: Array, fake: Array
    ) -> None:
        p = len(alive)
        self.alive, self.step, self.size, self.rho = alive, step, size, rho
        self.share, self.fakes = points / points.sum(), int(fake.sum())
        self.points = int(points[0]), int(points[-1])  # of a fake, of a real image
        self.right, self.least, self.most = (np.full(p, -1) for _ in range(3))
        self.loss = np.full(p, np.inf)
        self.loss_error = np.zeros(p)
        self.bound = np.zeros(p)
        self.order = np.ones(p, int)
        self.doubtful: dict[int, Array] = {}
        self.seen, self.worst = np.zeros(4), np.zeros(4)
        self.solutions: dict[int, tuple[Solution, Array]] = {}

    def scale(self, order: int) -> Array:
        """[p] what the error of an estimate of this order is measured in."""
        scale: Array = self.size * self.rho**order
        return scale

    def learn(self, columns: Array, margin: Array, loss: Array) -> None:
        """Note errors [K] of the estimates of these candidates, all of one order, as a better one
        has shown them.
        """
        order = int(self.order[columns[0]])
        scale, noise = self.scale(order)[columns], NOISE[self.margins.dtype]
        for kind, error in enumerate((margin, loss)):
            at = 2 * order - 2 + kind
            self.seen[at] = max(
                self.seen[at], float(((error - noise[kind]) / (scale + 1e-300)).max())
            )

    def record(self, columns: Array, margins: Array, order: int) -> None:
        """Take margins [K, m] known to this order, and their mean log-loss."""
        if order == 1:
            self.margins = margins
        else:
            self.margins[columns] = margins
        noise, scale = NOISE[margins.dtype], self.scale(order)[columns]
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

    def set_scores(self, column: int, margins: Array) -> None:
        """Take the exact margins [m] of a candidate, and note by how much its estimate erred."""
        loss = float(self.share @ (np.log1p(np.exp(-np.abs(margins))) - np.minimum(margins, 0)))
        error = np.abs(margins - self.margins[column])
        if column in self.doubtful:  # only these were estimated to second order
            error = error[self.doubtful[column]]
        only = np.array([column])
        self.learn(only, error.max(initial=0, keepdims=True), np.abs(loss - self.loss[only]))
        self.bound[column] = 1e-9
        self.loss_error[column] = 1e-11
        self.loss[column] = loss
        self._count(only, margins[None])

    def _count(self, columns: Array, margins: Array) -> None:
        limit = self.bound[columns].astype(margins.dtype)[:, None]
        right = np.append(
            margins[:, : self.fakes] > 0, margins[:, self.fakes :] >= 0, axis=1
        )  # 0 is no fake
        self.right[columns], self.least[columns], self.most[columns] = (
            self._points_above(part) for part in (right, margins > limit, margins > -limit)
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
        return int(top[np.flatnonzero(self.loss[top] <= self.loss[top].min() + SAME)[0]])

    def contenders(self) -> Array:
        """The leader and those that may yet beat it, likeliest first, but for exact ones; none
        where it stands.
        """
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
        return np.array(
            [k for k in (leader, *others[order].tolist()) if k not in self.solutions], int
        )
