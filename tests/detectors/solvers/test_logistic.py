"""scikit-learn is the oracle: same objective, tightly converged."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.detectors.solvers import directions
from aigi_core.detectors.solvers.directions import Gram
from aigi_core.detectors.solvers.logistic import LogisticFit, fit_logistic, log_loss
from aigi_core.errors import AigiError


def problem(n, d, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.4 + 0.5
    X += shift * np.outer(y, rng.standard_normal(d)) / np.sqrt(d)
    return X / np.linalg.norm(X, axis=1).mean(), y


def oracle(X, y, C, weight=None, **options):
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000, **options)
    model.fit(X, y, sample_weight=weight)
    return np.append(model.coef_[0], model.intercept_)


def assert_equal_to_sklearn(fit, X, y, C, k=0, weight=None, **options):
    expected = oracle(X, y, C, weight, **options)
    result = np.append(fit.weights[k], fit.intercept[k])
    assert np.linalg.norm(result - expected) <= 1e-6 * np.linalg.norm(expected)
    assert fit.gradient_norm[k] < 1e-8


@pytest.mark.parametrize(
    ("n", "d"), [(300, 20), (400, 200), (60, 200), (40, 400), (200, 1), (30, 30)]
)
@pytest.mark.parametrize("C", [0.001, 1.0, 10.0])
def test_equals_scikit_learn(n, d, C):
    X, y = problem(n, d)
    assert_equal_to_sklearn(fit_logistic(X, y, C), X, y, C)
    assert_equal_to_sklearn(
        fit_logistic(X, y, C, fit_intercept=False), X, y, C, fit_intercept=False
    )


@pytest.mark.parametrize("d", [12, 220])
def test_weights_balance_and_both_together(d):
    X, y = problem(500, d)
    keep = np.flatnonzero((y == 0) | (np.arange(500) < 120))
    X, y = X[keep], y[keep]
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    for options in ({}, {"class_weight": "balanced"}):
        for w in (None, weight):
            fit = fit_logistic(X, y, 2.0, sample_weight=w, **options)
            assert_equal_to_sklearn(fit, X, y, 2.0, weight=w, **options)


@pytest.mark.parametrize("d", [30, 250])
def test_separable_data_at_a_large_C(d):
    X, y = problem(300, d, shift=30.0)
    fit = fit_logistic(X, y, 10.0)
    assert ((fit.decision_function(X)[:, 0] > 0) == y).all()
    assert_equal_to_sklearn(fit, X, y, 10.0)


@pytest.mark.parametrize("d", [20, 200])
def test_duplicated_and_constant_columns_share_their_weight(d):
    X, y = problem(400, d)
    X = np.concatenate([X, X[:, :5], np.full((400, 1), 3.0), np.zeros((400, 1))], axis=1)
    fit = fit_logistic(X, y, 5.0)
    assert_equal_to_sklearn(fit, X, y, 5.0)
    assert np.abs(fit.weights[0, :5] - fit.weights[0, d : d + 5]).max() < 1e-9
    assert fit.weights[0, -1] == 0


@pytest.mark.parametrize("d", [8, 180])
def test_many_problems_at_once_are_each_solved(d):
    X, y = problem(260, d)
    rng = np.random.default_rng(2)
    Y = np.stack([y, 1 - y, rng.permutation(y)])
    weight = rng.integers(0, 4, (3, 260)).astype(float)
    C = np.array([0.01, 1.0, 20.0])
    fit = fit_logistic(X, Y, C, sample_weight=weight)
    assert fit.weights.shape == (3, d)
    for k in range(3):
        assert_equal_to_sklearn(fit, X, Y[k], C[k], k, weight[k])


def test_counts_as_weights_equal_repeated_rows():
    X, y = problem(200, 170)
    rows = np.random.default_rng(3).integers(0, 200, 200)
    counts = np.bincount(rows, minlength=200).astype(float)
    a, b = fit_logistic(X, y, 3.0, sample_weight=counts), fit_logistic(X[rows], y[rows], 3.0)
    assert np.abs(a.weights - b.weights).max() < 1e-8


def test_badly_scaled_features_still_converge():
    X, y = problem(400, 200)
    X = X * np.geomspace(0.01, 30, 200)
    assert_equal_to_sklearn(fit_logistic(X, y, 10.0), X, y, 10.0)


def test_a_borrowed_gram_and_a_warm_start_change_speed_and_not_the_solution():
    X, y = problem(500, 200)
    other = np.random.default_rng(5).standard_normal((300, 200)) * 0.1
    C = np.array([0.1, 10.0])
    plain = fit_logistic(X, y, C)
    borrowed = fit_logistic(X, y, C, gram=Gram(other))
    warm = fit_logistic(X, y, C, init=plain)
    assert np.abs(plain.weights - borrowed.weights).max() < 1e-8
    assert (warm.iterations == 0).all()
    assert np.array_equal(warm.weights, plain.weights)


def test_the_gradient_reported_is_the_gradient():
    X, y = problem(300, 180)
    fit = fit_logistic(X, y, 4.0, tol=1e-5)
    f = fit.decision_function(X)[:, 0]
    r = 4.0 * (1 / (1 + np.exp(-f)) - y)
    gradient = np.append(X.T @ r + fit.weights[0], r.sum())
    assert np.linalg.norm(gradient) == pytest.approx(fit.gradient_norm[0], rel=1e-6)
    assert 0 < fit.gradient_norm[0] < 1e-5


def test_direct_steps_finish_what_conjugate_gradients_cannot(monkeypatch):
    """A preconditioner that misleads must not keep a fit from converging."""
    X, y = problem(400, 200)
    monkeypatch.setattr(directions, "_MAX_INNER", 1)
    misleading = Gram(np.random.default_rng(0).standard_normal((250, 200)) * 40)
    assert_equal_to_sklearn(fit_logistic(X, y, 10.0, gram=misleading), X, y, 10.0)


def test_log_loss_is_stable_and_right():
    f, y = np.array([-800.0, 0.0, 2.0, 800.0]), np.array([1, 1, 0, 1])
    assert log_loss(f, y) == pytest.approx([800.0, np.log(2), np.log1p(np.exp(2.0)), 0.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, y: (X, y * 0), "no fake one"),
        (lambda X, y: (X, y * 0 + 1), "no real one"),
        (lambda X, y: (np.where(np.arange(len(X))[:, None] == 3, np.nan, X), y), "Row 3"),
        (lambda X, y: (np.where(np.arange(len(X))[:, None] == 3, np.inf, X), y), "Row 3"),
        (lambda X, y: (X[:0], y[:0]), "shape"),
        (lambda X, y: (X, y[:-1]), "do not belong together"),
        (lambda X, y: (X, y + 1), "0 .real. or 1 .fake."),
        (lambda X, y: (X * 1e9, y), "scale the features"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(change, words):
    X, y = problem(80, 170 if words == "scale the features" else 6)
    if words == "scale the features":
        X, y = problem(300, 12)
    with pytest.raises(AigiError, match=words):
        fit_logistic(*change(X, y), C=10.0)


def test_negative_weights_and_penalties_are_refused():
    X, y = problem(40, 3)
    with pytest.raises(AigiError, match="not negative"):
        fit_logistic(X, y, 1.0, sample_weight=-np.ones(40))
    with pytest.raises(AigiError, match="positive"):
        fit_logistic(X, y, 0.0)
    with pytest.raises(AigiError, match="no fake one"):
        fit_logistic(X, y, 1.0, sample_weight=1.0 - y)


def test_decision_function_shapes():
    fit = LogisticFit(np.ones((2, 3)), np.array([0.0, 1.0]), np.zeros(2), np.zeros(2, int))
    assert fit.decision_function(np.ones((5, 3))).tolist() == [[3.0, 4.0]] * 5
