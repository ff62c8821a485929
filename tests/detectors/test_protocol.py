import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.protocol import PAPER_C, Protocol, run_protocol
from aigi_core.detectors.residual import closeness, residual_direction, train_residual
from aigi_core.detectors.solvers.logistic import log_loss
from aigi_core.detectors.training import TrainingImages, train, train_detectors
from aigi_core.errors import AigiError
from aigi_core.heads import EncodedImages
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from tests.factory import make_workspace, put_features


def by_hand(workspace, names, class_weight, C_values=PAPER_C):
    """The protocol with scikit-learn: C by validation accuracy, log-loss, smaller C; refit on both
    splits.
    """
    options = dict(solver="newton-cholesky", tol=1e-12, class_weight=class_weight)
    domains, X = workspace.domains, EmbeddingView().matrix(workspace)
    train_rows, val = domains.rows(names, "train"), domains.rows(names, "val")
    keys = []
    for C in C_values:
        model = LogisticRegression(C=C, **options).fit(X[train_rows], domains.labels[train_rows])
        f, y = model.decision_function(X[val]), domains.labels[val]
        score = (accuracy_score if class_weight is None else balanced_accuracy_score)(y, f > 0)
        weight = compute_sample_weight(class_weight, y)
        keys.append((-score, np.average(log_loss(f, y), weights=weight), C))
    rows = domains.rows(names, ("train", "val"))
    model = LogisticRegression(C=min(keys)[2], **options)
    return min(keys)[2], model.fit(X[rows], domains.labels[rows])


@pytest.mark.parametrize(
    "names", ["alpha-gan", ("beta-diff", "gamma-diff"), ("alpha-gan", "delta-ar")]
)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_protocol_equals_scikit_learn_by_hand(synthetic, names, class_weight):
    (detector,) = train(synthetic, [names], protocol=Protocol(class_weight=class_weight))
    C, model = by_hand(synthetic, names, class_weight)
    assert detector.C == C
    assert detector.weights == pytest.approx(model.coef_[0], rel=1e-6, abs=1e-8)
    assert detector.bias == pytest.approx(model.intercept_[0], rel=1e-6)
    rows = synthetic.domains.rows(names, "train")
    assert detector.provenance["n_train"] == len(rows)
    assert detector.provenance["workspace_digest"] == synthetic.digest
    assert len(detector.provenance["validation"]["accuracy"]) == len(PAPER_C)


def test_training_sets_share_work_and_not_results(synthetic):
    names = synthetic.domains.generators
    together = train(synthetic, names)
    for name, detector in zip(names, together, strict=True):
        (alone,) = train(synthetic, [name])
        assert detector.training_set == (name,)
        assert np.abs(alone.weights - detector.weights).max() < 1e-8
    X = EmbeddingView().matrix(synthetic)
    again = train_detectors(TrainingImages(X, synthetic.domains), names)
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(again, together, strict=True))


def test_one_C_without_refit_never_looks_at_validation(synthetic):
    X = EmbeddingView().matrix(synthetic)
    X[synthetic.domains.split == "val"] = np.nan
    options = Protocol(C=(1.0,), refit=False)
    (detector,) = train_detectors(TrainingImages(X, synthetic.domains), ["beta-diff"], options)
    assert detector.C == 1.0
    assert detector.provenance["n_val"] == 0
    with pytest.raises(AigiError, match="Training on beta-diff: Row"):
        train_detectors(
            TrainingImages(X, synthetic.domains), ["beta-diff"], Protocol(C=(1.0,), refit=True)
        )


def test_without_intercept_and_balanced(synthetic):
    (detector,) = train(synthetic, ["alpha-gan"], protocol=Protocol(fit_intercept=False))
    assert detector.bias == 0
    (plain, balanced) = (
        train(
            synthetic, [("beta-diff", "gamma-diff")], protocol=Protocol(C=(1.0,), class_weight=w)
        )[0]
        for w in (None, "balanced")
    )
    assert balanced.bias < plain.bias  # twice as many fakes as reals no longer push towards fake


def test_the_papers_grid_agrees_with_the_path_where_it_converges(synthetic):
    domains, X = synthetic.domains, EmbeddingView().matrix(synthetic)
    blocks = [
        (X[r], domains.labels[r]) for r in (domains.rows("alpha-gan", s) for s in ("train", "val"))
    ]
    chosen = run_protocol(*blocks, Protocol(grid="paper"))
    assert len(chosen.validation["accuracy"]) == 96
    path = run_protocol(*blocks, Protocol())
    converged = [
        (a, C)
        for a, C, s, m in zip(
            *(chosen.validation[k] for k in ("accuracy", "C", "solver", "max_iter")), strict=True
        )
        if s == "lbfgs" and m == 5000
    ]
    assert [a for a, _ in sorted(converged, key=lambda pair: pair[1])] == path.validation[
        "accuracy"
    ]
    assert max(chosen.validation["accuracy"]) >= max(path.validation["accuracy"])


