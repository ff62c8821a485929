import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from aigi_core.detectors.components import (
    ComponentSearch,
    search_components,
    search_pair,
    train_without,
)
from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.detectors.heads import score_heads, select_heads
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.solvers.elimination import Elimination
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.heads import all_heads

PAIR = ("alpha-gan", "beta-diff")


@pytest.fixture(scope="module")
def search(synthetic):
    return search_components(synthetic, PAIR)


def elimination(removed, accuracy):
    r = len(removed)
    return Elimination(
        np.array(removed),
        np.array(accuracy),
        np.zeros(r + 1),
        np.zeros(r + 1),
        np.ones(r, int),
        6,
        1.0,
        9,
        9,
    )


def test_a_component_is_removed_only_if_both_cuts_remove_it():
    forward = elimination([5, 1, 2, 0, 3], [0.5, 0.6, 0.7, 0.9, 0.8, 0.6])  # cut after 5, 1, 2
    backward = elimination([1, 5, 3, 2, 0], [0.5, 0.6, 0.7, 0.9, 0.8, 0.6])  # cut after 1, 5, 3
    both = ComponentSearch(("a", "b"), forward, backward)
    assert both.removed == (1, 5)
    assert both.kept == (0, 2, 3, 4)
    assert both.view == EmbeddingView(without=(1, 5))


def test_a_pair_is_trained_on_one_and_scored_on_the_other(synthetic, search):
    X, domains = EmbeddingView().matrix(synthetic), synthetic.domains
    for direction, (trained, scored) in ((search.forward, PAIR), (search.backward, PAIR[::-1])):
        rows, val = domains.rows(trained, "train"), domains.rows(scored, "val")
        assert (direction.n_train, direction.n_score, direction.d) == (len(rows), len(val), 24)
        columns = np.setdiff1d(np.arange(24), direction.removed[:9])
        model = LogisticRegression(C=direction.C, solver="newton-cholesky", tol=1e-10)
        model.fit(X[np.ix_(rows, columns)], domains.labels[rows])
        assert model.score(X[np.ix_(val, columns)], domains.labels[val]) == direction.accuracy[9]
        (own,) = train(synthetic, [trained], protocol=Protocol(refit=False))
        assert direction.C == own.C


def test_workers_and_given_features_change_nothing(synthetic, search):
    calls = []
    X = EmbeddingView().matrix(synthetic)
    again = search_pair(
        X, synthetic.domains, PAIR, workers=1, progress=lambda *call: calls.append(call)
    )
    for name in ("forward", "backward"):
        assert np.array_equal(getattr(again, name).removed, getattr(search, name).removed)
        assert np.array_equal(getattr(again, name).log_loss, getattr(search, name).log_loss)
    assert calls[-1] == (46, 46)
    drawn = search_pair(
        X,
        synthetic.domains,
        PAIR,
        C=1.0,
        patience=3,
        rows_of=lambda g, s: np.repeat(synthetic.domains.rows(g, s), 2),
    )
    assert drawn.forward.n_train == 2 * search.forward.n_train
    assert drawn.forward.C == 1.0


def test_of_many_images_a_stated_number_of_each_class_is_searched(synthetic):
    few = search_components(synthetic, PAIR, most=20, workers=1)
    domains = synthetic.domains
    for direction, (trained, scored) in ((few.forward, PAIR), (few.backward, PAIR[::-1])):
        for n, rows in (
            (direction.n_train, domains.rows(trained, "train")),
            (direction.n_score, domains.rows(scored, "val")),
        ):
            assert n == sum(min(20, int((domains.labels[rows] == label).sum())) for label in (0, 1))
    X = EmbeddingView().matrix(synthetic)
    again = search_pair(X, domains, PAIR, most=20, workers=1)
    assert np.array_equal(again.forward.removed, few.forward.removed)
    with pytest.raises(AigiError, match="at least one image of each class"):
        search_components(synthetic, PAIR, most=0)


