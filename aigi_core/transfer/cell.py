"""One cell of a transfer matrix, opened: scores, ROC, thresholds, confusion, and its most certain
mistakes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.calibration.probabilities import best_threshold, operating_point
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.reprs import ShortRepr
from aigi_core.scores import check_scores
from aigi_core.statements import counted


@dataclass(frozen=True, eq=False, repr=False)
class Cell(ShortRepr):
    """A detector's scores on one generator's test images.

    Attributes:
        rows: [n] rows of the workspace: the generator's fakes and its pools' real images.
        scores, labels: [n].
        thresholds: in words -> value: ``own`` (the detector's) and ``best on these images`` (it
            sees their labels). A threshold set on validation images needs a detector that has not
            seen them: :func:`aigi_core.calibration.thresholds.threshold_table`.
        groups: [n] number of each image's group.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"] = field(repr=False)
    labels: Int[np.ndarray, " n"] = field(repr=False)
    thresholds: dict[str, float]
    groups: Int[np.ndarray, " n"] = field(repr=False)

    def roc(self) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """False and true positive rate from (0, 0) to (1, 1); equal scores are one point."""
        order = np.argsort(-self.scores, kind="stable")
        last = np.append(np.diff(self.scores[order]) != 0, True)
        fake = self.labels[order] == FAKE
        fpr, tpr = (
            np.concatenate([[0.0], np.cumsum(hit)[last] / hit.sum()]) for hit in (~fake, fake)
        )
        return fpr, tpr

    def rates(self, threshold: float) -> tuple[float, float]:
        """(false positive rate, true positive rate) at a threshold: a point of the ROC curve."""
        flagged = self.scores > threshold
        return float(flagged[self.labels == REAL].mean()), float(
            flagged[self.labels == FAKE].mean()
        )

    def verdicts(self) -> pd.DataFrame:
        """One row a threshold: columns ``threshold, at, real_as_real, real_as_fake, fake_as_fake,
        fake_as_real, accuracy, balanced_accuracy, low, high`` (the interval is the balanced
        accuracy's)."""
        rows = []
        for name, threshold in self.thresholds.items():
            flagged = self.scores > threshold
            counts = {
                f"{word}_as_{called}": int(
                    ((self.labels == label) & (flagged == bool(verdict))).sum()
                )
                for word, label in (("real", REAL), ("fake", FAKE))
                for called, verdict in (("real", REAL), ("fake", FAKE))
            }
            point = operating_point(self.scores, self.labels, threshold, self.groups)
            rows.append(
                {
                    "threshold": name,
                    "at": threshold,
                    **counts,
                    "accuracy": (counts["real_as_real"] + counts["fake_as_fake"]) / len(self.rows),
                    "balanced_accuracy": point["balanced_accuracy"],
                    "low": point["balanced_accuracy_low"],
                    "high": point["balanced_accuracy_high"],
                }
            )
        return pd.DataFrame(rows)

    def mistakes(self, label: int, threshold: str = "own") -> pd.DataFrame:
        """Images of a class judged wrongly, most certain first: columns ``row, score, margin``
        (distance to the threshold).
        """
        wrong = self._wrong(threshold) & (self.labels == label)
        margin = np.abs(self.scores - self.thresholds[threshold])
        order = np.flatnonzero(wrong)[np.argsort(-margin[wrong], kind="stable")]
        return pd.DataFrame(
            {"row": self.rows[order], "score": self.scores[order], "margin": margin[order]}
        )

    def to_frame(self) -> pd.DataFrame:
        """One row an image: columns ``row`` (of the workspace), ``label`` (fake = 1) and
        ``score``.
        """
        return pd.DataFrame({"row": self.rows, "label": self.labels, "score": self.scores})

    def roc_frame(self) -> pd.DataFrame:
        """The ROC's corners: columns ``false_positive_rate`` and ``true_positive_rate``."""
        fpr, tpr = self.roc()
        return pd.DataFrame({"false_positive_rate": fpr, "true_positive_rate": tpr})

    def _wrong(self, threshold: str) -> Bool[np.ndarray, " n"]:
        if threshold not in self.thresholds:
            raise AigiError(
                f"There is no threshold {threshold!r} here; there are {', '.join(self.thresholds)}."
            )
        wrong: np.ndarray = (self.scores > self.thresholds[threshold]) != (self.labels == FAKE)
        return wrong


def open_cell(
    scores: Float[np.ndarray, " N"],
    domains: Domains,
    test: str,
    *,
    threshold: float = 0.0,
    split: str = "test",
) -> Cell:
    """Look into one cell.

    Args:
        scores: [N] one detector's decision values for every image of the workspace.
        test: the generator that it is tested on.
        threshold: the detector's own.

    Raises:
        AigiError: unknown generator, one without real or fake images in the split, or scores that
            do not fit.
    """
    values = check_scores(scores)[0]
    if len(values) != len(domains):
        raise AigiError(
            f"Expected a score for each of the workspace's {counted(len(domains), 'image')}, got"
            f" {len(values)}."
        )
    rows = domains.rows(test, split)
    labels = domains.labels[rows].astype(int)
    thresholds = {
        "own": float(threshold),
        "best on these images": best_threshold(values[rows], labels),
    }
    return Cell(rows, values[rows], labels, thresholds, domains.group_numbers(rows))
