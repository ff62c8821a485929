"""Ways to make training sets, and the summaries by row and column that follow from them."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.transfer import TRAINING, make_training_sets, transfer_matrix
from aigi_core.winner import choice_gain
from tests.factory import make_images

IMAGES = make_images()
DOMAINS = Domains.from_images(IMAGES)


def test_each_way() -> None:
    names = DOMAINS.generators
    assert make_training_sets(DOMAINS, "each generator") == {n: (n,) for n in names}
    families = make_training_sets(DOMAINS, "each family")
    assert families["all diffusion"] == ("beta-diff", "gamma-diff") and len(families) == 3
    others = make_training_sets(DOMAINS, "all but one")
    assert all(
        set(names) - set(members) == {name.removeprefix("all but ")}
        for name, members in others.items()
    )
    assert set(TRAINING) == {"each generator", "each family", "all but one"}


def test_refusals() -> None:
    alone = Domains.from_images(IMAGES[IMAGES["generator"].isin(["", "alpha-gan"])])
    with pytest.raises(AigiError, match="at least two"):
        make_training_sets(alone, "all but one")
    with pytest.raises(AigiError, match="no fake images"):
        make_training_sets(Domains.from_images(IMAGES[IMAGES["label"] == 0]), "each generator")
    with pytest.raises(AigiError, match="no choice of training sets 'each'"):
        make_training_sets(DOMAINS, "each")


@pytest.mark.parametrize("metric", ["accuracy", "eer"])
def test_means_by_row_and_column_leave_out_what_was_trained_on(metric: str) -> None:
    scores = np.random.default_rng(0).standard_normal((4, len(DOMAINS)))
    matrix = transfer_matrix(scores, DOMAINS, DOMAINS.generators, metrics=(metric,), draws=200)
    values = np.where(matrix.in_domain, np.nan, matrix.values[metric])
    np.testing.assert_allclose(matrix.by_test(metric)["value"], np.nanmean(values, axis=0))
    worst = (
        np.nanmean(values, axis=0).argmin()
        if metric == "accuracy"
        else np.nanmean(values, axis=0).argmax()
    )
    hardest = matrix.hardest(metric)
    assert hardest is not None and hardest.of == 4 and hardest.low < hardest.value < hardest.high
    assert (hardest.name, hardest.value) == (
        DOMAINS.generators[worst],
        pytest.approx(np.nanmean(values, axis=0)[worst]),
    )
    best = (
        np.nanmean(values, axis=1).argmax()
        if metric == "accuracy"
        else np.nanmean(values, axis=1).argmin()
    )
    winner = matrix.best_detector(metric)
    assert winner is not None and winner.low < winner.value
    assert (winner.name, winner.value) == (
        DOMAINS.generators[best],
        pytest.approx(np.nanmean(values, axis=1)[best]),
    )
    rows = [~matrix.in_domain & (np.arange(4) == k)[:, None] for k in range(4)]
    draws = np.stack([matrix.mean_draws(metric, cells) for cells in rows], axis=1)
    gain = choice_gain(np.nanmean(values, axis=1), draws, highest=metric == "accuracy")
    own = matrix.mean(metric, rows[best])
    assert gain > 0 and (winner.low, winner.high) == pytest.approx(
        (own.low - gain, own.high) if metric == "accuracy" else (own.low, own.high + gain)
    )
    gap = matrix.gap(metric)
    assert gap.value == pytest.approx(
        matrix.mean(metric, matrix.in_domain).value - matrix.mean(metric, ~matrix.in_domain).value
    )
    assert gap.low < gap.value < gap.high and gap.n == 16
    everything = transfer_matrix(
        scores[:1], DOMAINS, [DOMAINS.generators], metrics=(metric,), draws=5
    )
    assert everything.hardest(metric) is None and everything.by_test(metric).empty
    assert np.isnan(everything.gap(metric).value) and everything.best_detector(metric) is None