def test_detectors_on_what_remains_keep_d_search_out(synthetic, search):
    (detector,) = train_without(synthetic, search, ["delta-ar"])
    assert detector.view == search.view
    assert len(detector.weights) == len(search.kept)
    with pytest.raises(AigiError, match="alpha-gan was searched"):
        train_without(synthetic, search, ["delta-ar", ("alpha-gan", "gamma-diff")])


def test_pairs_that_make_no_sense_are_refused(synthetic):
    with pytest.raises(AigiError, match="two different generators"):
        search_components(synthetic, ("alpha-gan", "alpha-gan"))
    with pytest.raises(AigiError, match="no generator 'nobody'"):
        search_components(synthetic, ("alpha-gan", "nobody"))
    with pytest.raises(AigiError, match="Searching alpha-gan against beta-diff: .*positive"):
        search_components(synthetic, PAIR, C=0.0)


def test_heads_alone_equal_scikit_learn_on_full_contributions(synthetic):
    scores = score_heads(synthetic, "beta-diff", "gamma-diff")
    assert len(scores.table) == len(all_heads(synthetic)) == 6
    domains = synthetic.domains
    rows, val = domains.rows("beta-diff", "train"), domains.rows("gamma-diff", "val")
    assert (scores.n_train, scores.n_val) == (len(rows), len(val))
    for row in scores.table.itertuples():
        view = HeadsView(((row.layer, row.index),))
        X = view.matrix(synthetic)
        X = X * view.penalty_factors(X[rows])
        model = LogisticRegression(C=row.C, solver="newton-cholesky", tol=1e-10).fit(
            X[rows], domains.labels[rows]
        )
        assert model.score(X[val], domains.labels[val]) == row.accuracy
        loss = log_loss(domains.labels[val], model.predict_proba(X[val]))
        assert loss == pytest.approx(row.log_loss, abs=1e-6)
        assert row.low < row.accuracy < row.high or row.accuracy in (0, 1)
    best = scores.table.iloc[0]
    assert scores.best.of == 6 and scores.best.low < best["low"], "it was chosen on these images"
    assert scores.top(1) == ((0, 0),)  # the head that the factory planted the signs in
    keys = list(zip(-scores.table["accuracy"], scores.table["log_loss"], strict=True))
    assert keys == sorted(keys)
    (detector,) = train(synthetic, ["delta-ar"], scores.view(3))
    assert detector.view.heads == scores.top(3)
    with pytest.raises(AigiError, match="Between 1 and 6"):
        scores.top(7)


def test_forward_selection_adds_the_best_head_at_each_step(synthetic):
    calls = []
    result = select_heads(
        synthetic, "beta-diff", "alpha-gan", most=3, C=2.0, progress=lambda *c: calls.append(c)
    )
    assert calls[-1] == (6 + 5 + 4, 6 + 5 + 4)
    domains = synthetic.domains
    rows, val = domains.rows("beta-diff", "train"), domains.rows("alpha-gan", "val")
    chosen = ()
    for head, accuracy in zip(result.heads, result.accuracy, strict=True):
        best = {}
        for candidate in set(all_heads(synthetic)) - set(chosen):
            view = HeadsView((*chosen, candidate))
            X = view.matrix(synthetic)
            X = X * view.penalty_factors(X[rows])
            model = LogisticRegression(C=2.0, solver="newton-cholesky", tol=1e-10).fit(
                X[rows], domains.labels[rows]
            )
            best[candidate] = model.score(X[val], domains.labels[val])
        assert best[head] == max(best.values()) == accuracy
        chosen += (head,)
    assert result.view == HeadsView(result.heads[: result.cut])
    assert result.accuracy[result.cut - 1] == result.accuracy.max()
    alone = score_heads(synthetic, "beta-diff", "alpha-gan")
    assert alone.table["C"].iloc[0] == select_heads(synthetic, "beta-diff", "alpha-gan", most=1).C


def test_heads_need_two_generators(synthetic):
    with pytest.raises(AigiError, match="beta-diff is both"):
        score_heads(synthetic, "beta-diff", ("beta-diff", "gamma-diff"))
