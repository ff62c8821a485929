"""Paired differences: the right numbers, and p-values that keep their promise under the null."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.transfer import difference, standings, transfer_matrix
from aigi_core.workspace import Workspace
from tests.transfer.factory import make_domains, make_scores

NAMES = ["g0", "g1", "g2", "g3"]


def test_difference_is_paired_and_signed() -> None:
    domains = make_domains()
    noise = make_scores(domains, 4)
    better = transfer_matrix(noise + 1.5 * (domains.labels - 0.5), domains, NAMES, draws=200)
    worse = transfer_matrix(noise, domains, NAMES, draws=200)
    result = difference(better, worse, "auc")
    np.testing.assert_allclose(result.values, better.values["auc"] - worse.values["auc"])
    assert result.mean().value > 0.1 and result.mean().low > 0 and result.mean().p_value < 1e-3
    assert result.mean(better.in_domain).n == 4
    # Shared images make the difference far surer than two independent intervals would.
    independent = np.hypot(better.draws["auc"].std(axis=0), worse.draws["auc"].std(axis=0)).mean()
    assert result.draws.std(axis=0).mean() < 0.8 * independent
    frame = result.to_frame()
    assert len(frame) == 16 and (frame.q_value >= frame.p_value - 1e-12).all()


def test_what_was_asked_before_is_given_again_of_the_same_cells_alone() -> None:
    domains = make_domains()
    scores = [make_scores(domains, 4, seed=seed) for seed in (0, 1)]
    better, worse = (transfer_matrix(own, domains, NAMES, draws=50) for own in scores)
    change, cells = difference(better, worse, "auc"), better.in_domain
    assert change.mean(cells) is change.mean(cells.copy())
    assert change.mean(cells) != change.mean(~cells)
    assert better.hardest("auc") is better.hardest("auc")
    assert better.hardest("auc") != better.hardest("accuracy")
    left_out = better.hardest("auc", left_out=[better.hardest("auc").name])
    assert left_out.name != better.hardest("auc").name
    assert better.rows([0, 1]).hardest("auc") != better.hardest("auc")


def test_nothing_is_claimed_of_a_matrix_against_itself() -> None:
    domains = make_domains()
    matrix = transfer_matrix(make_scores(domains, 4), domains, NAMES, draws=50)
    result = difference(matrix, matrix)
    assert (
        (result.p_value == 1).all() and (result.q_value == 1).all() and result.mean().p_value == 1
    )


@pytest.mark.parametrize("metric", ["accuracy", "auc"])
def test_p_values_are_calibrated_under_the_null(metric: str) -> None:
    """Two detectors equally good by construction, 500 comparisons: about 5% below .05, none by a
    wide margin.
    """
    domains = make_domains(1, 120, 120)
    p = []
    for trial in range(25):
        a, b = (make_scores(domains, 20, seed=2 * trial + offset) for offset in (0, 1))
        shared = make_scores(domains, 20, strength=0, seed=1000 + trial)
        first, second = (
            transfer_matrix(
                s + shared, domains, ["g0"] * 20, draws=200, seed=trial, metrics=[metric]
            )
            for s in (a, b)
        )
        p.append(difference(first, second, metric).p_value.ravel())
    values = np.concatenate(p)
    assert 0.02 < (values < 0.05).mean() < 0.08
    assert 0.4 < values.mean() < 0.6


def test_benjamini_hochberg_bounds_false_discoveries() -> None:
    """Half of the cells differ: of those called different at q < .05, few are wrong; most of the
    real ones are found.
    """
    domains = make_domains(4, 200, 200)
    wrong, result, calls = 0, 0, 0
    for trial in range(12):
        noise = make_scores(domains, 4, seed=trial)
        other = noise + 0.9 * make_scores(domains, 4, strength=0, seed=500 + trial)
        boost = np.zeros_like(noise)
        boost[:2] = 1.2 * (domains.labels - 0.5)
        # Same quality in rows 2 and 3 needs the same noise level on both sides.
        base = noise + 0.9 * make_scores(domains, 4, strength=0, seed=900 + trial)
        a = transfer_matrix(base + boost, domains, NAMES, draws=200, metrics=["auc"])
        b = transfer_matrix(other, domains, NAMES, draws=200, metrics=["auc"])
        called = difference(a, b, "auc").q_value < 0.05
        wrong, result, calls = (
            wrong + called[2:].sum(),
            result + called[:2].sum(),
            calls + called.sum(),
        )
    assert result / (12 * 8) > 0.8
    assert wrong / calls < 0.12


def test_unpaired_matrices_are_refused() -> None:
    domains = make_domains()
    scores = make_scores(domains, 4)
    base = transfer_matrix(scores, domains, NAMES, draws=10)
    with pytest.raises(AigiError, match="seed is 0 in one and 1"):
        difference(base, transfer_matrix(scores, domains, NAMES, draws=10, seed=1))
    with pytest.raises(AigiError, match="4 x 4 and 4 x 2"):
        difference(base, transfer_matrix(scores, domains, NAMES, ["g0", "g1"], draws=10))
    with pytest.raises(AigiError, match="'auc' was not measured"):
        difference(
            base, transfer_matrix(scores, domains, NAMES, draws=10, metrics=["accuracy"]), "auc"
        )


def test_standings_are_paired_over_common_unseen_generators(synthetic: Workspace) -> None:
    names = ("alpha-gan", "beta-diff")
    scores = np.random.default_rng(0).standard_normal((2, len(synthetic.domains)))
    own = {n: transfer_matrix(scores[[i]], synthetic.domains, [n]) for i, n in enumerate(names)}
    table = standings(own, "alpha-gan").set_index("name")
    common = ~(own["alpha-gan"].in_domain | own["beta-diff"].in_domain)
    metric = "balanced_accuracy"
    expected = (own["beta-diff"].values[metric] - own["alpha-gan"].values[metric])[common].mean()
    assert table.loc["beta-diff", "change"] == pytest.approx(expected)
    assert table.loc["beta-diff", "n_common"] == 2 and np.isnan(table.loc["alpha-gan", "change"])


def test_a_matrix_on_some_generators(synthetic: Workspace) -> None:
    scores = np.random.default_rng(0).standard_normal((1, len(synthetic.domains)))
    whole = transfer_matrix(scores, synthetic.domains, ["beta-diff"], metrics=("auc",))
    direct = transfer_matrix(
        scores, synthetic.domains, ["beta-diff"], ["beta-diff", "delta-ar"], metrics=("auc",)
    )
    part = whole.on(direct.test)
    for bound, other in zip(
        part.interval("auc"), direct.on(part.test).interval("auc"), strict=True
    ):
        np.testing.assert_allclose(np.sort(bound), np.sort(other))
    with pytest.raises(AigiError, match="nobody is not among"):
        whole.on(["nobody"])
