"""Draws of whole groups, and intervals against their definitions."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.resampling import group_numbers, group_weights, percentile_interval


def test_groups_are_drawn_whole_within_strata() -> None:
    groups = np.repeat(np.arange(20), 2)
    strata = np.arange(40) // 20
    weights = group_weights(groups, 50, strata=strata, seed=1)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights[:, :20].sum(axis=1) == 20).all() and weights.std() > 0.8
    with pytest.raises(AigiError, match="no images"):
        group_weights(np.array([]), 5)


def test_images_without_a_group_are_groups_of_their_own() -> None:
    names = np.array(["b", "", "a", "", "b", "a", "c"])
    rows = np.array([6, 4, 3, 1, 0])
    number = group_numbers(names, rows)
    assert sorted(set(number)) == [0, 1, 2, 3] and number[1] == number[4]
    assert (
        number.tolist() == group_numbers(np.array(["x", "", "y", "", "x", "y", "z"]), rows).tolist()
    )
    assert group_numbers(names, rows[:0]).tolist() == []


def test_nan_draws_are_left_out_of_an_interval() -> None:
    draws = np.linspace(0, 1, 101)[:, None].repeat(2, axis=1)
    complete = percentile_interval(draws, 0.9)
    np.testing.assert_allclose(complete, [[0.05, 0.05], [0.95, 0.95]])
    draws[np.arange(101) % 10 == 3, 1] = np.nan
    low, high = percentile_interval(draws, 0.9)
    assert (low[0], high[0]) == (complete[0][0], complete[1][0])
    np.testing.assert_allclose(
        [low[1], high[1]], np.quantile(draws[~np.isnan(draws[:, 1]), 1], [0.05, 0.95])
    )


def test_what_is_drawn_again_is_the_same_and_nobodys_alone() -> None:
    groups, strata = np.array([3, 1, 1, 0, 2, 3]), np.array([1, 0, 0, 1, 1, 1])
    first = group_weights(groups, 20, strata=strata, seed=5)
    kept = first.copy()
    first[:] = -1
    again = group_weights(groups, 20, strata=strata, seed=5)
    assert (again == kept).all() and (again[:, [0, 1]] == again[:, [5, 2]]).all()
    assert (again[:, 1] == 1).all(), "the only group of its stratum is drawn each time"
    assert (again[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert (group_weights(groups, 20, strata=strata, seed=6) != kept).any()
