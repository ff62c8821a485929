"""A workspace's detectors as a panel: what each score is worth as a probability, and all of them
together.

Calibrations are fitted on the validation images of the whole workspace (every generator, every
pool's real images), because an image of unknown origin may come from any of them: a detector that
knows one generator only is worth little on others, and its calibrated probability says so. The
detectors are trained without those images: what judges a new image is what calibration and band
were set on, or the band's rates would not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import expit

from aigi_core import calibration
from aigi_core.calibration import (
    AbstentionBand,
    Calibration,
    Ensemble,
)
from aigi_core.calibration.uncertainty import calibration_draws
from aigi_core.detectors.detector import (
    Detector,
    LinearDetector,
    no_direction,
    score_detectors,
)
from aigi_core.detectors.methods import twin
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.reading import Reading, read
from aigi_core.heads import Encoded
from aigi_core.inspection.rules import (
    BY_NEARNESS,
    DEFAULT_RULE,
    RULES,
    members_of,
    nearness,
)
from aigi_core.manifest import TOGETHER
from aigi_core.reprs import ShortRepr
from aigi_core.resampling import percentile_interval
from aigi_core.workspace import Workspace

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
DRAWS = 500


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a panel has learned of validation images, which a job keeps where they are many.

    Attributes:
        rule: how the detectors' calibrated log-odds are joined
            (:data:`~aigi_core.inspection.rules.RULES`).
        learned: by that rule.
        ensemble: every detector's calibration, and that of all together.
        together: [n] joined log-odds of the validation images.
        draws: [J, B, 2] slope and intercept of bootstrap draws of each calibration (groups of
            images; the ensemble's members stay as they are).
        tested: [m] joined log-odds of the test images, where they are at hand.
    """

    rule: str
    learned: Float[np.ndarray, " p"]
    ensemble: Ensemble
    together: Float[np.ndarray, " n"]
    draws: Float[np.ndarray, "J B 2"]
    tested: Float[np.ndarray, " m"] | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Panel(ShortRepr):
    """Calibrated detectors and their ensemble, which stands first.

    Attributes:
        names: one a judge: ``TOGETHER`` of the manifest (where there are several detectors), then
            each detector's own.
        detectors: K of them, trained without the workspace's validation images.
        fitted: how they are joined, and what was learned for it.
        readings: [J] the weights of each judge; the ensemble is linear too where all its members
            are and the rule is the mean. None for a judge without weights: see :meth:`reading`.
        calibrations: [J] from a judge's logit to a probability.
        held_out: [J, n] logits of the validation images, of detectors not trained on them.
        labels: [n].
        scores: what the detectors say of all images of the workspace, where that was at hand.
    """

    names: tuple[str, ...]
    detectors: tuple[Detector, ...]
    readings: tuple[Reading | None, ...]
    calibrations: tuple[Calibration, ...]
    held_out: Float[np.ndarray, "J n"]
    labels: Int[np.ndarray, " n"]
    fitted: Fitted
    workspace: Workspace = field(repr=False)
    scores: Float[np.ndarray, "K N"] | None = field(default=None, repr=False)

    @property
    def rule(self) -> str:
        return self.fitted.rule

    @property
    def ensemble(self) -> Ensemble:
        return self.fitted.ensemble

    @property
    def draws(self) -> Float[np.ndarray, "J B 2"]:
        return self.fitted.draws

    def joined_by(self, rule: str) -> Panel:
        """The same detectors joined by another rule: calibration, band and intervals of all
        together are set anew."""
        if rule == self.rule:
            return self
        return build_panel(self.workspace, self.detectors, rule=rule, scores=self.scores)

    def index(self, name: str) -> int:
        """Number of a judge; AigiError, which lists them, for an unknown one."""
        if name not in self.names:
            raise AigiError(
                f"There is no detector {name!r} here; there are {', '.join(self.names)}."
            )
        return self.names.index(name)

    def reading(self, judge: int) -> Reading:
        """The weights of a judge; AigiError, which says why, where it has none."""
        reading = self.readings[judge]
        if reading is None:
            first = len(self.names) - len(self.detectors)
            own = self.detectors[max(judge - first, 0) :][:1] if judge >= first else self.detectors
            without = [one for one in own if not _has_weights(one)]
            raise AigiError(
                no_direction(without[0])
                if without
                else f"All detectors together are combined by {self.rule}, which has no"
                " weights of its own: choose one detector to see the parts of its"
                " score."
            )
        return reading

    def logits(
        self, images: Encoded, rows: Int[np.ndarray, " n"] | None = None
    ) -> Float[np.ndarray, "J n"]:
        """Each judge's logit of each image."""
        return self._joined(score_detectors(self.detectors, images, rows), images, rows)

    def _joined(
        self,
        scores: Float[np.ndarray, "K n"],
        images: Encoded,
        rows: Int[np.ndarray, " n"] | None,
    ) -> Float[np.ndarray, "J n"]:
        """Logits of all together above those of each detector."""
        if len(self.detectors) == 1:
            return scores
        near = np.zeros(scores.shape)
        if self.rule in BY_NEARNESS:
            near = nearness(self.workspace, self.detectors, images, rows)
        join = RULES[self.rule].join
        logits = self.ensemble.member_logits(scores)
        return np.vstack([join(self.fitted.learned, logits, near), scores])

    @cached_property
    def on_test(self) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "J n"]]:
        """Rows of the workspace's test images, and each judge's logit of them."""
        rows = np.flatnonzero(self.workspace.domains.split == "test")
        scores = _of_rows(self.workspace, self.detectors, rows, self.scores)
        if (known := self.fitted.tested) is not None and len(self.detectors) > 1:
            return rows, np.vstack([known, scores])
        return rows, self._joined(scores, self.workspace, rows)

    def probability(
        self, judge: int, logit: float, prior: float = 0.5
    ) -> tuple[float, float, float]:
        """Calibrated probability of being fake, with its 95% interval from the calibration's own
        uncertainty.
        """
        one = self.calibrations[judge]
        shift = one.logit(np.zeros(()), prior) - one.logit(np.zeros(()))
        low, high = percentile_interval(
            expit(self.draws[judge, :, 0] * logit + self.draws[judge, :, 1] + shift)
        )
        return float(one.probability(np.asarray(logit), prior)), float(low), float(high)

    def band(self, judge: int, rate: float) -> AbstentionBand:
        """Logits between which a judge abstains at a rate of false alarms (and of misses); at the
        nearest rate, which its ``note`` says, where there are too few validation images.
        """
        if (judge, rate) not in self._bands:  # sorts all validation images
            self._bands[judge, rate] = calibration.nearest_abstention_band(
                self.held_out[judge], self.labels, rate
            )
        return self._bands[judge, rate]

    @cached_property
    def _bands(self) -> dict[tuple[int, float], AbstentionBand]:
        return {}

    def calls(self, judge: int, logits: Float[np.ndarray, " n"], rate: float) -> np.ndarray:
        """ "fake", "real" or "uncertain" for each image; "no verdict" where the judge's score says
        nothing about the label.
        """
        if self.calibrations[judge].slope <= 0:
            return np.full(len(logits), "no verdict")
        return self.band(judge, rate).verdict(logits)

    def verdicts(
        self, logits: Float[np.ndarray, " J"], rate: float, prior: float = 0.5
    ) -> pd.DataFrame:
        """What every judge says of one image.

        Returns:
            Columns ``detector, logit, probability, low, high, verdict`` ("fake", "real" or
            "uncertain"; "no verdict" where the score says nothing about the label), ``real_below,
            fake_above`` (logits), ``band_low, band_high`` (the same as probabilities),
            ``informative``, ``rate`` (the one set, see :meth:`band`).
        """
        rows = []
        for judge, (name, logit) in enumerate(zip(self.names, logits, strict=True)):
            probability, low, high = self.probability(judge, float(logit), prior)
            band = self.band(judge, rate)
            rows.append(
                {
                    "detector": name,
                    "logit": float(logit),
                    "probability": probability,
                    "low": low,
                    "high": high,
                    "verdict": str(self.calls(judge, np.array([logit]), rate)[0]),
                    "real_below": band.low,
                    "fake_above": band.high,
                    "band_low": self.probability(judge, band.low, prior)[0],
                    "band_high": self.probability(judge, band.high, prior)[0],
                    "informative": self.calibrations[judge].slope > 0,
                    "rate": band.rate,
                }
            )
        return pd.DataFrame(rows)


