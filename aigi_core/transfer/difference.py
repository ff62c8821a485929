"""Is one matrix better than another? Paired bootstrap over the same draws, with Benjamini-Hochberg
over cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.special import ndtr

from aigi_core.errors import AigiError
from aigi_core.resampling import percentile_interval, q_values
from aigi_core.transfer.matrix import TransferMatrix
from aigi_core.transfer.metrics import DEFAULT_METRIC


@dataclass(frozen=True)
class PairedDifference:
    """A difference ``a - b`` with its interval and two-sided p-value; ``n`` counts the cells
    averaged.
    """

    value: float
    low: float
    high: float
    p_value: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p_value:.3g}"


@dataclass(frozen=True, eq=False)
class MatrixDifference:
    """``a - b`` in every cell.

    Attributes:
        values, low, high: [K, T], the difference and its percentile interval.
        p_value: [K, T], two-sided, of the hypothesis of no difference.
        q_value: [K, T], p-values after Benjamini-Hochberg over all cells: calling the cells with q
            below .05 different keeps the expected share of wrong calls among them below .05.
        draws: [B, K, T].
    """

    metric: str
    train_names: tuple[str, ...]
    test: tuple[str, ...]
    values: Float[np.ndarray, "K T"] = field(repr=False)
    low: Float[np.ndarray, "K T"] = field(repr=False)
    high: Float[np.ndarray, "K T"] = field(repr=False)
    p_value: Float[np.ndarray, "K T"] = field(repr=False)
    q_value: Float[np.ndarray, "K T"] = field(repr=False)
    draws: Float[np.ndarray, "B K T"] = field(repr=False)
    confidence: float = 0.95

    def mean(self, cells: Bool[np.ndarray, "K T"] | None = None) -> PairedDifference:
        """The mean difference over cells (all of them by default), paired."""
        chosen = np.ones(self.values.shape, bool) if cells is None else cells
        if not chosen.any():
            return PairedDifference(np.nan, np.nan, np.nan, np.nan, 0)
        means = self.draws[:, chosen].mean(axis=1, dtype=np.float64)
        value = float(self.values[chosen].mean())
        low, high = percentile_interval(means, self.confidence)
        p = float(paired_p_value(np.array(value), means))
        return PairedDifference(value, float(low), float(high), p, int(chosen.sum()))

    def to_frame(self) -> pd.DataFrame:
        """Tidy long table: ``train, test, metric, value, low, high, p_value, q_value``."""
        index = pd.MultiIndex.from_product([self.train_names, self.test], names=["train", "test"])
        columns = {
            name: getattr(self, name).ravel()
            for name in ("values", "low", "high", "p_value", "q_value")
        }
        return (
            index.to_frame(index=False)
            .assign(metric=self.metric, **columns)
            .rename(columns={"values": "value"})
        )


def difference(
    a: TransferMatrix, b: TransferMatrix, metric: str = DEFAULT_METRIC
) -> MatrixDifference:
    """``a - b``, cell by cell, on the same images and the same draws.

    The rows may come from different training sets (they are compared in order, under the names of
    ``a``).

    Raises:
        AigiError: the two were not measured on the same images and draws, or have other test
            generators or sizes.
    """
    for what in ("split", "draws", "seed", "images"):
        if a.protocol[what] != b.protocol[what]:
            raise AigiError(
                f"The two matrices are not paired: {what} is {a.protocol[what]} in one and"
                f" {b.protocol[what]} in the other; measure both with the same split, draws and"
                " seed on the same workspace."
            )
    if a.test != b.test or len(a.train) != len(b.train):
        raise AigiError(
            f"The two matrices have other shapes or test generators ({len(a.train)} x {len(a.test)}"
            f" and {len(b.train)} x {len(b.test)}): give both the same rows and columns."
        )
    if metric not in a.values or metric not in b.values:
        raise AigiError(f"The metric {metric!r} was not measured in both matrices.")
    draws = a.draws[metric] - b.draws[metric]
    values = a.values[metric] - b.values[metric]
    low, high = percentile_interval(draws, a.protocol["confidence"])
    p = paired_p_value(values, draws)
    return MatrixDifference(
        metric,
        a.train_names,
        a.test,
        values,
        low,
        high,
        p,
        q_values(p),
        draws,
        confidence=a.protocol["confidence"],
    )


def paired_p_value(
    values: Float[np.ndarray, ...], draws: Float[np.ndarray, "B ..."]
) -> Float[np.ndarray, ...]:
    """Two-sided p-value of a paired difference: the normal tail at value / standard deviation of
    its draws.

    Unlike the share of draws beyond 0 it resolves small p-values (which a correction over 200 cells
    needs) and does not call a handful of discordant images significant. Where no draw differs from
    the value, it is 1 for no difference and 1 / (B + 1), the smallest that B draws can support, for
    any other.
    """
    spread = np.nanstd(draws, axis=0, ddof=1, dtype=np.float64)
    flat = spread < 1e-9
    normal = 2 * ndtr(-np.abs(values) / np.where(flat, 1.0, spread))
    degenerate = np.where(np.abs(values) < 1e-9, 1.0, 1 / (len(draws) + 1))
    p: np.ndarray = np.where(flat, degenerate, normal)
    return p


def standings(
    detectors: Mapping[str, TransferMatrix], reference: str, metric: str = DEFAULT_METRIC
) -> pd.DataFrame:
    """Single detectors beside one of them, paired over the generators that none of the two was
    trained on.

    Args:
        detectors: name -> matrix of one row, all measured with the same split, draws and seed.
        reference: the name of the detector that the others are compared with.

    Returns:
        ``name, in_domain, ood, ood_low, ood_high, n_ood`` and, against the reference, ``change,
        change_low, change_high, p_value, n_common`` (missing for the reference itself).

    Raises:
        AigiError: the matrices are not paired, or have more than one row.
    """
    base, rows = detectors[reference], []
    for name, matrix in detectors.items():
        inside, ood = matrix.mean(metric, matrix.in_domain), matrix.mean(metric, ~matrix.in_domain)
        row = {
            "name": name,
            "in_domain": inside.value,
            "ood": ood.value,
            "ood_low": ood.low,
            "ood_high": ood.high,
            "n_ood": ood.n,
        }
        gap = difference(matrix, base, metric).mean(~matrix.in_domain & ~base.in_domain)
        if name != reference:
            row |= {
                "change": gap.value,
                "change_low": gap.low,
                "change_high": gap.high,
                "p_value": gap.p_value,
                "n_common": gap.n,
            }
        rows.append(row)
    columns = [*rows[0], "change", "change_low", "change_high", "p_value", "n_common"]
    table = pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))
    return table.astype({"n_common": "Int64"})
