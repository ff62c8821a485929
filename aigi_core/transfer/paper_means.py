"""The five means by which the paper sums up a transfer matrix, with and without the diagonal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from aigi_core.transfer.matrix import TransferMatrix

MEANS: dict[str, tuple[str, str] | None] = {
    "mean": None,
    "diffusion to diffusion": ("diffusion", "diffusion"),
    "diffusion to GAN": ("diffusion", "gan"),
    "GAN to diffusion": ("gan", "diffusion"),
    "GAN to GAN": ("gan", "gan"),
}
"""Name -> (family trained on, family tested on); None for the mean of the whole matrix. Other
families count in the mean only."""


def paper_means(
    matrix: TransferMatrix, metric: str, *, diagonal: bool, without: Iterable[str] = ()
) -> pd.DataFrame:
    """The paper's summary of a matrix (section 3.1): its mean and four means by family.

    Args:
        diagonal: with the cells whose test generator was trained on, or without them.
        without: generators that are neither trained nor tested on.

    Returns:
        Columns ``name, value, low, high, n`` (cells); NaN where there is no such cell.
    """
    allowed = matrix.without(without)
    if not diagonal:
        allowed = allowed & ~matrix.in_domain
    rows, columns = np.array(matrix.train_families), np.array(matrix.test_families)
    result = []
    for name, families in MEANS.items():
        cells = allowed
        if families is not None:
            cells = allowed & (rows == families[0])[:, None] & (columns == families[1])
        result.append({"name": name, **vars(matrix.mean(metric, cells))})
    return pd.DataFrame(result)
