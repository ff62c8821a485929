"""The ranking over planted detectors whose best set is known."""

import numpy as np
import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.transfer.training_sets import TrainingSetRanking, rank_training_sets, trainer
from aigi_core.workspace import Workspace
from tests.transfer.factory import make_domains

REACH = {  # how well training on one generator finds each other
    "g0": {"g1": 2.0, "g3": 2.0},
    "g1": {"g0": 1.0},
    "g2": {"g0": 2.0, "g4": 2.5},
    "g3": {"g0": 0.5},
    "g4": {},
}
CALLS: list[int] = []


def planted(domains: Domains) -> TrainingSetRanking:
    noise = np.random.default_rng(0).standard_normal(len(domains))

    def counted(sets: list[tuple[str, ...]]) -> np.ndarray:
        CALLS.append(len(sets))
        return score_sets(sets)

    def score_sets(sets: list[tuple[str, ...]]) -> np.ndarray:
        rows = []
        for names in sets:
            shift = np.zeros(len(domains))
            for test in domains.generators:
                strength = max(
                    [3.0 * (test in names), *(REACH[name].get(test, 0.0) for name in names)]
                )
                shift[domains.generator == test] = strength
            rows.append(noise + shift - 1.0)
        return np.stack(rows)

    return rank_training_sets(counted, score_sets, domains, k_max=2, draws=100, batch=4)


@pytest.fixture(scope="module")
def ranking() -> TrainingSetRanking:
    return planted(make_domains(5, 100, 100))


def test_every_set_is_tried_in_batches(ranking: TrainingSetRanking) -> None:
    assert ranking.table["k"].value_counts().to_dict() == {1: 5, 2: 10}
    assert sum(CALLS) == 15 and max(CALLS) == 4


def test_the_planted_sets_win(ranking: TrainingSetRanking) -> None:
    assert ranking.best(1)["train"] in ("g0", "g2")
    assert ranking.best(2)["train"] == "g0 + g2"
    assert ranking.best(2, "worst")["train"] == "g0 + g2"
    row = ranking.table.iloc[0]
    assert row.test_mean_low <= row.test_mean <= row.test_mean_high
    assert row.k == 1 and row.n_ood == 4


def test_columns_are_what_they_say(ranking: TrainingSetRanking) -> None:
    row = ranking.table.index[ranking.table["train"] == "g1 + g3"][0]
    values = dict(
        zip(ranking.test.test, ranking.test.values["balanced_accuracy"][row], strict=True)
    )
    ood = {name: value for name, value in values.items() if name not in ("g1", "g3")}
    record = ranking.table.loc[row]
    assert record.test_mean == pytest.approx(np.mean(list(ood.values())))
    assert record.test_worst == min(ood.values()) and ood[record.test_worst_on] == record.test_worst
    pairs = ranking.table["k"] == 2
    usual = {
        name: np.mean(
            [
                ranking.test.values["balanced_accuracy"][i, ranking.test.test.index(name)]
                for i in np.flatnonzero(pairs)
                if name not in ranking.test.train[i]
            ]
        )
        for name in ood
    }
    assert record.test_gain == pytest.approx(np.mean([ood[name] - usual[name] for name in ood]))


def test_comparison_is_over_common_generators(ranking: TrainingSetRanking) -> None:
    result = ranking.compare(("g0", "g2"), ("g4",))
    assert result.n == 2 and result.value > 0 and result.p_value < 0.05
    assert ranking.compare(("g2", "g0"), ("g0", "g2")).value == 0


def test_bad_input_is_named(ranking: TrainingSetRanking) -> None:
    domains = make_domains(3)
    with pytest.raises(AigiError, match="up to 3 generators cannot be tried"):
        rank_training_sets(
            *[lambda sets: np.zeros((len(sets), len(domains)))] * 2, domains, k_max=3
        )
    with pytest.raises(AigiError, match="No set of 3"):
        ranking.best(3)
    with pytest.raises(AigiError, match="g0 \\+ g9 was not among"):
        ranking.compare(("g0", "g9"), ("g0",))


def test_trains_on_a_workspace(synthetic: Workspace) -> None:
    """The batch of sets gives the very scores of detectors trained one by one."""
    sets = [("beta-diff",), ("beta-diff", "alpha-gan")]
    scores = trainer(synthetic)(sets)
    for names, row in zip(sets, scores, strict=True):
        np.testing.assert_allclose(
            row, train(synthetic, [names])[0].decision_function(synthetic), atol=1e-7
        )
    learn = trainer(synthetic), trainer(synthetic, held_out=True)
    ranking = rank_training_sets(*learn, synthetic.domains, k_max=2, draws=20)
    assert len(ranking.table) == 4 + 6


def test_held_out_training_never_fits_validation_images(synthetic: Workspace) -> None:
    sets = [("beta-diff",), ("beta-diff", "alpha-gan")]
    scores = trainer(synthetic, held_out=True)(sets)
    plain = train(synthetic, sets, protocol=Protocol(refit=False))
    np.testing.assert_allclose(scores, score_detectors(plain, synthetic), atol=1e-9)
    assert not np.allclose(scores, trainer(synthetic)(sets))


def test_the_choice_never_sees_what_was_fitted(synthetic: Workspace) -> None:
    """Detectors that have learnt the validation labels by heart gain nothing in the ranking."""
    domains = synthetic.domains

    def by_heart(sets: list[tuple[str, ...]]) -> np.ndarray:
        scores = np.zeros((len(sets), len(domains)))
        scores[:, domains.split == "val"] = domains.labels[domains.split == "val"] - 0.5
        return scores + 0.01

    table = rank_training_sets(
        by_heart, trainer(synthetic, held_out=True), domains, k_max=1, draws=5
    ).table
    alone = rank_training_sets(
        trainer(synthetic), trainer(synthetic, held_out=True), domains, k_max=1, draws=5
    ).table
    assert table["val_mean"].tolist() == alone["val_mean"].tolist()