def build_panel(
    workspace: Workspace,
    detectors: Sequence[Detector] | None = None,
    *,
    rule: str = DEFAULT_RULE,
    scores: Float[np.ndarray, "K N"] | None = None,
) -> Panel:
    """Calibrate detectors on a workspace's validation images; by default one detector a generator.

    :func:`~aigi_core.inspection.unseen.choose_rule` gives it the rule that does best on generators
    left out.

    Args:
        scores: of all images of the workspace by these detectors, which have not seen validation
            images, where they are at hand.

    Raises:
        AigiError: no detectors, one of another encoder, or validation images that lack a class.
    """
    given = train(workspace, workspace.domains.generators) if detectors is None else detectors
    chosen = tuple(twin(workspace, one) for one in given)
    if not chosen:
        raise AigiError(
            "There are no detectors, because the workspace has no generators: add images of"
            " at least one."
        )
    rows, labels = _validation(workspace)
    held_out = _of_rows(workspace, chosen, rows, scores)
    ensemble = calibration.fit_ensemble(held_out, labels)
    members = members_of(workspace, chosen, ensemble.member_logits(held_out), rows, rule)
    learned = RULES[rule].learn(members)
    together = RULES[rule].join(learned, members.logits, members.nearness)
    if rule != DEFAULT_RULE:
        ensemble = replace(ensemble, whole=calibration.fit_calibration(together, labels))
    groups = workspace.domains.group_numbers(rows)
    judges = held_out if len(chosen) == 1 else np.vstack([together, held_out])
    draws = np.stack([calibration_draws(row, labels, groups, DRAWS) for row in judges])
    fitted = Fitted(rule, learned, ensemble, together, draws)
    return fitted_panel(workspace, chosen, fitted, scores)


