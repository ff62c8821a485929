"""What is drawn together, what stays fixed, and whether the intervals cover."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.metrics import evaluate
from aigi_core.resampling import percentile_interval
from aigi_core.transfer import bootstrap, transfer_matrix
from aigi_core.transfer.bootstrap import Resample, draw_block_counts, draw_counts
from tests.transfer.factory import make_domains


def test_groups_are_drawn_whole_and_strata_keep_their_size() -> None:
    domains = make_domains(generators=3, group_size=2)
    rows = np.flatnonzero(domains.split == "test")
    counts = draw_counts(domains, rows, draws=50, seed=1)
    group, generator = domains.group[rows], domains.generator[rows]
    for name in ("scene 1", "scene 33"):
        pair = counts[:, group == name]
        assert pair.shape[1] == 2 and (pair[:, 0] == pair[:, 1]).all()
    for name in ("", "g0", "g1", "g2"):
        assert (counts[:, generator == name].sum(axis=1) == 30).all()
    assert counts.std() > 0.9  # near the binomial's 1: something is resampled at all


def test_draws_depend_on_the_seed_alone() -> None:
    domains = make_domains()
    rows = np.flatnonzero(domains.split == "test")
    first = draw_counts(domains, rows, 20, seed=3)
    np.testing.assert_array_equal(first, draw_counts(domains, rows, 20, seed=3))
    assert (first != draw_counts(domains, rows, 20, seed=4)).any()


def test_tiny_strata_are_merged_so_that_they_vary() -> None:
    domains = make_domains(generators=2, fakes=8)  # 4 test fakes each: strata of 4 groups
    rows = np.flatnonzero(domains.split == "test")
    counts = draw_counts(domains, rows, 200)
    fakes = [counts[:, domains.generator[rows] == name].sum(axis=1) for name in ("g0", "g1")]
    assert (fakes[0] + fakes[1] == 8).all() and fakes[0].std() > 0.5


def test_images_without_a_group_stand_alone() -> None:
    domains = make_domains()
    domains.group[:] = ""
    rows = np.flatnonzero(domains.split == "test")
    counts = draw_counts(domains, rows, 30)
    assert len(np.unique(counts, axis=1).T) > len(rows) // 2


def test_intervals_cover_the_truth() -> None:
    """95% intervals of accuracy and AUC over 300 simulated tests of 50 + 50 images: at least 90
    and at most 98% cover.
    """
    from scipy.stats import norm

    rng, domains, covered = np.random.default_rng(0), make_domains(1, 100, 100), []
    rows = np.flatnonzero(domains.split == "test")
    labels = domains.labels[rows]
    truth = {"accuracy": norm.cdf(0.5), "auc": norm.cdf(1 / np.sqrt(2))}
    for trial in range(300):
        scores = rng.standard_normal((1, len(rows))) + labels - 0.5
        counts = draw_counts(domains, rows, 300, seed=trial)
        result = evaluate(scores, labels, counts, metrics=tuple(truth))
        bounds = {name: percentile_interval(values[0]) for name, values in result.items()}
        covered.append(
            [bounds[name][0] <= value <= bounds[name][1] for name, value in truth.items()]
        )
    share = np.mean(covered, axis=0)
    assert ((share > 0.90) & (share < 0.98)).all(), share


def test_bad_input_is_named() -> None:
    domains = make_domains()
    with pytest.raises(AigiError, match="0 images, 10 draws"):
        draw_counts(domains, np.array([], int), 10)


def test_blocks_hold_whole_groups_and_the_same_share_of_every_stratum() -> None:
    domains = make_domains(generators=2, reals=400, fakes=400, group_size=2)
    rows = np.flatnonzero(domains.split == "test")
    block, counts = draw_block_counts(domains, rows, draws=30, seed=1, blocks=10)
    assert counts.shape == (30, 10) and (counts.sum(axis=1) == 10).all()
    for name in np.unique(domains.group[rows]):
        assert len(np.unique(block[domains.group[rows] == name])) == 1
    for name in np.unique(domains.generator[rows]):
        held = np.bincount(block[domains.generator[rows] == name], minlength=10)
        assert held.max() - held.min() <= 2  # one group of two images


@pytest.mark.parametrize("limit", [10**9, 0])
def test_sums_are_those_of_images_weighted_one_by_one(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = make_domains(generators=2, reals=40, fakes=40, group_size=2)
    rows = np.flatnonzero(domains.split == "test")
    monkeypatch.setattr(bootstrap, "DRAWN_SINGLY", limit)
    monkeypatch.setattr(bootstrap, "AT_A_TIME", 7 * len(rows))
    drawn = Resample.of(domains, rows, 30, seed=2)
    assert (drawn.block is None) == (limit > 0)
    weights = np.concatenate(list(drawn.weights()))
    assert weights.shape == (31, len(rows)) and (weights[0] == 1).all()
    values = np.random.default_rng(0).standard_normal((len(rows), 3))
    fake = domains.labels[rows] == 1
    np.testing.assert_allclose(drawn.sums(values, fake), weights[:, fake] @ values[fake])
    np.testing.assert_allclose(drawn.sums(values), weights @ values)


@pytest.mark.parametrize("shifts", [(1.6, 0.5), (6.0, 12.0)])
def test_intervals_from_blocks_agree_with_those_from_groups(
    shifts: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a tenth of the width, of every metric, with images that share groups and where classes
    are (almost) wholly apart."""
    domains = make_domains(generators=2, reals=6000, fakes=6000, group_size=2)
    noise = np.random.default_rng(2).standard_normal((2, len(domains)))
    scores = noise + np.reshape(shifts, (2, 1)) * domains.labels
    result = []
    for limit in (10**9, 0):
        monkeypatch.setattr(bootstrap, "DRAWN_SINGLY", limit)
        result.append(transfer_matrix(scores, domains, domains.generators, draws=1000))
    single, blocks = result
    assert "blocks" in blocks.protocol["resampled"] != single.protocol["resampled"]
    for metric in single.metrics:
        np.testing.assert_allclose(single.values[metric], blocks.values[metric], rtol=1e-12)
        (low, high), (block_low, block_high) = (one.interval(metric) for one in result)
        width = high - low
        assert (width < 0.15).all(), metric  # once from .025 to 1 where the value is 1, draws less
        assert (np.abs(low - block_low) < 0.1 * width).all(), metric
        assert (np.abs(high - block_high) < 0.1 * width).all(), metric
        mean, block_mean = (one.mean(metric) for one in result)
        assert abs(mean.low - block_mean.low) < 0.1 * (mean.high - mean.low), metric
