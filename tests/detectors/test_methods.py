"""Each method against an independent oracle: scikit-learn, a published formula or a loop."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import SVC, LinearSVC

from aigi_core.detectors.detector import Detector, LinearDetector, score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods import METHODS, FeatureMethod, twin
from aigi_core.detectors.methods.base import at_grid_edge, best_offset, check_features
from aigi_core.detectors.methods.ensembles import MEMBERS
from aigi_core.detectors.methods.neighbours import KS, NeighbourDetector
from aigi_core.detectors.protocol import Protocol, validation_scores
from aigi_core.detectors.training import train, training_images
from aigi_core.errors import AigiError
from aigi_core.explain.detector_words import null_directions
from aigi_core.workspace import Workspace

OURS = ("svm", "svm-squared", "ridge", "lda", "mean-difference", "knn")
LINEAR = OURS[:-1]


def problem(seed: int = 0, n: int = 90, p: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 3 == 0).astype(int)
    return rng.standard_normal((n, p)) + 0.8 * y[:, None] * rng.standard_normal(p), y


def fitted(name: str, X: np.ndarray, y: np.ndarray, protocol: Protocol, **parameters: float):
    one = METHODS[name]
    assert isinstance(one, FeatureMethod)
    return one.fit(X, y, parameters, protocol)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("balance", ["balanced", None])
def test_ridge_is_scikit_learns(bias: bool, balance: str | None) -> None:
    X, y = problem()
    protocol = Protocol(fit_intercept=bias, class_weight=balance)  # type: ignore[arg-type]
    result = fitted("ridge", X, y, protocol, alpha=3.0)
    weight = np.where(y == 1, 90 / 60, 90 / 120) if balance else np.ones(90)
    wanted = Ridge(alpha=3.0, fit_intercept=bias).fit(X, 2.0 * y - 1, sample_weight=weight)
    np.testing.assert_allclose(result["weights"], wanted.coef_, atol=1e-10)
    assert result["bias"] == pytest.approx(wanted.intercept_, abs=1e-10)


def test_a_hinge_svm_without_bias_is_libsvms_through_other_code() -> None:
    """A constant column makes libsvm's own bias vanish from the comparison: centred kernels."""
    X, y = problem()
    protocol = Protocol(fit_intercept=False, class_weight=None)
    result = fitted("svm", X, y, protocol, C=0.1)
    slack = np.maximum(0, 1 - (2 * y - 1) * (X @ result["weights"]))
    mine = 0.5 * result["weights"] @ result["weights"] + 0.1 * slack.sum()
    rng = np.random.default_rng(1)
    for _ in range(200):  # convex: no nearby point is better
        other = result["weights"] + 0.05 * rng.standard_normal(X.shape[1])
        loss = np.maximum(0, 1 - (2 * y - 1) * (X @ other)).sum()
        assert 0.5 * other @ other + 0.1 * loss >= mine - 1e-4