def fitted_panel(
    workspace: Workspace,
    detectors: Sequence[Detector],
    fitted: Fitted,
    scores: Float[np.ndarray, "K N"] | None = None,
) -> Panel:
    """The panel of detectors that have not seen validation images, and of what was learned of
    these."""
    rows, labels = _validation(workspace)
    held_out = _of_rows(workspace, detectors, rows, scores)
    readings = [read(workspace, one) if _has_weights(one) else None for one in detectors]
    calibrations = list(fitted.ensemble.members)
    names = [one.name for one in detectors]
    if len(detectors) > 1:
        linear = all(readings) and fitted.rule == DEFAULT_RULE
        whole = _mean([r for r in readings if r], fitted.ensemble) if linear else None
        readings = [whole, *readings]
        calibrations = [fitted.ensemble.whole, *calibrations]
        held_out = np.vstack([fitted.together, held_out])
        names = [TOGETHER, *names]
    return Panel(
        tuple(names),
        tuple(detectors),
        tuple(readings),
        tuple(calibrations),
        held_out,
        labels,
        fitted,
        workspace,
        scores,
    )


def _validation(workspace: Workspace) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows and labels of validation images; AigiError where they lack a class."""
    rows = np.flatnonzero(workspace.domains.split == "val")
    labels = workspace.domains.labels[rows].astype(int)
    if len(np.unique(labels)) < 2:
        raise AigiError(
            "Probabilities need real and fake images in the validation split, but one class"
            " is missing: build the workspace with images of both."
        )
    return rows, labels


def _of_rows(
    workspace: Workspace,
    detectors: Sequence[Detector],
    rows: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, "K N"] | None,
) -> Float[np.ndarray, "K n"]:
    return score_detectors(detectors, workspace, rows) if scores is None else scores[:, rows]


def _has_weights(detector: Detector) -> bool:
    return isinstance(detector, LinearDetector) and detector.has_direction


def _mean(readings: Sequence[Reading], ensemble: Ensemble) -> Reading:
    """The ensemble as one reading; AigiError where members divide by different lengths."""
    if len({reading.normalised for reading in readings}) > 1:
        raise AigiError(
            "Detectors on normalised and on plain embeddings cannot be explained together:"
            " choose detectors of one kind."
        )
    shares = [member.slope / len(readings) for member in ensemble.members]
    heads: dict = {}
    for share, reading in zip(shares, readings, strict=True):
        for head, own in reading.heads.items():
            heads[head] = heads.get(head, 0.0) + share * own
    pairs = list(zip(shares, readings, ensemble.members, strict=True))
    bias = sum(s * r.bias + m.intercept / len(readings) for s, r, m in pairs)
    embedding = np.sum([s * r.embedding for s, r, _ in pairs], axis=0)
    return replace(readings[0], bias=float(bias), embedding=embedding, heads=heads)
