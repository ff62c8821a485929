"""Isotropy against generalisation over pairs."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, spearmanr

from aigi_core.errors import AigiError
from aigi_core.geometry.isotropy import (
    against_random,
    fewest_beyond_random,
    pair_changes,
    rank_correlation_of_pairs,
)


def tables(n: int, slope: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng, pairs = np.random.default_rng(seed), list(combinations([f"g{i}" for i in range(n)], 2))
    shape = rng.standard_normal(len(pairs))
    a, b = zip(*pairs, strict=True)
    geometry = pd.DataFrame(
        {"a": a, "b": b, "measure": "isoscore", "before": 0.1, "random": 0.2, "after": 0.2 + shape}
    ).assign(change_low=shape, change_high=0.2 + shape, random_low=0.15, random_high=0.3)
    summary = pd.DataFrame(
        {
            "a": a,
            "b": b,
            "view": "components",
            "metric": "auc",
            "cells": "D_eval, ood",
            "kept": 9,
            "change_low": -9.0,
            "change_high": 9.0,
            "n": 4,
            "change": slope * shape + rng.standard_normal(len(pairs)),
        }
    )
    return summary, geometry


def test_a_planted_link_is_detected_and_none_is_not() -> None:
    linked = rank_correlation_of_pairs(pair_changes(*tables(12, 2.0), "isoscore", "auc"), draws=300)
    assert linked["low"] > 0 and linked["pairs"] == 66 and linked["generators"] == 12
    free = rank_correlation_of_pairs(pair_changes(*tables(12, 0.0), "isoscore", "auc"), draws=300)
    assert free["low"] < 0 < free["high"]


def test_pairs_are_counted_against_random_removals_by_the_false_discovery_rate() -> None:
    _, geometry = tables(6, 1.0)
    others = geometry.assign(measure="other", p_value=1e-4)
    p = np.r_[0.001, 0.002, 0.03, np.full(len(geometry) - 3, 0.5)]
    table = geometry.assign(p_value=p, after=np.r_[0.3, 0.1, np.full(len(geometry) - 2, 0.3)])
    counted = against_random(pd.concat([table, others]), "isoscore")
    np.testing.assert_allclose(counted["q_value"], false_discovery_control(p))
    assert counted["above"].tolist() == [True, *[False] * 14]
    assert counted["below"].tolist() == [False, True, *[False] * 13]
    # the fewest that can be counted at all, each beyond all of 200 removals
    few = fewest_beyond_random(105, 200)
    for extreme, above in ((few, few), (few - 1, 0)):
        p = np.r_[np.full(extreme, 1 / 201), np.ones(105 - extreme)]
        one = pd.DataFrame({"measure": "m", "p_value": p, "after": 1.0, "random": 0.0})
        assert against_random(one, "m")["above"].sum() == above


def test_the_value_is_spearmans() -> None:
    changes = pair_changes(*tables(6, 1.0), "isoscore", "auc")
    assert rank_correlation_of_pairs(changes, draws=10)["rho"] == pytest.approx(
        spearmanr(changes["geometry"], changes["change"])[0]
    )


def test_against_random_or_before() -> None:
    summary, geometry = tables(5, 1.0)
    beyond = pair_changes(summary, geometry, "isoscore", "auc")
    plain = pair_changes(summary, geometry, "isoscore", "auc", beyond_random=False)
    np.testing.assert_allclose(plain["geometry"] - beyond["geometry"], 0.1)
    assert (plain["geometry_low"] < plain["geometry"]).all()
    assert (plain["geometry"] < plain["geometry_high"]).all() and "random_low" not in plain
    np.testing.assert_allclose(beyond[["random_low", "random_high"]], [[-0.05, 0.1]] * len(beyond))


def test_bad_input() -> None:
    with pytest.raises(AigiError, match="nothing for 'roundness'"):
        pair_changes(*tables(5, 1.0), "roundness", "auc")
    with pytest.raises(AigiError, match="at least four"):
        rank_correlation_of_pairs(pair_changes(*tables(3, 1.0), "isoscore", "auc"))
