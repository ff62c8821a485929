"""How a detector is fitted: hyperparameters on the validation split, then a fit on train
plus validation.

This is the paper's protocol (section on the baseline). Its literal grid (solver, C and max_iter; 96
points) is offered as ``grid="paper"``; once fits converge only C matters, so the default walks the
eight values of C with exact fits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import product
from threading import Lock
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from aigi_core.detectors.solvers.directions import Gram
from aigi_core.detectors.solvers.early_stopped import Images, early_stopped
from aigi_core.detectors.solvers.logistic import LogisticFit, fit_logistic, log_loss
from aigi_core.errors import AigiError

PAPER_C = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0)
PAPER_SOLVERS = ("lbfgs", "saga")
PAPER_MAX_ITER = (10, 50, 100, 500, 1000, 5000)
"""The paper names the ends of this range (10..5000); these six values make up its 96 points."""

GridPoint = tuple[str, float, int]
"""(solver, C, max_iter)."""
GridPoints = list[GridPoint]
TrainingSet = str | Sequence[str]
"""One generator, or several whose images are trained on together."""


@dataclass(frozen=True)
class Protocol:
    """How a detector is trained.

    Attributes:
        C: inverse penalties tried on the validation split; a single one is taken without
            validation.
        fit_intercept: with or without bias.
        class_weight: ``"balanced"`` gives both classes the same total weight, in every fit and in
            every validation score. Where a generator has as many fakes as real images, as in the
            paper, it changes nothing; where a pool's real images outnumber each generator's fakes,
            None trains detectors that call everything real.
        grid: ``"path"``, exact fits for each C, or ``"paper"``, its 96-point grid through
            scikit-learn.
        refit: whether the chosen C is fitted again on train plus validation, as in the paper.
    """

    C: tuple[float, ...] = PAPER_C
    fit_intercept: bool = True
    class_weight: Literal["balanced"] | None = "balanced"
    grid: Literal["path", "paper"] = "path"
    refit: bool = True

    def __post_init__(self) -> None:
        if (
            not isinstance(self.C, tuple)
            or not self.C
            or not all(np.isfinite(C) and C > 0 for C in self.C)
        ):
            raise AigiError(
                "Penalties C must be a tuple of at least one finite, positive number, got"
                f" {self.C!r}."
            )
        if self.class_weight not in (None, "balanced") or self.grid not in ("path", "paper"):
            raise AigiError(
                "A protocol weighs classes None or 'balanced' and walks the grid 'path' or"
                f" 'paper', got {self.class_weight!r} and {self.grid!r}."
            )

    def record(self) -> dict[str, Any]:
        """The entry ``protocol`` of a detector's provenance: JSON-serialisable."""
        return {**asdict(self), "C": list(self.C)}


