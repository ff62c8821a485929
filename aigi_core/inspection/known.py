"""What a panel is worth on test images of the generators that it knows: its probabilities, how
often it makes a call, and the rates that its limits give, pool by pool.

A rate is set for all validation images together. On one pool it may be another: that is measured
here. Generators that it does not know: :mod:`aigi_core.inspection.unseen`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aigi_core import calibration
from aigi_core.attribution.named import Named, difference_of_rates, mean_of_rates
from aigi_core.calibration import CalibrationError
from aigi_core.inspection.panel import Panel
from aigi_core.intervals import count_interval, rates_by_group
from aigi_core.manifest import FAKE, REAL
from aigi_core.transfer.bootstrap import Estimate
from aigi_core.transfer.difference import PairedDifference
from aigi_core.workspace import Workspace


def reliability_on_test(
    workspace: Workspace, panel: Panel, judge: int
) -> tuple[pd.DataFrame, CalibrationError]:
    """Stated probability against observed share on test images, which no detector and no
    calibration has seen.

    Returns:
        The reliability diagram's bins (see :func:`aigi_core.calibration.reliability`) and the
        calibration error.
    """
    domains, (rows, logits) = workspace.domains, _on_test(workspace, panel)
    probabilities = panel.calibrations[judge].probability(logits[judge])
    labels = domains.labels[rows].astype(int)
    groups = domains.group_numbers(rows)
    bins = calibration.reliability(probabilities, labels)
    return bins, calibration.calibration_error(probabilities, labels, groups=groups, draws=300)


def calls_on_test(workspace: Workspace, panel: Panel, rate: float) -> pd.DataFrame:
    """How every judge does on test images at a rate of false alarms, abstaining between its limits.

    Returns:
        Columns ``detector, undecided, undecided_low, undecided_high, n`` (share of all test images
        without a call) and ``right, right_low, right_high, calls`` (share of the calls that are
        right). Intervals are for images taken as independent; each class counts by its number.
    """
    rows, logits = _on_test(workspace, panel)
    labels = workspace.domains.labels[rows]
    judged = []
    for judge, name in enumerate(panel.names):
        calls = panel.calls(judge, logits[judge], rate)
        fake, real = calls == "fake", calls == "real"
        right = int((fake & (labels == FAKE)).sum() + (real & (labels == REAL)).sum())
        n, called = len(rows), int(fake.sum() + real.sum())
        undecided, shares = count_interval(n - called, n), count_interval(right, called)
        judged.append(
            {
                "detector": name,
                "undecided": 1 - called / n,
                "undecided_low": float(undecided[0]),
                "undecided_high": float(undecided[1]),
                "n": n,
                "right": right / called if called else np.nan,
                "right_low": float(shares[0]),
                "right_high": float(shares[1]),
                "calls": called,
            }
        )
    return pd.DataFrame(judged)


def rates_by_pool(workspace: Workspace, panel: Panel, judge: int, rate: float) -> pd.DataFrame:
    """False alarms and misses of one judge's limits on the test images of each pool.

    Returns:
        One row a pool, first all together (``pool`` ""): ``false_alarms`` (real images called
        generated) and ``missed`` (fakes called real), each with ``_low, _high`` (95%, images of a
        group together) and its ``n_real, n_fake``; ``set``, the rate that the limits were set for;
        ``fails``, what lies above it with its whole interval: "false alarms", "misses", both or "".
        NaN where a pool lacks a class. Empty for a judge whose score says nothing.
    """
    domains = workspace.domains
    if panel.calibrations[judge].slope <= 0:
        return pd.DataFrame()
    limits = panel.band(judge, rate)
    test, logits = _on_test(workspace, panel)
    calls = limits.verdict(logits[judge])
    labels, groups = domains.labels[test], domains.group_numbers(test)
    rows = []
    for pool in ("", *np.unique(domains.pool[test]).tolist()):
        mine = domains.pool[test] == pool if pool else np.ones(len(test), bool)
        real, fake = (mine & (labels == label) for label in (REAL, FAKE))
        errors = {
            "false_alarms": _share("false_alarms", calls[real] == "fake", groups[real]),
            "missed": _share("missed", calls[fake] == "real", groups[fake]),
        }
        failing = [
            words
            for name, words in (("false_alarms", "false alarms"), ("missed", "misses"))
            if errors[name][f"{name}_low"] > limits.rate
        ]
        rows.append(
            {
                "pool": pool,
                "fails": " and ".join(failing),
                **errors["false_alarms"],
                "n_real": int(real.sum()),
                **errors["missed"],
                "n_fake": int(fake.sum()),
                "set": limits.rate,
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Sides:
    """Real or generated, told by a judge and by a way of naming sources, on the same test images.

    Attributes:
        judge, named: balanced accuracy: of the judge at a probability of 0.5 (both classes equally
            frequent), and of names, where any generator's name means generated.
        gap: the judge's less the names', paired.
    """

    judge: Estimate
    named: Estimate
    gap: PairedDifference


def sides_on_test(workspace: Workspace, panel: Panel, judge: int, named: Named) -> Sides:
    """How often a judge and a way of naming are right on whether test images are generated."""
    rows, logits = _on_test(workspace, panel)
    both, at, of = np.intersect1d(rows, named.rows, return_indices=True)
    fake = workspace.domains.labels[both] == FAKE
    calls_fake = panel.calibrations[judge].probability(logits[judge][at]) > 0.5
    right = np.stack([calls_fake == fake, named.tells_real()[of]])
    stratum, group = fake.astype(int), named.group[of]
    of_judge, of_names = mean_of_rates(right, stratum, group)
    first, second = right.astype(float)
    return Sides(of_judge, of_names, difference_of_rates(first, second, stratum, group))


def _on_test(workspace: Workspace, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Rows of test images, and each judge's logit of them."""
    if workspace.digest == panel.workspace.digest:
        return panel.on_test
    rows = np.flatnonzero(workspace.domains.split == "test")
    return rows, panel.logits(workspace, rows)


def _share(name: str, wrong: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Share of images on the wrong side of a limit, with its interval; NaN where there are none."""
    if not len(wrong):
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    (rate,), (low, high) = rates_by_group(wrong[None].astype(float), groups)
    return {name: float(rate), f"{name}_low": float(low[0]), f"{name}_high": float(high[0])}
