"""p-values of paired differences under the null and against the exact test."""

import numpy as np
import pytest
from scipy.stats import binomtest, false_discovery_control

from aigi_core import significance
from aigi_core.intervals import Groups
from aigi_core.significance import bootstrap_p_value, q_values, sign_flip


@pytest.mark.parametrize(("more", "less"), [(4, 0), (5, 2), (8, 8), (20, 6), (30, 4), (25, 2)])
def test_one_class_is_mcnemars_exact_test(more: int, less: int) -> None:
    added = np.zeros((1, 80))
    added[0, :more], added[0, more : more + less] = 1 / 80, -1 / 80
    exact = binomtest(more, more + less).pvalue
    p = sign_flip(added, Groups.of(np.arange(80)))[0]
    assert p == pytest.approx(exact, rel=0.35, abs=0.015)
    if more + less <= 12:
        assert p == pytest.approx(exact, abs=1e-12)


def test_small_p_values_are_resolved_for_the_correction_of_many() -> None:
    """A correction over 225 cells needs p-values that 4,000 sign patterns cannot show."""
    added = np.full((1, 60), 1 / 60)
    assert sign_flip(added, Groups.of(np.arange(60)))[0] < 1e-8


@pytest.mark.parametrize(("images", "size"), [(15, 1), (30, 1), (150, 1), (30, 3)])
def test_p_is_uniform_under_the_null(images: int, size: int) -> None:
    rng = np.random.default_rng(images + size)
    group = np.arange(images) // size
    common = rng.standard_normal((600, images // size))[:, group]

    def right() -> np.ndarray:
        own = (
            0.8 * rng.standard_normal((600, images))
            + 0.5 * rng.standard_normal((600, images // size))[:, group]
        )
        return np.asarray(0.7 * common + own > -0.6)

    added = (right().astype(float) - right()) / images
    p = sign_flip(added, Groups.of(group))
    assert (p < 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("count", [5, 20])
def test_images_of_a_group_change_places_together(count: int) -> None:
    """Three copies of each image are no more evidence than one."""
    one = np.where(np.arange(30) < count, 1.0, 0.0)[None]
    alone = sign_flip(one / 30, Groups.of(np.arange(30)))
    copied = sign_flip(np.repeat(one, 3, axis=1) / 90, Groups.of(np.arange(90) // 3))
    np.testing.assert_allclose(copied, alone)


@pytest.mark.parametrize("size", [1.0, 1.7, 2.2, 3.0])
def test_the_limit_of_many_groups_is_the_test_itself(
    monkeypatch: pytest.MonkeyPatch, size: float
) -> None:
    """As McNemar's exact test, and as drawn sign patterns of unequal groups."""
    n = significance.NORMAL + 2000
    more = (n + round(size * np.sqrt(n))) // 2
    one = np.where(np.arange(n) < more, 1.0, -1.0)[None] / n
    exact = binomtest(more, n).pvalue
    alone = Groups.of(np.arange(n))
    assert sign_flip(one, alone)[0] == pytest.approx(exact, rel=1e-3)
    other = np.random.default_rng(0).normal(0, 1, (2, n))
    other += size / np.sqrt(n) - other.mean(axis=1, keepdims=True)
    limit = sign_flip(other / n, alone)
    monkeypatch.setattr(significance, "NORMAL", n)
    drawn = sign_flip(other / n, alone)
    np.testing.assert_allclose(drawn, limit, atol=4 * np.sqrt(0.25 / significance.FLIPS))


def test_few_groups_that_hold_nearly_all_have_no_normal_limit() -> None:
    added = np.full((1, significance.NORMAL + 100), 1e-6)
    added[0, :3] = 1.0
    p = sign_flip(added, Groups.of(np.arange(added.shape[1])), np.array([2.9]))[0]
    assert p == pytest.approx(0.25, abs=0.03)


def test_degenerate_draws() -> None:
    draws = np.array([[0.0, 0.5], [0.0, 0.5], [0.0, 0.5]])
    np.testing.assert_allclose(bootstrap_p_value(np.array([0.0, 0.5]), draws), [1, 0.25])


def test_q_values_leave_out_what_is_undefined() -> None:
    q = q_values(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(q[[0, 2]], [0.02, 0.04])
    assert np.isnan(q[1])


def test_q_values_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for p in (rng.random(40), rng.random(7) / 50, np.repeat(rng.random(5), 3), np.ones(1)):
        np.testing.assert_array_equal(q_values(p), false_discovery_control(p))
    square = rng.random((4, 5))
    assert q_values(square).shape == square.shape
    assert np.isnan(q_values(np.full(3, np.nan))).all()


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 300])
def test_signs_of_fewer_groups_are_the_first_of_those_of_more(count: int) -> None:
    """One draw serves all numbers of groups: a table of forty differences asks for many."""
    drawn = np.random.default_rng(3).integers(0, 2, (count, significance.FLIPS), np.int8)
    np.testing.assert_array_equal(significance._signs(count, 3), drawn)
