"""Training sets for targets: ranked on validation images, reported and compared on test images."""

import numpy as np
import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.transfer import TargetRanking, rank_for_targets, trainer, transfer_matrix
from aigi_core.transfer.training_sets import ScoreSets
from aigi_core.workspace import Workspace


def learn(workspace: Workspace) -> tuple[ScoreSets, ScoreSets]:
    return trainer(workspace), trainer(workspace, held_out=True)


def test_a_row_is_what_training_it_alone_gives(synthetic: Workspace) -> None:
    targets = ["gamma-diff", "delta-ar"]
    ranking = rank_for_targets(*learn(synthetic), synthetic.domains, targets, k_max=2)
    table = ranking.table
    assert len(table) == 3 and not set(targets) & {n for s in ranking.test.train for n in s}
    assert (np.diff(table["val_mean"]) <= 1e-12).all()
    for at in (0, 2):
        names = ranking.test.train[at]
        scores = score_detectors(train(synthetic, [names]), synthetic)
        alone = transfer_matrix(
            scores, synthetic.domains, [names], targets, metrics=(ranking.metric,)
        )
        mean = alone.mean(ranking.metric)
        assert table["test_mean"][at] == pytest.approx(mean.value, abs=1e-9)
        assert table["test_mean_low"][at] == pytest.approx(mean.low, abs=1e-9)
    assert table["next"][0] == pytest.approx(table["test_mean"][0] - table["test_mean"][1])


def test_the_recommended_set_is_held_against_the_best_of_fewer_generators(
    synthetic: Workspace,
) -> None:
    targets = ["gamma-diff"]
    made = rank_for_targets(*learn(synthetic), synthetic.domains, targets, k_max=2)
    order = sorted(range(len(made.test.train)), key=lambda at: -len(made.test.train[at]))
    largest_first = TargetRanking(made.table, made.metric, made.test.rows(order))
    found = largest_first.smaller()
    assert found is not None
    at = next(i for i in order if len(made.test.train[i]) == 1)
    assert found[0] == made.test.train[at]
    means = made.table["test_mean"]
    assert found[1].value == pytest.approx(means[order[0]] - means[at])
    assert TargetRanking(made.table, made.metric, made.test.rows([at])).smaller() is None


def test_targets_may_be_trained_on_where_asked(synthetic: Workspace) -> None:
    result = rank_for_targets(
        *learn(synthetic), synthetic.domains, ["gamma-diff"], k_max=1, unseen=False
    )
    assert ("gamma-diff",) in result.test.train


def test_nothing_left_to_train_on(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="fewer targets"):
        rank_for_targets(*learn(synthetic), synthetic.domains, synthetic.domains.generators)
