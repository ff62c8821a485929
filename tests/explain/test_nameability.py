"""Rank correlation of nameability and generalisation, against SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from aigi_core.errors import AigiError
from aigi_core.explain.nameability import nameability


def table(n: int, slope: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.random(n)
    return pd.DataFrame(
        {
            "detector": [f"d{i}" for i in range(n)],
            "family": ["gan" if i < 3 else "diffusion" for i in range(n)],
            "nameable": x,
            "ood": slope * x + 0.3 * rng.random(n),
        }
    )


def test_agrees_with_scipy_and_covers_families() -> None:
    detectors = table(30, -1)
    result = nameability(detectors).correlations.set_index("family")
    assert result.loc["all", "spearman"] == pytest.approx(
        spearmanr(detectors["nameable"], detectors["ood"]).statistic
    )
    assert (
        result.loc["all", "low"] <= result.loc["all", "spearman"] <= result.loc["all", "high"] < 0
    )
    assert result.loc["all", "p_value"] < 0.01
    assert result.loc["all", "n"] == 30 and result.loc["gan", "n"] == 3
    assert np.isnan(result.loc["gan", "spearman"]) and result.loc["diffusion", "n"] == 27


def test_no_effect_is_reported_where_there_is_none() -> None:
    p = [
        nameability(table(15, 0, seed), draws=200).correlations["p_value"].iloc[0]
        for seed in range(60)
    ]
    assert 0 < np.mean(np.array(p) < 0.2) < 0.4


def test_refusals() -> None:
    with pytest.raises(AigiError, match="at least 4"):
        nameability(table(3, 1))
    with pytest.raises(AigiError, match="lacks the columns ood"):
        nameability(table(9, 1).drop(columns="ood"))
