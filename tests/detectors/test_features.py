import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.detectors.features import (
    EmbeddingView,
    HeadsView,
    ResidualView,
    head_scale,
    view_from_spec,
)
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.solvers.logistic import fit_logistic
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.heads import EncodedImages, all_heads, head_features

ROWS = np.array([3, 50, 7, 120])


def contribution(workspace, head, rows):
    """A head's full contribution in the joint space, relative to the embedding: [n, d]."""
    z = workspace.heads[head][rows].astype(float)
    M = workspace.decomposition["head_maps"][head].astype(float)
    norms = np.linalg.norm(workspace.embeddings[rows].astype(float), axis=1)
    return z @ M / workspace.ln_post[rows, 1:].astype(float) / norms[:, None]


def test_embeddings_have_unit_rows_and_lose_components_after_that(synthetic):
    full = EmbeddingView().matrix(synthetic, ROWS)
    assert np.linalg.norm(full, axis=1) == pytest.approx(1)
    part = EmbeddingView(without=(0, 5)).matrix(synthetic, ROWS)
    assert np.array_equal(part, np.delete(full, [0, 5], axis=1))
    raw = EmbeddingView(normalise=False).matrix(synthetic, ROWS)
    assert np.array_equal(raw, synthetic.embeddings[ROWS].astype(float))
    assert EmbeddingView().matrix(synthetic).shape == synthetic.embeddings.shape


def test_head_features_have_the_inner_products_of_the_full_contribution(synthetic):
    for head in all_heads(synthetic):
        E, F = contribution(synthetic, head, ROWS), head_features(synthetic, head, ROWS)
        assert F.shape == (4, 8)
        assert np.abs(E @ E.T - F @ F.T).max() < 1e-12


def test_a_detector_on_heads_equals_the_one_on_full_contributions(synthetic):
    rows = synthetic.domains.rows(["beta-diff", "gamma-diff"], "train")
    y = synthetic.domains.labels[rows]
    heads = ((0, 0), (1, 2))
    view = HeadsView(heads, (3.0, 0.5))
    X = view.matrix(synthetic, rows)
    full = np.concatenate(
        [s * contribution(synthetic, h, rows) for h, s in zip(heads, view.scales, strict=True)], 1
    )
    small, large = fit_logistic(X, y, 10.0, tol=1e-11), fit_logistic(full, y, 10.0, tol=1e-11)
    everywhere = np.arange(len(synthetic.domains))
    F = view.matrix(synthetic)
    E = np.concatenate(
        [
            s * contribution(synthetic, h, everywhere)
            for h, s in zip(heads, view.scales, strict=True)
        ],
        1,
    )
    logits = small.decision_function(F)
    assert np.abs(logits - large.decision_function(E)).max() < 1e-9
    directions = view.joint_weights(synthetic.decomposition, small.weights[0])
    shares = sum(
        contribution(synthetic, head, everywhere) @ direction
        for head, direction in zip(heads, directions, strict=True)
    )
    assert np.abs(shares + small.intercept[0] - logits[:, 0]).max() < 1e-9


def test_heads_are_penalised_as_if_each_had_a_mean_norm_of_one_over_its_own_training_rows(
    synthetic,
):
    """The oracle is scikit-learn on features that were scaled beforehand; no stream is scaled."""
    domains, heads = synthetic.domains, ((0, 0), (1, 2))
    view, rows = HeadsView(heads), domains.rows("beta-diff", "train")
    X, y = view.matrix(synthetic), domains.labels
    scales = [1 / np.linalg.norm(X[rows, i : i + 8], axis=1).mean() for i in (0, 8)]
    assert view.penalty_factors(X[rows]) == pytest.approx(np.repeat(scales, 8))
    assert HeadsView(heads, (1.0, 1.0)).penalty_factors(X[rows]) is None
    assert HeadsView(heads, space="stream").penalty_factors(X[rows]) is None
    scaled = X * np.repeat(scales, 8)
    assert np.array_equal(HeadsView(heads, tuple(scales)).matrix(synthetic), scaled)
    both = domains.rows("beta-diff", ("train", "val"))
    for own, protocol in ((rows, Protocol(C=(0.5,), refit=False)), (both, Protocol(C=(0.5,)))):
        oracle = LogisticRegression(C=0.5, class_weight="balanced", tol=1e-12, max_iter=10_000)
        expected = oracle.fit(scaled[own], y[own]).decision_function(scaled)
        (detector,) = train(synthetic, ["beta-diff"], view, protocol)
        assert np.abs(detector.decision_function(synthetic) - expected).max() < 1e-5


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if HeadsView in m.views])
def test_a_detector_on_heads_does_not_depend_on_generators_that_it_never_saw(synthetic, name):
    """The others' contexts change beyond recognition; weights, bias and twin stay to the last
    bit, and are those of a view with the scales written in.
    """
    method, domains, heads = METHODS[name], synthetic.domains, ((0, 0), (1, 2))
    changed = others_changed(synthetic, ("beta-diff",))
    (before,), (after,) = (
        method.train(workspace, ["beta-diff"], HeadsView(heads))
        for workspace in (synthetic, changed)
    )
    for one, two in ((before, after), *[[method.twin(w, before) for w in (synthetic, changed)]]):
        assert np.array_equal(one.weights, two.weights) and one.bias == two.bias
    X = HeadsView(heads).matrix(synthetic, domains.rows("beta-diff", "train"))
    fixed = HeadsView(heads, tuple(head_scale(part) for part in np.split(X, 2, axis=1)))
    (same,) = method.train(synthetic, ["beta-diff"], fixed)
    apart = same.decision_function(synthetic) - before.decision_function(synthetic)
    assert np.abs(apart).max() < 1e-9 * np.abs(before.decision_function(synthetic)).max() + 1e-9
    (twin,) = (method.twin(synthetic, one).decision_function(synthetic) for one in (same,))
    assert twin == pytest.approx(method.twin(synthetic, before).decision_function(synthetic))


