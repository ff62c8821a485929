"""Fits by passes over a memory map against the engine that holds all rows in memory."""

from pathlib import Path

import numpy as np
import pytest

from aigi_core.detectors.solvers import blocked
from aigi_core.detectors.solvers.blocked import Passes, Problem, Rows, fit_blocked
from aigi_core.detectors.solvers.logistic import fit_logistic
from aigi_core.errors import AigiError

C = (0.001, 0.1, 10.0)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, list[Problem]]:
    """Three generators that share their real images, in an order that mixes them."""
    rng = np.random.default_rng(0)
    of = rng.integers(-3, 3, 6000)
    y = (of >= 0).astype(int)
    X = rng.standard_normal((6000, 48)) * np.arange(1, 49) ** -0.4
    X[:, 3] += 2
    X[y > 0] += 0.3 * rng.standard_normal(48) * np.arange(1, 49) ** -0.4
    X[of == 1, 5] += 0.5
    problems = []
    for g in range(3):
        own = np.where((of == g) | (y == 0), 1.0, 0.0)
        fakes, reals = own[y > 0].sum(), own[y == 0].sum()
        balance = np.where(y > 0, 1 / (2 * fakes), 1 / (2 * reals)) * (fakes + reals)
        problems.append(Problem(own * balance, C))
    return X.astype(np.float32), y, problems


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("block", [700, 100_000])
def test_solutions_are_those_of_the_engine_in_memory(
    data: tuple[np.ndarray, np.ndarray, list[Problem]],
    intercept: bool,
    block: int,
    tmp_path: Path,
) -> None:
    X, y, problems = data
    np.save(tmp_path / "X.npy", X)
    rows = Rows.normalised(np.load(tmp_path / "X.npy", mmap_mode="r"), block)
    passes = Passes()
    fits = fit_blocked(
        rows, y, problems, fit_intercept=intercept, block=block, sample=600, passes=passes
    )
    assert passes.total >= 4 and passes.float64 >= 1
    for problem, fit in zip(problems, fits, strict=True):
        own = np.flatnonzero(problem.weight > 0)
        exact = fit_logistic(
            rows.take(own),
            y[own],
            np.array(C),
            sample_weight=problem.weight[own],
            fit_intercept=intercept,
        )
        size = np.abs(exact.weights).max(axis=1, keepdims=True)
        assert np.abs(fit.weights - exact.weights).max() < 1e-5 * size.max()
        assert (np.abs(fit.weights - exact.weights) < 1e-5 * size).all()
        total = np.array(C) * problem.weight.sum()
        assert (fit.gradient_norm < 1e-9 * total).all()
        assert intercept or not fit.intercept.any()
        scores = rows.decision_function(fit.weights, fit.intercept, block)
        whole = rows.take(np.arange(len(X))) @ fit.weights.T + fit.intercept
        np.testing.assert_allclose(scores, whole, atol=1e-12)


def test_starting_at_a_solution_takes_hardly_any_pass(
    data: tuple[np.ndarray, np.ndarray, list[Problem]],
) -> None:
    X, y, problems = data
    rows = Rows.normalised(X)
    first = fit_blocked(rows, y, problems, sample=2000)
    passes = Passes()
    again = fit_blocked(rows, y, problems, sample=2000, init=first, passes=passes)
    assert passes.total <= 2
    np.testing.assert_array_equal(again[0].weights, first[0].weights)


@pytest.mark.parametrize(
    ("name", "value", "precision"),
    [("WORKERS", 1, 0.0), ("_MOST_GROUPS", 1, 1e-5), ("_MAX_REFERENCES", 1, 1e-5)],
)
def test_how_passes_are_made_does_not_matter(
    data: tuple[np.ndarray, np.ndarray, list[Problem]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: int,
    precision: float,
) -> None:
    """One thread, products of all rows at once, or all passes in float64."""
    X, y, problems = data
    rows = Rows.normalised(X)
    expected = fit_blocked(rows, y, problems, sample=600, block=700)
    monkeypatch.setattr(blocked, name, value)
    passes = Passes()
    fits = fit_blocked(rows, y, problems, sample=600, block=700, passes=passes)
    assert (passes.float32 == 0) == (name == "_MAX_REFERENCES")
    for fit, other in zip(fits, expected, strict=True):
        assert np.abs(fit.weights - other.weights).max() <= precision * np.abs(other.weights).max()


@pytest.mark.parametrize("length", [1e-9, 1e-3, 1.0, 300.0])
def test_a_change_in_float32_is_that_between_two_passes_in_float64(
    data: tuple[np.ndarray, np.ndarray, list[Problem]], length: float
) -> None:
    """Relative to the change itself: the least ones would drown in the rounding of log-odds, and of
    the largest ones e to the power overflows."""
    X, y, problems = data
    rng = np.random.default_rng(0)
    columns = blocked._Columns(np.repeat(np.arange(3), 3), np.tile(C, 3), np.ones(9))
    oracle = blocked._Gradient(
        Rows.normalised(X),
        y > 0,
        problems=problems,
        columns=columns,
        intercept=True,
        block=700,
        passes=Passes(),
        progress=None,
    )
    active, some = np.arange(9), np.array([1, 4, 8])
    x = rng.standard_normal((49, 9))
    there = x + length * rng.standard_normal(x.shape)
    before, _ = oracle.exact(x, active)
    changed, _ = oracle.change(there[:, some], some)
    expected, _ = oracle.exact(there, active)
    difference = (expected - before)[:, some]
    atol = 3e-5 * np.abs(difference).max(axis=0)
    assert (np.abs(changed - before[:, some] - difference) < atol).all()


def test_rows_that_cannot_be_fitted_are_named(
    data: tuple[np.ndarray, np.ndarray, list[Problem]],
) -> None:
    X, y, _ = data
    broken = X.copy()
    broken[17] = np.nan
    with pytest.raises(AigiError, match="row 17"):
        Rows.normalised(broken)
    with pytest.raises(AigiError, match="rows of both classes"):
        fit_blocked(Rows.normalised(X), y, [Problem((y > 0).astype(float), (1.0,))])
