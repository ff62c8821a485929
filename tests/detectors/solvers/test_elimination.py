"""A brute-force loop over scikit-learn is the oracle: the same list, the same scores."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.detectors.solvers import elimination
from aigi_core.detectors.solvers.elimination import eliminate
from aigi_core.detectors.solvers.logistic import fit_logistic, log_loss
from aigi_core.detectors.solvers.race import NOISE
from aigi_core.errors import AigiError


def domains(n, d, seed=0, m=60, scale=1.0):
    """Two generators that share some of what sets them apart from real images."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, d + 1) ** -0.3 * scale / np.sqrt(d)
    common, first, second = rng.standard_normal((3, d)) * spectrum

    def images(count, own):
        y = np.arange(count) % 2
        return rng.standard_normal((count, d)) * spectrum + 0.3 * scale + np.outer(
            y, 0.6 * common + own
        ), y

    return (*images(n, 0.6 * first), *images(m, 0.6 * second))


def brute_force(X, y, T, z, C, **options):
    """Refit every candidate with scikit-learn at every step."""
    alive, removed, curve = list(range(X.shape[1])), [], []

    def key(columns):
        model = LogisticRegression(
            C=C, solver="newton-cholesky", tol=1e-10, max_iter=500, **options
        )
        f = model.fit(X[:, columns], y).decision_function(T[:, columns])
        right, loss = (f > 0) == z, log_loss(f, z)
        if options.get("class_weight") is None:
            return -int(right.sum()), loss.mean()
        fakes, reals = z == 1, z == 0  # whole numbers, in which both classes count alike
        points = right[fakes].sum() * reals.sum() + right[reals].sum() * fakes.sum()
        return -int(points), (loss[fakes].mean() + loss[reals].mean()) / 2

    curve.append(key(alive))
    while len(alive) > 1:
        scores = [(*key([k for k in alive if k != j]), j) for j in alive]
        *best, j = min(scores)
        alive.remove(j)
        removed.append(j)
        curve.append(tuple(best))
    return removed, curve


