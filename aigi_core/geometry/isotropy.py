"""Does isotropy go with generalisation? Over all searched pairs, with an interval that knows pairs
share generators.

The paper reports IsoScore rising as components are removed; the authors of IsoScore* report that
isotropy can go with worse models. Both changes stand beside each other here, IsoScore's also less
that of random removals of as many components, for it rises with any removal.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.resampling import pair_weights, percentile_interval
from aigi_core.significance import q_values
from aigi_core.statements import ALPHA


def pair_changes(
    summary: pd.DataFrame,
    geometry: pd.DataFrame,
    measure: str,
    metric: str,
    *,
    beyond_random: bool = True,
) -> pd.DataFrame:
    """One row a searched pair: ``a, b, geometry`` (change of the measure) with its interval or,
    beyond random removals, where 95% of these lie (``random_low, random_high``); ``change`` (of the
    OOD metric) with its interval and ``n``, ``kept``.

    Args:
        summary, geometry: the tables of an atlas.
        beyond_random: the measure after removal less its mean over random removals, instead of less
            its value before.

    Raises:
        AigiError: the atlas has no such measure or metric.
    """
    shape = geometry[geometry["measure"] == measure]
    worth = summary[
        (summary["view"] == "components")
        & (summary["metric"] == metric)
        & (summary["cells"] == "D_eval, ood")
    ]
    if shape.empty or worth.empty:
        raise AigiError(
            f"The atlas holds nothing for {measure!r} and {metric!r}; it has"
            f" {', '.join(sorted(set(geometry['measure'])))} and"
            f" {', '.join(sorted(set(summary['metric'])))}."
        )
    moved = shape["after"] - shape["random" if beyond_random else "before"]
    ends = (
        {f"random_{end}": shape[f"random_{end}"] - shape["random"] for end in ("low", "high")}
        if beyond_random
        else {f"geometry_{end}": shape[f"change_{end}"] for end in ("low", "high")}
    )
    of_metric = ["a", "b", "change", "change_low", "change_high", "n", "kept"]
    return shape[["a", "b"]].assign(geometry=moved, **ends).merge(worth[of_metric], on=["a", "b"])


def against_random(geometry: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The rows of one measure with ``q_value`` (``p_value`` after Benjamini-Hochberg over all
    pairs) and ``above`` and ``below``: whether removal gives more, or less, than as many random
    ones do, at a false discovery rate of 5%.

    Args:
        geometry: the table of an atlas.
    """
    mine = geometry[geometry["measure"] == measure]
    q = q_values(mine["p_value"].to_numpy(float))
    higher = mine["after"] > mine["random"]
    return mine.assign(q_value=q, above=(q < ALPHA) & higher, below=(q < ALPHA) & ~higher)


def fewest_beyond_random(pairs: int, removals: int) -> int:
    """How many of several pairs must lie beyond all their random removals for any to be counted by
    :func:`against_random`: no p-value is below 1 / (1 + removals).

    >>> fewest_beyond_random(105, 200), fewest_beyond_random(6, 200)
    (11, 1)
    """
    return int(pairs / ((1 + removals) * ALPHA)) + 1


def rank_correlation_of_pairs(
    pairs: pd.DataFrame, *, draws: int = 2000, seed: int = 0
) -> dict[str, float]:
    """Spearman's rho of ``geometry`` and ``ood`` with a 95% interval: ``rho, low, high, pairs,
    generators``.

    Generators are drawn, not pairs: a pair counts as often as both its generators are drawn
    together.

    Raises:
        AigiError: fewer than four generators.
    """
    ends = pairs[["a", "b"]].to_numpy(str)
    if len(names := np.unique(ends)) < 4:
        raise AigiError(
            f"A rank correlation over pairs needs at least four generators, got {len(names)}."
        )
    x, y = pairs["geometry"].to_numpy(float), pairs["change"].to_numpy(float)
    low, high = percentile_interval(_rho(x, y, pair_weights(ends.tolist(), draws, seed=seed)))
    rho = float(_rho(x, y, np.ones((1, len(x)), int))[0])
    return {
        "rho": rho,
        "low": float(low),
        "high": float(high),
        "pairs": len(pairs),
        "generators": len(names),
    }


def _rho(
    x: Float[np.ndarray, " p"], y: Float[np.ndarray, " p"], times: Int[np.ndarray, "B p"]
) -> Float[np.ndarray, " B"]:
    """Spearman's rho of each draw, whose pairs count so many times; NaN where there are fewer than
    three, or all of one value."""
    n = times.sum(axis=1)
    ranks = [_ranks(values, times) - (n[:, None] + 1) / 2 for values in (x, y)]
    a, b, both = ((times * p * q).sum(axis=1) for p, q in ((ranks[0],) * 2, (ranks[1],) * 2, ranks))
    rho: np.ndarray = np.full(len(times), np.nan)
    known = (n >= 3) & (a > 0) & (b > 0)
    rho[known] = both[known] / np.sqrt(a[known] * b[known])
    return rho


def _ranks(
    values: Float[np.ndarray, " p"], times: Int[np.ndarray, "B p"]
) -> Float[np.ndarray, "B p"]:
    """Ranks among values that count so many times; equal ones share their mean rank."""
    distinct, at = np.unique(values, return_inverse=True)
    each = times @ (at[:, None] == np.arange(len(distinct)))
    ranks: np.ndarray = (each.cumsum(axis=1) - (each - 1) / 2)[:, at]
    return ranks