def test_scores_of_single_heads_do_not_depend_on_generators_outside_the_pair(synthetic):
    tables = [
        score_heads(workspace, "beta-diff", "gamma-diff").table
        for workspace in (synthetic, others_changed(synthetic, ("beta-diff", "gamma-diff")))
    ]
    assert tables[0].equals(tables[1])


def others_changed(workspace, kept):
    """The workspace with other contexts of heads for all images that these generators' detectors
    do not train or choose on."""
    domains = workspace.domains
    own = np.concatenate([domains.rows(name, ("train", "val")) for name in kept])
    others = np.setdiff1d(np.arange(len(domains)), own)
    contexts = np.array(workspace.heads)
    contexts[:, :, others] *= 3
    changed = replace(workspace)
    changed.__dict__["heads"] = contexts
    assert not np.array_equal(changed.heads, workspace.heads)
    return changed


def test_residual_view_is_the_cosine(synthetic):
    direction = np.random.default_rng(0).standard_normal(24)
    E = synthetic.embeddings[ROWS].astype(float)
    expected = E @ direction / np.linalg.norm(E, axis=1) / np.linalg.norm(direction)
    assert ResidualView(tuple(direction)).matrix(synthetic, ROWS)[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    "view",
    [
        EmbeddingView(False, (1, 4)),
        HeadsView(((0, 1), (1, 2)), (1.5, 0.25)),
        ResidualView((1.0, 2.0)),
    ],
)
def test_a_view_survives_its_json(view):
    assert view_from_spec(json.loads(json.dumps(view.spec()))) == view


def test_unknown_views_are_refused():
    with pytest.raises(AigiError, match="no feature view 'pixels'"):
        view_from_spec({"kind": "pixels"})
    with pytest.raises(AigiError, match="does not fit this version"):
        view_from_spec({"kind": "embedding", "colour": 1})
    for spec in (None, "embedding", [1], {"kind": [1]}):
        with pytest.raises(AigiError, match="no feature view"):
            view_from_spec(spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "embedding", "without": "abc"}, "components named by number"),
        ({"kind": "embedding", "without": [1.5]}, "components named by number"),
        ({"kind": "embedding", "normalise": "no"}, "components named by number"),
        ({"kind": "heads", "heads": [0, 1]}, "Heads are named"),
        ({"kind": "heads", "heads": [[0, 1, 2]]}, "Heads are named"),
        ({"kind": "heads", "heads": [[0, 1.5]]}, "Heads are named"),
        ({"kind": "heads", "heads": [[0, 1], [0, 2]], "scales": [1.0]}, "one finite scale"),
        ({"kind": "heads", "heads": [[0, 1]], "scales": [float("nan")]}, "one finite scale"),
        ({"kind": "residual", "direction": [0.0, 0.0]}, "length 0"),
        ({"kind": "residual", "direction": [float("nan")]}, "length nan"),
    ],
)
def test_values_that_make_no_view_are_refused(spec, words):
    with pytest.raises(AigiError, match=words):
        view_from_spec(spec)


def test_arrays_that_are_no_images_are_refused(synthetic):
    images = broken(synthetic, 1.0)
    for embeddings in (
        images.embeddings[0],
        images.embeddings.astype(str),
        images.embeddings[:, None],
    ):
        with pytest.raises(AigiError, match="numbers .images, components."):
            EmbeddingView().matrix(replace(images, embeddings=embeddings))
    for change in (
        {"heads": images.heads[..., :7]},
        {"heads": images.heads[:, :, :8]},
        {"heads": images.heads[:1]},
        {"ln_post": images.ln_post[:, 1]},
        {"decomposition": {}},
    ):
        with pytest.raises(AigiError, match="do not belong together.*encode the images again"):
            HeadsView(((0, 0),), (1.0,)).matrix(replace(images, **change))


def broken(workspace, value):
    embeddings = np.array(workspace.embeddings[:9])
    embeddings[4] = value
    return EncodedImages(
        embeddings, workspace.heads[:, :, :9], workspace.ln_post[:9], workspace.decomposition
    )


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "row 4 are all zeros"), (np.nan, "row 4 are NaN or infinity")]
)
def test_rows_without_features_are_named(synthetic, value, words):
    images = broken(synthetic, value)
    for view in (EmbeddingView(), HeadsView(((0, 0),), (1.0,))):
        with pytest.raises(AigiError, match=words):
            view.matrix(images)
    if np.isnan(value):
        with pytest.raises(AigiError, match=words):
            EmbeddingView(normalise=False).matrix(images)


def test_heads_and_components_that_do_not_exist_are_refused(synthetic):
    with pytest.raises(AigiError, match="no head 0 in layer 2"):
        HeadsView(((2, 0),)).matrix(synthetic)
    with pytest.raises(AigiError, match=r"0\.\.23"):
        EmbeddingView(without=(24,)).matrix(synthetic)
    with pytest.raises(AigiError, match="All components"):
        EmbeddingView(without=tuple(range(24))).matrix(synthetic)
    with pytest.raises(AigiError, match="No head was chosen"):
        HeadsView().matrix(synthetic)