@pytest.mark.parametrize(
    ("n", "d", "C", "options"),
    [
        (80, 12, 10.0, {}),
        (30, 14, 1.0, {}),
        (90, 9, 0.05, {"fit_intercept": False}),
        (70, 10, 30.0, {"class_weight": "balanced"}),
        (16, 12, 10.0, {}),
    ],
)
def test_the_list_and_the_scores_are_those_of_brute_force(n, d, C, options):
    X, y, T, z = domains(n, d, seed=n)
    if "class_weight" in options:
        keep, scored = (
            (y == 0) | (np.arange(n) < n // 2),
            (z == 0) | (np.arange(len(z)) < len(z) // 3),
        )
        X, y, T, z = X[keep], y[keep], T[scored], z[scored]
    result = eliminate(X, y, T, z, C=C, **options)
    removed, curve = brute_force(X, y, T, z, C, **options)
    assert result.removed.tolist() == removed
    full = len(z) if "class_weight" not in options else 2 * (z == 0).sum() * (z == 1).sum()
    assert [-round(a * full) for a in result.accuracy] == [right for right, _ in curve]
    assert result.log_loss == pytest.approx([loss for _, loss in curve], abs=1e-7)
    assert (result.gradient_norm < 1e-8).all()


def test_an_image_on_the_boundary_is_called_real_by_estimates_too():
    """Without an intercept an image of zeros has log-odds of exactly 0, which is no fake."""
    X, y, T, z = domains(60, 8, seed=3)
    T[np.flatnonzero(z == 0)[:9]] = T[np.flatnonzero(z == 1)[:2]] = 0
    result = eliminate(X, y, T, z, C=5.0, fit_intercept=False)
    removed, curve = brute_force(X, y, T, z, 5.0, fit_intercept=False)
    assert result.removed.tolist() == removed
    assert [-round(a * len(z)) for a in result.accuracy] == [right for right, _ in curve]


@pytest.mark.parametrize(("seed", "class_weight"), [(763, None), (1117, "balanced")])
def test_few_images_and_few_components(seed, class_weight):
    """Where each component is much of the solution, estimates are worth little and must know it."""
    X, y, T, z = domains(25, 9, seed=seed, m=7, scale=6.0)
    result = eliminate(X, y, T, z, C=0.1, class_weight=class_weight)
    assert result.removed.tolist() == brute_force(X, y, T, z, 0.1, class_weight=class_weight)[0]


def test_a_gradient_of_zero_asks_for_no_step():
    """One component without an intercept is solved by a secant to the last bit: its next step was 0
    / 0, for ever.
    """
    X, y, T, z = domains(40, 3)
    state = elimination._State(
        X,
        y.astype(float),
        T,
        fake=z == 1,
        points=(1, 1),
        C=10.0,
        weight=np.ones(40),
        intercept=False,
    )
    state._refresh()
    assert (state._newton(np.zeros(4), 0) == 0).all()


def exact_race(X, y, T, z, C, alive):
    """Every candidate fitted exactly; the winner's key and the runner-up's."""
    keys = []
    for j in alive:
        columns = [k for k in alive if k != j]
        f = fit_logistic(X[:, columns], y, C).decision_function(T[:, columns])[:, 0]
        keys.append((-int(((f > 0) == z).sum()), log_loss(f, z).mean(), j))
    return sorted(keys)[:2]


def test_estimates_choose_as_exact_fits_do_in_a_wider_problem():
    """Above the narrow regime, with Hessians some removals old, every tenth choice is checked."""
    X, y, T, z = domains(200, 90, seed=5)
    result = eliminate(X, y, T, z, C=10.0, keep=45)
    alive = list(range(90))
    for t, j in enumerate(result.removed.tolist()):
        if t % 10 in (3, 9):
            winner, _ = exact_race(X, y, T, z, 10.0, alive)
            assert (winner[2], -winner[0]) == (j, round(result.accuracy[t + 1] * len(z)))
        alive.remove(j)


def test_each_score_is_that_of_an_exactly_trained_detector():
    X, y, T, z = domains(150, 70, seed=2)
    result = eliminate(X, y, T, z, C=5.0)
    assert len(result.removed) == 69
    for t in range(0, 70, 7):
        columns = np.setdiff1d(np.arange(70), result.removed[:t])
        f = fit_logistic(X[:, columns], y, 5.0).decision_function(T[:, columns])[:, 0]
        assert ((f > 0) == z).mean() == result.accuracy[t]
        assert log_loss(f, z).mean() == pytest.approx(result.log_loss[t], abs=1e-8)


def test_large_features_are_handled_in_float64():
    X, y, T, z = domains(120, 60, seed=7, scale=40.0)
    result = eliminate(X, y, T, z, C=10.0, keep=40)
    alive = list(range(60))
    for t, j in enumerate(result.removed[:6].tolist()):
        winner, _ = exact_race(X, y, T, z, 10.0, alive)
        assert (winner[2], -winner[0]) == (j, round(result.accuracy[t + 1] * len(z)))
        alive.remove(j)


def test_equal_components_leave_in_order_of_number():
    X, y, T, z = domains(60, 6, seed=3)
    X, T = np.concatenate([X, X], axis=1), np.concatenate([T, T], axis=1)
    result = eliminate(X, y, T, z, C=1.0)
    assert sorted(
        result.removed.tolist() + [k for k in range(12) if k not in result.removed]
    ) == list(range(12))
    order = result.removed.tolist()
    for k in range(6):
        if k + 6 in order:
            assert k in order
            assert order.index(k) < order.index(k + 6)


def test_a_misleading_hessian_costs_time_and_not_exactness(monkeypatch):
    """A Hessian that is never renewed makes chords stall; fits from scratch must step in."""
    X, y, T, z = domains(80, 60, seed=4)
    plain = eliminate(X, y, T, z, C=50.0, keep=50)
    monkeypatch.setattr(elimination, "_BLOCK", 1000)
    monkeypatch.setattr(elimination, "_NARROW", 0)
    monkeypatch.setattr(elimination._State, "_refresh", _refresh_badly)
    assert eliminate(X, y, T, z, C=50.0, keep=50).removed.tolist() == plain.removed.tolist()


_refresh = elimination._State._refresh


def _refresh_badly(state):
    _refresh(state)
    for name in ("inverse", "answers", "own_answers"):
        setattr(state, name, getattr(state, name) * np.float32(1.4))


@pytest.mark.parametrize(
    ("name", "value"),
    [("_BLOCK", 3), ("_SAFETY", 30.0), ("_TOGETHER", 4), ("_FIRST_ERRORS", (5.0,) * 4)],
)
def test_the_list_does_not_depend_on_how_it_is_reckoned(monkeypatch, name, value):
    X, y, T, z = domains(150, 80, seed=6, m=40)
    plain = eliminate(X, y, T, z, C=30.0, keep=30)
    monkeypatch.setattr(elimination, name, value)
    assert eliminate(X, y, T, z, C=30.0, keep=30).removed.tolist() == plain.removed.tolist()


def test_a_run_of_easy_candidates_does_not_make_estimates_look_exact():
    """Errors below rounding teach nothing about candidates whose estimates are a thousand times
    coarser.
    """
    X, y, T, z = domains(150, 80, seed=6)
    state = elimination._State(
        X,
        y.astype(float),
        T,
        fake=z > 0,
        points=(1, 1),
        C=10.0,
        weight=np.ones(len(X)),
        intercept=True,
    )
    state.errors.extend([np.zeros(4)] * state.errors.maxlen)
    state._refresh()
    race = state._estimate()
    assert (race.worst > 0).all() and (race.loss_error > NOISE[race.margins.dtype][1]).all()


def test_rows_drawn_twice_count_twice():
    X, y, T, z = domains(60, 8, seed=6)
    rows = np.random.default_rng(0).integers(0, 60, 60)
    counts = np.bincount(rows, minlength=60).astype(float)
    drawn, weighted = (
        eliminate(X[rows], y[rows], T, z, C=3.0),
        eliminate(X, y, T, z, C=3.0, sample_weight=counts),
    )
    assert drawn.removed.tolist() == weighted.removed.tolist()
    assert drawn.log_loss == pytest.approx(weighted.log_loss)


def test_patience_progress_and_cut():
    X, y, T, z = domains(80, 20, seed=8)
    calls = []
    whole = eliminate(X, y, T, z, C=10.0, progress=lambda done, most: calls.append((done, most)))
    assert calls == [(k, 19) for k in range(1, 20)]
    best = (-whole.accuracy[whole.cut], whole.log_loss[whole.cut])
    assert best == min(zip(-whole.accuracy, whole.log_loss, strict=True))
    short = eliminate(X, y, T, z, C=10.0, patience=2)
    assert short.removed.tolist() == whole.removed[: len(short.removed)].tolist()
    assert len(short.removed) < 19

    class Cancelled(Exception):
        pass

    def cancel(done, most):
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        eliminate(X, y, T, z, C=10.0, progress=cancel)


def test_one_component_has_nothing_to_lose():
    X, y, T, z = domains(40, 1)
    result = eliminate(X, y, T, z, C=1.0)
    assert result.removed.tolist() == []
    assert result.cut == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, y, T, z: (X, y, T[:, :-1], z), "widths must agree"),
        (lambda X, y, T, z: (X, y, T * np.nan, z), "rows to score hold NaN"),
        (lambda X, y, T, z: (X, y * 0, T, z), "no fake one"),
    ],
)
def test_bad_input_is_refused(change, words):
    with pytest.raises(AigiError, match=words):
        eliminate(*change(*domains(20, 4)), C=1.0)
    with pytest.raises(AigiError, match="Between 1 and 4"):
        eliminate(*domains(20, 4), C=1.0, keep=0)


def test_the_cut_is_not_decided_by_rounding():
    result = elimination.Elimination(
        np.arange(4),
        np.array([0.5, 0.75, 0.75, 0.75, 0.5]),
        np.array([0.1, 0.4, 0.3, 0.3 - 1e-14, 0.2]),
        np.zeros(5),
        np.ones(4, int),
        5,
        1.0,
        9,
        9,
    )
    assert result.cut == 2