def test_filters_of_warnings_in_other_threads_decide_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They belong to the whole process: one thread's "error" broke another's fit, and one's
    "ignore" let an unfinished machine pass."""
    X, y = problem()
    original = LinearSVC.fit
    seen = []

    def fit(self: LinearSVC, *data: np.ndarray) -> LinearSVC:
        seen.append({action for action, *_ in warnings.filters})
        warnings.simplefilter("ignore")  # what another thread does meanwhile
        return original(self, *data)

    monkeypatch.setattr(LinearSVC, "fit", fit)
    monkeypatch.setattr("aigi_core.detectors.methods.other_linear.MAX_ITER", 1)
    with warnings.catch_warnings(), pytest.raises(AigiError, match="did not converge"):
        warnings.simplefilter("default")
        fitted("svm", X, y, Protocol(), C=100.0)
    assert "error" not in seen[0]


def test_a_squared_hinge_svm_has_no_gradient() -> None:
    X, y = problem()
    result = fitted("svm-squared", X, y, Protocol(class_weight=None), C=0.5)
    Z, target = np.c_[X, np.ones(len(X))], 2 * y - 1  # liblinear penalises the bias too
    w = np.append(result["weights"], result["bias"])
    slack = np.maximum(0, 1 - target * (Z @ w))
    np.testing.assert_allclose(w - 2 * 0.5 * Z.T @ (target * slack), 0, atol=2e-2)


@pytest.mark.parametrize("balance", ["balanced", None])
@pytest.mark.parametrize("shrinkage", [1.0, 0.3, 0.001])
def test_a_discriminant_is_the_published_formula_and_scikit_learns(
    balance: Literal["balanced"] | None, shrinkage: float
) -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    X, y = problem()
    result = fitted("lda", X, y, Protocol(class_weight=balance), shrinkage=shrinkage)
    priors = [0.5, 0.5] if balance else [1 - y.mean(), y.mean()]
    means = [X[y == c].mean(axis=0) for c in (0, 1)]
    spread = sum(priors[c] * np.cov(X[y == c].T, bias=True) for c in (0, 1))
    shrunk = (1 - shrinkage) * spread + shrinkage * np.trace(spread) / 7 * np.eye(7)
    np.testing.assert_allclose(result["weights"], np.linalg.solve(shrunk, means[1] - means[0]))
    theirs = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=[0.5, 0.5] if balance else None
    ).fit(X, y)
    np.testing.assert_allclose(result["weights"], theirs.coef_[0])
    np.testing.assert_allclose(result["bias"], theirs.intercept_[0])


def test_a_discriminant_of_two_points_does_not_fail() -> None:
    X = np.repeat([[0.0, 1.0], [1.0, 1.0]], 5, axis=0)
    result = fitted("lda", X, np.repeat([0, 1], 5), Protocol(), shrinkage=0.5)
    assert np.isfinite(result["weights"]).all()


def test_the_difference_of_means_cuts_midway() -> None:
    X, y = problem()
    result = fitted("mean-difference", X, y, Protocol())
    middle = (X[y == 1].mean(axis=0) + X[y == 0].mean(axis=0)) / 2
    assert middle @ result["weights"] + result["bias"] == pytest.approx(0)


@pytest.mark.parametrize("k", KS)
def test_neighbours_are_those_of_a_loop(synthetic: Workspace, k: int) -> None:
    rows = synthetic.domains.rows("beta-diff", "train")
    X, y = EmbeddingView().matrix(synthetic, rows), synthetic.domains.labels[rows]
    made = fitted("knn", X, y, Protocol(), k=k, offset=0.0)
    detector = NeighbourDetector(view=EmbeddingView(), training_set=("beta-diff",), **made)
    some = EmbeddingView().matrix(synthetic)[:20]
    for image, score in zip(some, detector.score(some), strict=True):
        fakes, reals = (sorted((X[y == c] @ image).tolist())[-k:] for c in (1, 0))
        assert score == pytest.approx(np.mean(fakes) - np.mean(reals), abs=1e-6)


def test_the_best_offset_is_that_of_a_search() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        y = rng.integers(0, 2, 30)
        y[:2] = 0, 1
        s = np.round(rng.standard_normal(30) + y, 1)  # with ties
        result = best_offset(s, y)
        tried = [validation_scores((s - t)[:, None], y, "balanced")[0][0] for t in np.r_[s, -9, 9]]
        mine = validation_scores((s - result)[:, None], y, "balanced")[0][0]
        assert mine >= max(tried) - 1e-12


@pytest.mark.parametrize("name", OURS)
def test_trained_saved_and_unrefitted(synthetic: Workspace, tmp_path: Path, name: str) -> None:
    one = METHODS[name]
    protocol = Protocol(C=(0.1, 1.0))
    detectors = one.train(synthetic, ["beta-diff", ("alpha-gan", "gamma-diff")], None, protocol)
    again = [Detector.load(d.save(tmp_path / f"d{i}")) for i, d in enumerate(detectors)]
    scores = score_detectors(detectors, synthetic)
    np.testing.assert_allclose(score_detectors(again, synthetic), scores, atol=1e-9)
    assert all(d.method == name for d in again) and np.isfinite(scores).all()
    parameters = detectors[0].provenance["parameters"]
    rows = synthetic.domains.rows("beta-diff", "train")
    assert isinstance(one, FeatureMethod)
    X, y = EmbeddingView().matrix(synthetic, rows), synthetic.domains.labels[rows]
    wanted = one.make(EmbeddingView(), one.fit(X, y, parameters, protocol), training_set=("x",))
    np.testing.assert_allclose(
        twin(synthetic, detectors[0]).decision_function(synthetic),
        wanted.decision_function(synthetic),
        atol=1e-9,
    )
    if one.linear:
        assert isinstance(detectors[0], LinearDetector)
        assert null_directions(synthetic, detectors[0], 3).shape == (3, 24)
    else:
        with pytest.raises(AigiError, match="no weights"):
            null_directions(synthetic, detectors[0], 3)


def test_the_validation_split_chooses_and_no_test_image_takes_part(synthetic: Workspace) -> None:
    detector = METHODS["ridge"].train(synthetic, ["beta-diff"])[0]
    about = detector.provenance["validation"]
    order = np.lexsort(
        (np.arange(len(about["grid"])), about["log_loss"], -np.array(about["accuracy"]))
    )
    assert detector.provenance["parameters"] == about["grid"][order[0]]
    assert detector.provenance["n_train"] == 44 and detector.provenance["n_val"] == 12


@pytest.mark.parametrize("name", OURS)
def test_with_and_without_refit_from_one_walk_through_the_grid(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    method, images = METHODS[name], training_images(synthetic, ["beta-diff"], EmbeddingView())
    walks: list[object] = []
    original = type(method).try_grid
    monkeypatch.setattr(
        type(method), "try_grid", lambda *given: walks.append(given) or original(*given)
    )
    for protocol in (Protocol(), Protocol(C=(1.0,))):
        apart = [
            method.train_on(images, ["beta-diff"], replace(protocol, refit=refit))[0]
            for refit in (True, False)
        ]
        walks.clear()
        together = [one[0] for one in method.train_twice(images, ["beta-diff"], protocol)]
        assert len(walks) == 1
        for one, other in zip(together, apart, strict=True):
            assert one.provenance == other.provenance
            np.testing.assert_array_equal(
                score_detectors([one], synthetic), score_detectors([other], synthetic)
            )


def test_what_takes_long_says_so_before(synthetic: Workspace) -> None:
    """By the numbers of its features, and not as if it were logistic regression."""
    one, two = ["beta-diff"], ["beta-diff", "gamma-diff"]

    def seconds(name: str, sets: list[str], protocol: Protocol) -> float:
        return METHODS[name].seconds(synthetic, sets, EmbeddingView(), protocol) or 0.0

    whole = seconds("svm", two, Protocol())
    assert whole == pytest.approx(sum(seconds("svm", [name], Protocol()) for name in two))
    assert whole > seconds("svm-squared", two, Protocol()) > 0
    paper = Protocol(grid="paper")
    assert seconds("logistic", two, paper) > seconds("logistic", one, paper) > 0
    members = sum(seconds(name, one, Protocol()) for name in MEMBERS)
    assert seconds("ensemble-mean", one, Protocol()) == pytest.approx(6 * members)


def test_what_cannot_be_learnt_is_refused_in_a_sentence() -> None:
    X, y = problem()
    for bad, words in ((np.full_like(X, np.nan), "NaN"), (np.ones_like(X), "same features")):
        with pytest.raises(AigiError, match=words):
            check_features(bad, y)
    with pytest.raises(AigiError, match="one class"):
        check_features(X, np.ones(len(X), int))


def test_svms_are_liblinears_in_every_call() -> None:
    X, y = problem()
    for name, loss in (("svm", "hinge"), ("svm-squared", "squared_hinge")):
        result = fitted(name, X, y, Protocol(), C=0.1)
        model = LinearSVC(C=0.1, loss=loss, dual=True, class_weight="balanced", max_iter=100_000)
        model.fit(X, y)
        np.testing.assert_allclose(result["weights"], model.coef_[0], atol=5e-3)
    kernel = SVC(kernel="linear", C=0.1, class_weight="balanced").fit(X, y)
    result = fitted("svm", X, y, Protocol(), C=0.1)
    agree = (X @ result["weights"] + result["bias"] > 0) == kernel.predict(X)
    assert agree.mean() > 0.95  # libsvm does not penalise the bias


def test_a_penalty_at_the_edge_of_its_grid_is_known(synthetic: Workspace) -> None:
    (detector,) = train(synthetic, ["beta-diff"])
    assert [at_grid_edge(replace(detector, C=C)) for C in (0.001, 0.1, 10.0)] == [True, False, True]
    (fixed,) = train(synthetic, ["beta-diff"], protocol=Protocol(C=(1.0,)))
    assert not at_grid_edge(fixed), "nothing was chosen"
