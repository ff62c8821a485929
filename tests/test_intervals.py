"""Intervals: against exact methods, and small simulations of what they cover (the benchmark
``coverage`` runs the whole grid)."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, sem, t

from aigi_core.intervals import (
    Groups,
    auc_interval,
    auc_variance,
    count_interval,
    design_effect,
    mean_interval,
    mean_of_rates_interval,
    paired_interval,
    rate_interval,
)


@pytest.mark.parametrize("hits", [0, 1, 14, 29, 30])
def test_one_rate_is_the_exact_interval_at_the_adjusted_level(hits: int) -> None:
    reference = binomtest(hits, 30).proportion_ci(0.93, method="exact")
    low, high = count_interval(hits, 30)
    np.testing.assert_allclose((low, high), (reference.low, reference.high), atol=1e-9)


def test_no_image_says_nothing() -> None:
    assert count_interval(0, 0) == (0.0, 1.0)


def test_a_class_without_error_does_not_narrow_the_balanced_accuracy() -> None:
    """30 fakes, 210 photographs: one error more gives no interval that is
    narrower by more than a tenth, and calling
    everything real has a width."""

    def width(real: float, fake: float) -> float:
        low, high = mean_of_rates_interval(
            (np.array(real), np.array(fake)), (np.array(210.0), np.array(30.0)), (0.5, 0.5)
        )
        return float(high - low)

    assert width(1.0, 1.0) > 0.03
    assert width(209 / 210, 1.0) >= 0.9 * width(1.0, 1.0)
    assert width(1.0, 0.0) > 0.03


def test_auc_bounds_solve_newcombes_equation() -> None:
    auc = np.array([0.5, 0.8, 0.99])
    low, high = auc_interval(auc, 24, 100)
    for bound in (low, high):
        distance = np.abs(auc - bound) / np.sqrt(auc_variance(bound, 24, 100))
        np.testing.assert_allclose(distance, 1.959964, atol=1e-4)
    low, high = auc_interval(np.array(1.0), 24, 100)
    assert high == pytest.approx(1) and 0.9 < low < 0.99


def test_groups_of_equal_images_count_as_one() -> None:
    values = np.repeat([1.0, 0, 1, 0, 1, 1, 0, 1, 0, 0], 3)[None] / 30
    centred = values - values.mean()
    alone = Groups.of(np.arange(30))
    together = Groups.of(np.repeat(np.arange(10), 3))
    assert design_effect(centred, alone)[0] == 1
    assert design_effect(centred, together)[0] > 3  # and a little for ten groups' uncertainty
    nothing_varies = design_effect(np.zeros((1, 30)), together)[0]
    assert nothing_varies > 3


@pytest.mark.parametrize("rates", [(0.97, 0.99), (0.02, 0.995), (0.998, 0.5)])
def test_balanced_accuracy_covers_small_cells(rates: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    for n in ((30, 210), (15, 30)):
        hits = [rng.binomial(size, rate, 4000) / size for size, rate in zip(n, rates, strict=True)]
        sizes = np.full(4000, float(n[0])), np.full(4000, float(n[1]))
        low, high = mean_of_rates_interval((hits[0], hits[1]), sizes, (0.5, 0.5))
        truth = sum(rates) / 2
        assert ((low <= truth + 1e-12) & (truth <= high + 1e-12)).mean() > 0.92


def test_rate_covers_where_it_is_rare() -> None:
    rng = np.random.default_rng(1)
    for rate in (0.02, 0.867, 0.99, 0.998):
        low, high = rate_interval(rng.binomial(15, rate, 4000) / 15, np.full(4000, 15.0))
        assert ((low <= rate) & (rate <= high)).mean() > 0.925


@pytest.mark.parametrize("n", [15, 100, 400, 3000])
def test_rate_covers_the_promised_share_on_average(n: int) -> None:
    hits = np.arange(n + 1)
    low, high = rate_interval(hits / n, np.full(n + 1, float(n)))
    held = [
        binom.pmf(hits, n, rate)[(low <= rate) & (rate <= high)].sum()
        for rate in np.linspace(0.05, 0.95, 181)
    ]
    assert np.mean(held) > 0.948 and min(held) > 0.93


def test_paired_interval_has_width_where_nothing_differs() -> None:
    labels = np.repeat([0, 1], 30)
    low, high = paired_interval(
        np.zeros(1), np.zeros((1, 60)), labels, Groups.of(np.arange(60)), {0: 0.5, 1: 0.5}
    )
    assert -0.1 < low[0] < -0.02 and 0.02 < high[0] < 0.1


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(size=(3, 7))
    low, high = mean_interval(values)
    for row, *ends in zip(values, low, high, strict=True):
        expected = t.interval(0.95, 6, row.mean(), sem(row))
        np.testing.assert_allclose(ends, expected)
    one = mean_interval(values[:, :1], (0.0, 1.0))
    assert (one.low == 0).all() and (one.high == 1).all()
