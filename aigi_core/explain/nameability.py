"""The paper's claim (section on words): the more nameable a detector, the worse it generalises.
Tested, with intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.reprs import ShortRepr
from aigi_core.statements import Finding

SMALLEST = 4
"""Below so many detectors a rank correlation can say nothing; it is then NaN, with its n."""


@dataclass(frozen=True, eq=False, repr=False)
class Nameability(ShortRepr):
    """Attributes:
    detectors: the table it was computed from: ``detector, family, nameable, ood``.
    correlations: ``family`` ("all" first), ``spearman, low, high, p_value`` (permutation,
    two-sided), ``n``.
    """

    detectors: pd.DataFrame
    correlations: pd.DataFrame

    def in_words(self) -> str:
        """The finding over all detectors, in a sentence."""
        result = self.correlations.iloc[0]
        if not np.isfinite(result["spearman"]):
            return (
                "All detectors have the same nearest-text cosine or the same accuracy, so no"
                " correlation can be computed."
            )
        finding = Finding(
            float(result["spearman"]),
            float(result["low"]),
            float(result["high"]),
            float(result["p_value"]),
            n=int(result["n"]),
            what="detector",
            needed=SMALLEST,
        )
        claim = finding.claim(
            "do better on generators they never saw",
            "do worse on generators they never saw",
            "are not shown to do better or worse on generators they never saw",
        )
        return (
            f"Detectors that words describe better {claim}: Spearman's correlation"
            f" {finding.numbers(2)}."
        )


def nameability(detectors: pd.DataFrame, draws: int = 2000, seed: int = 0) -> Nameability:
    """Spearman's correlation of nameability and OOD mean over detectors, over all and within each
    family.

    Args:
        detectors: columns ``detector, family, nameable`` (top cosine, or its excess over the null)
            and ``ood``.
        draws: bootstrap draws of detectors for the 95% interval, and permutations for the p-value.

    Raises:
        AigiError: columns are missing or fewer than :data:`SMALLEST` detectors in all.
    """
    missing = {"detector", "family", "nameable", "ood"} - set(detectors.columns)
    if missing:
        raise AigiError(f"The table of detectors lacks the columns {', '.join(sorted(missing))}.")
    if len(detectors) < SMALLEST:
        raise AigiError(
            f"A correlation over detectors needs at least {SMALLEST} of them, got {len(detectors)}:"
            " train on more generators."
        )
    rng = np.random.default_rng(seed)
    parts = [("all", detectors), *detectors.groupby("family", sort=False)]
    rows = [
        {
            "family": name,
            **_spearman(part["nameable"].to_numpy(float), part["ood"].to_numpy(float), draws, rng),
        }
        for name, part in parts
    ]
    return Nameability(detectors, pd.DataFrame(rows))


def _spearman(
    x: np.ndarray, y: np.ndarray, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    n = len(x)
    if n < SMALLEST:
        return {"spearman": np.nan, "low": np.nan, "high": np.nan, "p_value": np.nan, "n": n}
    observed = _rank_correlation(x[None], y[None])[0]
    picks = rng.integers(n, size=(draws, n))
    low, high = np.nanquantile(_rank_correlation(x[picks], y[picks]), [0.025, 0.975])
    shuffled = _rank_correlation(
        np.tile(x, (draws, 1)), rng.permuted(np.tile(y, (draws, 1)), axis=1)
    )
    p = (1 + (np.abs(shuffled) >= abs(observed) - 1e-12).sum()) / (1 + draws)
    return {
        "spearman": float(observed),
        "low": float(low),
        "high": float(high),
        "p_value": float(p),
        "n": n,
    }


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row pair; NaN where a draw holds one value only."""
    from scipy.stats import rankdata  # takes long to load

    a, b = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (x, y))
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    rho: np.ndarray = np.divide(
        (a * b).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0
    )
    return rho