@dataclass(frozen=True, eq=False)
class Chosen:
    """Outcome of a protocol on one training set: the solution, and how each point of the grid did
    on validation.

    Attributes:
        before: the same point fitted on the training split alone, where this one was refitted.
    """

    weights: Float[np.ndarray, " p"]
    intercept: float
    C: float
    validation: dict[str, Any]
    before: Chosen | None = None

    def score(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
        """Log-odds of being fake for rows of the features that it was fitted on."""
        scores: np.ndarray = features @ self.weights + self.intercept
        return scores


def splits_needed(protocol: Protocol) -> tuple[str, ...]:
    """Splits that training touches: validation is left alone where nothing is chosen or refitted on
    it.
    """
    return (
        ("train", "val")
        if protocol.refit or len(protocol.C) > 1 or protocol.grid == "paper"
        else ("train",)
    )


def run_protocol(
    train: tuple[Float[np.ndarray, "n p"], Int[np.ndarray, " n"]],
    val: tuple[Float[np.ndarray, "m p"], Int[np.ndarray, " m"]] | None,
    protocol: Protocol,
    gram: Gram | None = None,
) -> Chosen:
    """Choose C by accuracy on validation (ties: lower log-loss, then smaller C), then refit on both
    splits.

    Args:
        train, val: features and labels of the two splits; ``val`` may be None where nothing is
            chosen or refitted.
    """
    if val is None:
        return choose(*train, len(train[1]), protocol, gram)
    X, y = (np.concatenate(parts) for parts in zip(train, val, strict=True))
    return choose(X, y, len(train[1]), protocol, gram)


def choose(
    X: Float[np.ndarray, "n_m p"],
    y: Int[np.ndarray, " n_m"],
    n: int,
    protocol: Protocol,
    gram: Gram | None,
) -> Chosen:
    """The protocol on the first n rows as training split and the others as validation split, if
    any.
    """
    train, val = (X[:n], y[:n]), (X[n:], y[n:])
    # All zeros is a silent head, of which a detector that knows nothing is made; an embedding of
    # zeros never comes here.
    if n and X[0].any() and not (X[n // 2] != X[0]).any() and (train[0] == X[0]).all():
        raise AigiError(
            "All images have the same features, so a detector cannot be trained: encode"
            " the images again."
        )
    if protocol.grid == "paper":
        if n == len(y):
            raise AigiError(
                "The paper's grid is chosen on a validation split, and there is none: split"
                " the images again."
            )
        return _paper_grid(train, val, protocol)
    options = dict(
        fit_intercept=protocol.fit_intercept, class_weight=protocol.class_weight, gram=gram
    )
    grid = np.sort(np.asarray(protocol.C, np.float64))
    fit = fit_logistic(*train, grid, **options)  # type: ignore[arg-type]
    best, validation = 0, {}
    if n < len(y) and len(grid) > 1:
        accuracy, loss = validation_scores(
            fit.decision_function(val[0]), val[1], protocol.class_weight
        )
        best = int(np.lexsort((grid, loss, -accuracy))[0])
        validation = {"C": grid.tolist(), "accuracy": accuracy.tolist(), "log_loss": loss.tolist()}
    solution = LogisticFit(*(part[best : best + 1] for part in vars(fit).values()))
    C, before = float(grid[best]), None
    if protocol.refit and n < len(y):
        before = Chosen(solution.weights[0], float(solution.intercept[0]), C, validation)
        solution = fit_logistic(X, y, grid[best], init=solution, **options)  # type: ignore[arg-type]
    return Chosen(solution.weights[0], float(solution.intercept[0]), C, validation, before)


def validation_scores(
    f: Float[np.ndarray, "m B"],
    y: Int[np.ndarray, " m"],
    class_weight: Literal["balanced"] | None = None,
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Accuracy at probability one half and mean log-loss of decision values, both classes alike
    where balanced.
    """
    fake = np.asarray(y) > 0
    right, loss = (f > 0) == fake[:, None], log_loss(f, fake[:, None])
    fakes, reals = int(fake.sum()), int((~fake).sum())
    if class_weight is None or not fakes or not reals:
        return right.mean(axis=0), loss.mean(axis=0)
    # Whole numbers, because equal scores must tie to the last bit: ties are broken by log-loss.
    points = reals * right[fake].sum(axis=0) + fakes * right[~fake].sum(axis=0)
    return points / (2 * fakes * reals), (loss[fake].mean(axis=0) + loss[~fake].mean(axis=0)) / 2


def as_names(training_set: TrainingSet) -> tuple[str, ...]:
    """A training set as the tuple of its generators."""
    return (training_set,) if isinstance(training_set, str) else tuple(training_set)


def as_sets(training_sets: Sequence[TrainingSet]) -> list[tuple[str, ...]]:
    """Training sets as tuples of generators, a lone name as one of them; raises AigiError for
    none.
    """
    sets = [
        as_names(each)
        for each in ([training_sets] if isinstance(training_sets, str) else training_sets)
    ]
    if not sets:
        raise AigiError("No training set was chosen: name at least one generator.")
    return sets


def refit(
    X: Float[np.ndarray, "n p"], y: Int[np.ndarray, " n"], chosen: Chosen, protocol: Protocol
) -> LogisticFit:
    """The chosen point of the grid fitted on other rows: exactly, or as literally as the grid was
    walked.
    """
    if protocol.grid == "paper":
        solver, C, max_iter = chosen.validation["chosen"]
        return _literal(X, y, protocol, solver, C, max_iter)
    return fit_logistic(
        X, y, chosen.C, fit_intercept=protocol.fit_intercept, class_weight=protocol.class_weight
    )


def at_point(
    X: Float[np.ndarray, "n p"], y: Int[np.ndarray, " n"], protocol: Protocol, point: GridPoint
) -> Chosen:
    """What choosing gives where it is known which point of the paper's grid is best: one fit of
    these rows in place of 96; of the grid's validation it knows the choice alone.
    """
    fit = _literal(X, y, protocol, *point)
    return Chosen(fit.weights[0], float(fit.intercept[0]), point[1], {"chosen": list(point)})


def _literal(
    X: np.ndarray, y: np.ndarray, protocol: Protocol, solver: str, C: float, max_iter: int
) -> LogisticFit:
    """One point of the paper's grid as scikit-learn fits it, early stopping included."""
    return early_stopped(_images(X, y, protocol), solver, C, (max_iter,))[0]


def _images(X: np.ndarray, y: np.ndarray, protocol: Protocol) -> Images:
    weight, intercept = protocol.class_weight, protocol.fit_intercept
    return Images.of(X, y, class_weight=weight, intercept=intercept)


def grid_fits(
    X: Float[np.ndarray, "n p"], y: Int[np.ndarray, " n"], protocol: Protocol
) -> tuple[GridPoints, list[LogisticFit]]:
    """Every point of a protocol's grid, fitted: (solver, C, max_iter), and one solution each.

    The paper's grid includes early stopping. A fit that ended before its limit is the same under
    every higher limit and is not made again; exact fits (``grid="path"``) have neither solver nor
    limit.
    """
    penalties = sorted(protocol.C)
    if protocol.grid == "path":
        fit = fit_logistic(
            X,
            y,
            np.asarray(penalties),
            fit_intercept=protocol.fit_intercept,
            class_weight=protocol.class_weight,
        )
        alone = [
            LogisticFit(*(part[i : i + 1] for part in vars(fit).values()))
            for i in range(len(penalties))
        ]
        return [("", C, 0) for C in penalties], alone
    return paper_points(protocol), _PAPER.fits(X, y, protocol)


def paper_points(protocol: Protocol) -> GridPoints:
    """The points of the paper's grid, in the order of :func:`grid_fits`."""
    return list(product(PAPER_SOLVERS, sorted(protocol.C), PAPER_MAX_ITER))


class _KeptGrids:
    """The paper's fits of the sets fitted last, by content: a detector is often asked for again
    with the same rows, judged on other images or refitted, and its grid takes a tenth of a second.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._kept: OrderedDict[bytes, list[LogisticFit]] = OrderedDict()

    def fits(self, X: np.ndarray, y: np.ndarray, protocol: Protocol) -> list[LogisticFit]:
        """One solution a point; do not change them."""
        how = (X.shape, X.dtype.str, sorted(protocol.C), protocol.fit_intercept)
        key = blake2b(repr((*how, protocol.class_weight)).encode())
        key.update(np.ascontiguousarray(X).data)
        key.update(np.ascontiguousarray(np.asarray(y) > 0).data)
        with self._lock:
            if (kept := self._kept.get(key.digest())) is not None:
                self._kept.move_to_end(key.digest())
                return kept
        fits = _paper_fits(X, y, protocol)
        with self._lock:
            self._kept[key.digest()] = fits
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return fits


_PAPER = _KeptGrids(2_000)
"""Megabytes at most, where features are few: a grid holds some thirty different solutions."""


def _paper_fits(X: np.ndarray, y: np.ndarray, protocol: Protocol) -> list[LogisticFit]:
    images = _images(X, y, protocol)
    return [
        fit
        for solver, C in product(PAPER_SOLVERS, sorted(protocol.C))
        for fit in early_stopped(images, solver, C, PAPER_MAX_ITER)
    ]


def best_point(
    accuracy: Float[np.ndarray, " P"], loss: Float[np.ndarray, " P"], points: GridPoints
) -> int:
    """The point with the best accuracy; ties by log-loss, smaller C, more iterations, lbfgs before
    saga.
    """
    order = [
        (-right, wrong, C, -limit, solver)
        for right, wrong, (solver, C, limit) in zip(
            accuracy.tolist(), loss.tolist(), points, strict=True
        )
    ]
    return min(range(len(points)), key=order.__getitem__)


def _paper_grid(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], protocol: Protocol
) -> Chosen:
    """The literal grid, chosen on validation."""
    points, fits = grid_fits(*train, protocol)
    decisions = np.concatenate([fit.decision_function(val[0]) for fit in fits], axis=1)
    accuracy, loss = validation_scores(decisions, val[1], protocol.class_weight)
    best = best_point(accuracy, loss, points)
    solver, C, max_iter = points[best]
    validation = {
        "solver": [p[0] for p in points],
        "C": [p[1] for p in points],
        "max_iter": [p[2] for p in points],
        "accuracy": accuracy.tolist(),
        "log_loss": loss.tolist(),
        "chosen": [solver, C, max_iter],
    }
    alone = fits[best]
    before = Chosen(alone.weights[0], float(alone.intercept[0]), C, validation)
    if not protocol.refit:
        return before
    X, y = (np.concatenate(parts) for parts in zip(train, val, strict=True))
    whole = _literal(X, y, protocol, solver, C, max_iter)
    return Chosen(whole.weights[0], float(whole.intercept[0]), C, validation, before)