def test_heads_and_embeddings_score_other_workspaces(synthetic, tmp_path):
    detectors = train(synthetic, ["beta-diff"], HeadsView(((0, 0), (1, 1)))) + train(
        synthetic, ["alpha-gan"]
    )
    detectors += train(synthetic, ["alpha-gan"], EmbeddingView(without=(2, 3))) + train_residual(
        synthetic, ["delta-ar"]
    )
    scores = score_detectors(detectors, synthetic, block=50)
    for k, detector in enumerate(detectors):
        assert scores[k] == pytest.approx(detector.decision_function(synthetic), abs=1e-12)
        file = detector.save(tmp_path / "some.where" / f"sd-1.4 {k}.x")
        loaded = Detector.load(file)
        assert loaded.view == detector.view
        assert loaded.training_set == detector.training_set
        assert loaded.provenance == detector.provenance
        assert np.array_equal(
            loaded.decision_function(synthetic), detector.decision_function(synthetic)
        )
        directions = detector.joint_weights(synthetic)
        assert directions.shape == (2 if k == 0 else 1, 24)
    rows = np.arange(5)
    fresh = EncodedImages(
        synthetic.embeddings[rows],
        synthetic.heads[:, :, rows],
        synthetic.ln_post[rows],
        synthetic.decomposition,
    )
    assert score_detectors(detectors, fresh) == pytest.approx(scores[:, rows])
    probability = detectors[0].predict_proba(fresh)
    assert np.log(probability / (1 - probability)) == pytest.approx(scores[0, rows])
    assert np.array_equal(detectors[0].with_threshold(0.3).predict(fresh), scores[0, rows] > 0.3)


def test_detectors_refuse_what_they_were_not_trained_for(synthetic, tmp_path):
    (detector,) = train(synthetic, ["beta-diff"])
    with pytest.raises(AigiError, match="needs 24 features for each image"):
        detector.score(np.zeros((2, 25)))
    narrow = EncodedImages(
        np.ones((3, 20)), synthetic.heads, synthetic.ln_post, synthetic.decomposition
    )
    with pytest.raises(AigiError, match="needs 24 features"):
        detector.decision_function(narrow)
    with pytest.raises(AigiError, match="24 components, these have 20"):
        score_detectors([detector], narrow)
    other = make_workspace(tmp_path / "other", per_class=20)
    manifest = read_manifest(other)
    manifest["encoder"]["weights_sha256"] = "f" * 64
    write_manifest(other, manifest)
    with pytest.raises(AigiError, match="was trained on synthetic .none, weights 00000000."):
        score_detectors([detector], Workspace.open(other))


def test_damaged_detectors_are_refused(synthetic, tmp_path):
    (detector,) = train(synthetic, ["beta-diff"])
    file = detector.save(tmp_path / "d")
    with pytest.raises(AigiError, match="is missing"):
        Detector.load(tmp_path / "none")
    weights = tmp_path / "d.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:40])
    with pytest.raises(AigiError, match="damaged"):
        Detector.load(file)
    weights.write_bytes(whole)
    file.write_text(file.read_text().replace('"features": 24', '"features": 25'))
    with pytest.raises(AigiError, match="expected 25 finite weights"):
        Detector.load(file)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(AigiError, match="damaged"):
        Detector.load(tmp_path / "folder")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"view": "embedding"}, "no feature view"),
        ({"view": {"kind": "embedding", "without": "abc"}}, "components named by number"),
        ({"threshold": float("nan")}, "must be finite"),
        ({"C": -1}, "must be finite, C positive"),
        ({"training_set": "beta-diff"}, "training set is 'beta-diff'"),
        ({"training_set": []}, "training set is"),
        ({"provenance": {"encoder": "CLIP"}}, "encoder is 'CLIP'"),
        ({"provenance": {"encoder": {"model": 3}}}, "encoder is"),
        ({"features": None}, "damaged"),
    ],
)
def test_hostile_files_are_refused_in_one_sentence(synthetic, tmp_path, change, words):
    (detector,) = train(synthetic, ["beta-diff"])
    file = detector.save(tmp_path / "d")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(AigiError, match=words):
        Detector.load(file)


def test_arrays_that_are_no_numbers_are_refused(synthetic, tmp_path):
    (detector,) = train(synthetic, ["beta-diff"])
    for bias in (np.array([np.nan]), np.array([]), np.zeros((1, 2))):
        file = detector.save(tmp_path / "d")
        arrays = {"weights": detector.weights, "bias": bias}
        (tmp_path / "d.safetensors").write_bytes(safetensors.numpy.save(arrays))
        with pytest.raises(AigiError, match="damaged"):
            Detector.load(file)
    file.write_text("[" * 100_000)
    with pytest.raises(AigiError, match="damaged"):
        Detector.load(file)


