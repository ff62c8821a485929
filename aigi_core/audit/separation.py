"""Do scores separate fakes from real images on held-out images at all? One p-value a generator,
corrected for many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.significance import holm


def separation(
    scores: Float[np.ndarray, "K N"],
    domains: Domains,
    generators: Sequence[str],
    alternative: Literal["greater", "two-sided"] = "greater",
) -> pd.DataFrame:
    """Whether fakes score above the real images of their pools in the test split, or other than
    these where ``alternative`` is two-sided (Mann and Whitney 1947).

    Images of a group and class count once, by their mean score, so that the cases are independent.

    Args:
        scores: row i is asked about the i-th generator.

    Returns:
        One row a generator: ``generator, p_value, adjusted`` (Holm 1979 over the generators:
            calling those below .05 separated is wrong anywhere with a probability below .05),
            ``n_fake, n_real`` (cases).
    """
    from scipy.stats import mannwhitneyu  # a second to load, which every page would pay

    rows_out = []
    for row, name in zip(scores, generators, strict=True):
        rows = domains.rows(name, "test")
        group = np.where(domains.group[rows] == "", rows.astype(str), domains.group[rows])
        cases = pd.DataFrame({"group": group, "label": domains.labels[rows], "score": row[rows]})
        means = cases.groupby(["group", "label"])["score"].mean().reset_index()
        fake, real = (
            means.loc[means["label"] == label, "score"].to_numpy() for label in (FAKE, REAL)
        )
        p = float(mannwhitneyu(fake, real, alternative=alternative).pvalue)
        rows_out.append(
            dict(generator=name, p_value=p, adjusted=p, n_fake=len(fake), n_real=len(real))
        )
    table = pd.DataFrame(rows_out)
    table["adjusted"] = holm(table["p_value"].to_numpy())
    return table