def test_a_partial_encoder_is_another_encoder(synthetic, tmp_path):
    (detector,) = train(synthetic, ["beta-diff"])
    other = replace(detector, provenance={"encoder": {"model": "CLIP"}})
    with pytest.raises(AigiError, match=r"was trained on CLIP \(\?, weights \?\)"):
        score_detectors([other], synthetic)


def test_a_lone_name_is_one_training_set_and_none_is_none(synthetic):
    assert [d.training_set for d in train(synthetic, "beta-diff")] == [("beta-diff",)]
    assert [d.training_set for d in train_residual(synthetic, "beta-diff")] == [("beta-diff",)]
    for ask in (train, train_residual):
        with pytest.raises(AigiError, match="No training set was chosen"):
            ask(synthetic, [])


def test_a_mask_names_rows_as_numbers_do(synthetic):
    detectors = train(synthetic, ["beta-diff"])
    mask = synthetic.domains.labels == 1
    np.testing.assert_array_equal(
        score_detectors(detectors, synthetic, mask),
        score_detectors(detectors, synthetic, np.flatnonzero(mask)),
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"C": ()}, "at least one finite, positive"),
        ({"C": 1.0}, "must be a tuple"),
        ({"C": (1.0, 0.0)}, "positive"),
        ({"C": (np.nan,)}, "finite"),
        ({"class_weight": "balance"}, "'balance'"),
        ({"grid": "papers"}, "'papers'"),
    ],
)
def test_protocols_that_make_no_sense_are_refused(options, words):
    with pytest.raises(AigiError, match=words):
        Protocol(**options)


def test_a_silent_head_is_chance_and_no_obstacle(tmp_path):
    """A head whose contexts are all zero (pruned) scores one half; the others are scored as
    ever.
    """
    path = make_workspace(tmp_path / "w")
    heads = np.load(path / "heads.npy")
    heads[1, 2] = 0
    put_features(path, "heads.npy", heads)
    table = score_heads(Workspace.open(path), "beta-diff", "gamma-diff").table.set_index(
        ["layer", "index"]
    )
    assert len(table) == 6 and table.loc[(1, 2), "accuracy"] == 0.5
    assert table.loc[(1, 2), "log_loss"] == pytest.approx(np.log(2))
    assert table.loc[(0, 0), "accuracy"] > 0.6


def test_residual_detectors(synthetic):
    domains, X = synthetic.domains, EmbeddingView().matrix(synthetic)
    (detector,) = train_residual(synthetic, ["alpha-gan"])
    rows = domains.rows("alpha-gan", ("train", "val"))
    y = domains.labels[rows]
    fake, real = (X[rows[y == label]].mean(axis=0) for label in (1, 0))
    expected = fake / np.linalg.norm(fake) - real / np.linalg.norm(real)
    assert np.asarray(detector.view.direction) == pytest.approx(expected)
    feature = (X[rows] @ expected / np.linalg.norm(expected))[:, None]
    model = LogisticRegression(C=detector.C, solver="newton-cholesky", tol=1e-12).fit(feature, y)
    assert detector.weights[0] == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert detector.weights[0] > 0
    assert detector.bias == pytest.approx(model.intercept_[0], rel=1e-6)
    (logistic,) = train(synthetic, ["alpha-gan"])
    cosine = closeness(logistic.weights, expected)
    assert 0.3 < cosine <= 1


def test_residuals_walk_the_papers_grid_as_literally(synthetic):
    """The refit stops where the chosen point of the grid does."""
    domains = synthetic.domains
    (detector,) = train_residual(synthetic, ["alpha-gan"], Protocol(C=(10.0,), grid="paper"))
    solver, C, max_iter = detector.provenance["validation"]["chosen"]
    rows = domains.rows("alpha-gan", ("train", "val"))
    feature = detector.view.matrix(synthetic, rows)
    literal = LogisticRegression(
        C=C, solver=solver, max_iter=max_iter, class_weight="balanced", random_state=0
    )
    literal.fit(feature, domains.labels[rows])
    result, wanted = (
        [detector.weights[0], detector.bias],
        [literal.coef_[0, 0], literal.intercept_[0]],
    )
    assert result == pytest.approx(wanted, rel=1e-10)
    (exact,) = train_residual(synthetic, ["alpha-gan"], Protocol(C=(10.0,)))
    assert result != pytest.approx([exact.weights[0], exact.bias], rel=1e-8)


def test_residuals_need_two_different_classes():
    X = np.eye(4)
    with pytest.raises(AigiError, match="both classes"):
        residual_direction(X, np.zeros(4))
    with pytest.raises(AigiError, match="no residual"):
        residual_direction(np.ones((4, 3)), np.array([0, 1, 0, 1]))
    with pytest.raises(AigiError, match="zero length"):
        closeness(np.zeros(3), np.ones(3))


def test_features_without_any_difference_are_refused(synthetic):
    with pytest.raises(AigiError, match="Training on alpha-gan: All images have the same features"):
        train_detectors(
            TrainingImages(np.ones((len(synthetic.domains), 5)), synthetic.domains), ["alpha-gan"]
        )
