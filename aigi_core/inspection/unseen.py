"""How far a panel may be trusted on generators that it does not know: each left out in turn.

A new image comes, as a rule, from a generator that the workspace does not hold. So for every
generator the panel is made again without it: its detectors and its validation fakes take no part in
members, calibration, band and novelty, and its test fakes are judged beside the real test images of
its pools.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import expit

from aigi_core import calibration
from aigi_core.calibration import CalibrationError
from aigi_core.calibration.uncertainty import platt_fits
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.errors import AigiError
from aigi_core.inspection.novelty import Nearest, nearest_of_held_out
from aigi_core.inspection.panel import Panel
from aigi_core.inspection.rules import DEFAULT_RULE, RULES, Members, nearness
from aigi_core.intervals import Groups, count_interval, mean_interval
from aigi_core.manifest import FAKE, REAL
from aigi_core.metrics import auc_of_images
from aigi_core.reprs import ShortRepr
from aigi_core.significance import q_values, sign_flip
from aigi_core.statements import ALPHA, DEFAULT_RATE
from aigi_core.workspace import Workspace

RATES = ("detected", "missed", "false_alarms")
JUDGED = 1000
"""Images of each generator and each pool's real ones in a split that take part, if they are more
than three times as many: an accuracy is then known to a standard error of 1.6 points."""


@dataclass(frozen=True, eq=False, repr=False)
class Trust(ShortRepr):
    """What a panel is worth on generators it does not know.

    Attributes:
        generators: one row a generator left out: ``generator, n_fake, n_real``, ``auc`` and, at the
            rate, ``detected`` (fakes called generated), ``missed`` (fakes called real),
            ``false_alarms`` (real images of its pools called generated), each with ``_low, _high``;
            ``novel`` (share of its fakes that lie farther from everything else than 95% of the
            other test images do).
        pools: one row a pool: ``pool, n``, ``false_alarms, false_alarms_low, false_alarms_high`` of
            its real test images, averaged over the generators left out.
        rules: one row a way of joining the members: ``rule, auc, detected, missed, false_alarms``
            (means over the generators left out), and its AUC less that of the mean, paired by
            generator: ``change, change_low, change_high, p_value``, and ``q_value`` over the other
            rules.
        rule: the way chosen: the mean, or the best of those whose AUC is higher (q < .05). The
            figures of a generator, in all other attributes, are those of the way that the *other*
            generators choose, or the choice would make them too high (``generators`` names it:
            ``rule``).
        reliability, error: probabilities on left-out generators (see
            :func:`aigi_core.calibration.reliability`).
    """

    generators: pd.DataFrame
    pools: pd.DataFrame
    rules: pd.DataFrame
    rule: str
    reliability: pd.DataFrame = field(repr=False)
    error: CalibrationError
    rate: float

    def mean(self, figure: str) -> tuple[float, float, float]:
        """A figure's mean over the generators left out, with its 95% interval (Student's t): what
        another generator would be expected to give, if it came as these did.

        Args:
            figure: ``auc``, ``detected``, ``missed``, ``false_alarms`` or ``novel``.
        """
        values = self.generators[figure].to_numpy(float)
        low, high = mean_interval(values, (0.0, 1.0))
        return float(values.mean()), float(low), float(high)


def trust_on_unseen(workspace: Workspace, panel: Panel, rate: float = DEFAULT_RATE) -> Trust:
    """Leave every generator out in turn; nothing is trained anew, for each detector knows one
    training set. Of more than :data:`JUDGED` images of a source in a split, a random part stands
    for all: ``n_fake`` and ``n_real`` count it.

    Raises:
        AigiError: fewer than two detectors are left once a generator is gone.
    """
    return trust_of_detectors(workspace, panel.detectors, rate)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What does not depend on a rate, and takes longest: what detectors say of held-out images, and
    what these lie near to.

    Attributes:
        rows: validation and test images that take part.
        scores: [K, n] of the detectors.
        nearness: [K, n] (:func:`~aigi_core.inspection.rules.nearness`).
        nearest: of test images to each source.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, "K n"]
    nearness: Float[np.ndarray, "K n"]
    nearest: Nearest

    @classmethod
    def of(cls, workspace: Workspace, detectors: Sequence[Detector]) -> HeldOut:
        """Look at all of them."""
        rows = workspace.domains.some_of_each_source(JUDGED, ("val", "test"))
        return cls(
            rows,
            score_detectors(detectors, workspace, rows),
            nearness(workspace, detectors, workspace, rows),
            nearest_of_held_out(workspace),
        )


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What a panel without one generator, joined by one rule, makes of its test images (``judged``,
    and as probabilities ``p``), beside the validation images that set its limits (``fitted``)."""

    row: dict[str, Any]
    fitted: Float[np.ndarray, " m"]
    known: Int[np.ndarray, " m"]
    judged: Float[np.ndarray, " n"]
    tested: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    p: Float[np.ndarray, " n"]

    @property
    def key(self) -> tuple[str, str]:
        return str(self.row["generator"]), str(self.row["rule"])

    @property
    def fakes(self) -> tuple[str, Int[np.ndarray, " m"]]:
        return str(self.row["generator"]), self.tested[self.labels == FAKE]

    def verdict(self, rate: float) -> np.ndarray:
        """ "fake", "real" or "uncertain" for each test image."""
        band = calibration.nearest_abstention_band(self.fitted, self.known, rate)
        return band.verdict(self.judged)


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Each generator left out in turn: all of :class:`Trust` that does not depend on a rate.

    Attributes:
        outcomes: by generator and rule.
        rules: of :class:`Trust`, without the columns at a rate.
        kept: of each generator the outcome under the rule that the others choose, and ``novel``.
        reliability, error: of :class:`Trust`.
    """

    outcomes: dict[tuple[str, str], _Outcome]
    rules: pd.DataFrame
    kept: tuple[tuple[_Outcome, dict[str, float]], ...]
    reliability: pd.DataFrame
    error: CalibrationError

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        detectors: Sequence[Detector],
        held_out: HeldOut | None = None,
    ) -> LeftOut:
        """By a panel's detectors, which is all that it takes of it.

        Args:
            held_out: what they say of held-out images, where it is at hand.
        """
        looked = held_out or HeldOut.of(workspace, detectors)
        groups, novel = workspace.domains.groups, _novelty(workspace, looked.nearest)
        outcomes = _outcomes(workspace, detectors, looked)
        if not outcomes:
            raise AigiError(
                "Trust on unknown generators needs at least two generators with validation and test"
                " images: add a second one."
            )
        rules = pd.DataFrame([one.row for one in outcomes.values()])
        table = _compared(rules)
        kept = []
        for name in dict.fromkeys(rules["generator"]):
            others = rules[rules["generator"] != name]
            rule = DEFAULT_RULE if others.empty else _choice(_compared(others))
            kept.append(outcomes[name, rule])
        p, y, g = (
            np.concatenate(parts)
            for parts in zip(
                *((one.p, one.labels, groups[one.tested]) for one in kept), strict=True
            )
        )
        return cls(
            outcomes,
            table,
            tuple((one, _share("novel", novel(*one.fakes))) for one in kept),
            calibration.reliability(p, y),
            calibration.calibration_error(p, y, groups=g, draws=300),
        )

    def trust(self, workspace: Workspace, rate: float = DEFAULT_RATE) -> Trust:
        """With limits set for a rate of false alarms (and of misses)."""
        verdicts = {key: one.verdict(rate) for key, one in self.outcomes.items()}
        rates = {key: _rates(verdicts[key], one.labels) for key, one in self.outcomes.items()}
        means = pd.DataFrame([{"rule": key[1]} | own for key, own in rates.items()])
        means = means.groupby("rule", sort=False)[list(RATES)].mean().reset_index()
        table = self.rules.copy()
        for at, name in enumerate(RATES, list(table.columns).index("auc") + 1):
            table.insert(at, name, means[name])
        rows, alarms = [], []
        for one, novel in self.kept:
            reals, verdict = one.labels == REAL, verdicts[one.key]
            rows.append(one.row | rates[one.key] | novel)
            alarms.append((one.tested[reals], verdict[reals] == "fake"))
        return Trust(
            pd.DataFrame(rows),
            _pools(workspace, alarms),
            table,
            _choice(table),
            self.reliability,
            self.error,
            rate,
        )


def trust_of_detectors(
    workspace: Workspace,
    detectors: Sequence[Detector],
    rate: float = DEFAULT_RATE,
    held_out: HeldOut | None = None,
) -> Trust:
    """As :func:`trust_on_unseen`, by the panel's detectors; of several rates, :class:`LeftOut`
    shares what they have in common.
    """
    return LeftOut.of(workspace, detectors, held_out).trust(workspace, rate)


def _outcomes(
    workspace: Workspace, detectors: Sequence[Detector], looked: HeldOut
) -> dict[tuple[str, str], _Outcome]:
    domains, held = workspace.domains, looked.rows
    val = held[domains.split[held] == "val"]
    scores, near = np.full((2, len(detectors), len(domains)), np.nan)
    scores[:, held], near[:, held] = looked.scores, looked.nearness
    own = np.stack([np.isin(domains.generator, one.training_set) for one in detectors])
    own &= domains.labels == FAKE
    outcomes: dict[tuple[str, str], _Outcome] = {}
    groups = domains.groups
    names = domains.generators
    # Each detector calibrated without each generator's validation fakes: [K, G, 2].
    without = np.stack([domains.generator[val] != name for name in names]).astype(float)
    fits = np.stack([platt_fits(row[val], domains.labels[val], without) for row in scores])
    for at, name in enumerate(names):
        members = np.flatnonzero([name not in one.training_set for one in detectors])
        if not len(members):
            continue
        fit = val[domains.generator[val] != name]
        tested = np.intersect1d(domains.rows(name, "test"), held, assume_unique=True)
        labels, known = domains.labels[tested].astype(int), domains.labels[fit].astype(int)
        if len(np.unique(known)) < 2:
            continue
        slope, intercept = fits[members, at, :1], fits[members, at, 1:]
        logits = {
            where: slope * scores[np.ix_(members, images)] + intercept
            for where, images in (("fit", fit), ("test", tested))
        }
        known_by = np.ix_(members, fit)
        seen = Members(logits["fit"], near[known_by], own[known_by], known)
        for rule, fit_rule in RULES.items():
            join = fit_rule(seen)
            fitted = join(logits["fit"], near[known_by])
            judged = join(logits["test"], near[np.ix_(members, tested)])
            row = {"rule": rule} | _row(name, judged, labels, groups[tested])
            [(a, b)] = platt_fits(fitted, known, np.ones((1, len(fit))))
            outcomes[name, rule] = _Outcome(
                row, fitted, known, judged, tested, labels, expit(a * judged + b)
            )
    return outcomes


def choose_rule(
    workspace: Workspace,
    panel: Panel,
    trust: Callable[[Workspace, Panel], Trust] = trust_on_unseen,
) -> str:
    """The rule that joins a panel's detectors best on generators left out (:class:`Trust`); the
    mean where there are too few to leave one out.

    Args:
        trust: where it is known already, at whatever rate: the rule does not depend on it.
    """
    if len(panel.detectors) < 2 or len(workspace.domains.generators) < 2:
        return DEFAULT_RULE
    try:
        return trust(workspace, panel).rule
    except AigiError:  # each of them knows every generator
        return DEFAULT_RULE


def _choice(rules: pd.DataFrame) -> str:
    better = rules[(rules["q_value"] < ALPHA) & (rules["change"] > 0)].sort_values("auc")
    return DEFAULT_RULE if better.empty else str(better["rule"].iloc[-1])


def _compared(rules: pd.DataFrame) -> pd.DataFrame:
    """Mean AUC over the generators left out, and each rule's less that of the mean rule."""
    table = rules.groupby("rule", sort=False)[["auc"]].mean().reset_index()
    auc = np.stack([rules.loc[rules["rule"] == name, "auc"] for name in table["rule"]])
    change = auc - auc[table["rule"].tolist().index(DEFAULT_RULE)]
    table["change"] = change.mean(axis=1)
    table["change_low"], table["change_high"] = mean_interval(change, (-1.0, 1.0))
    of = Groups.of(np.arange(change.shape[1]))
    p = sign_flip(change / change.shape[1], of)
    p[table["rule"] == DEFAULT_RULE] = np.nan
    return table.assign(p_value=p, q_value=q_values(p))


def _row(
    name: str,
    scores: Float[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
) -> dict[str, Any]:
    fake = labels == FAKE
    auc, low, high = auc_of_images(scores, labels, groups)
    return {
        "generator": name,
        "n_fake": int(fake.sum()),
        "n_real": int((~fake).sum()),
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
    }


def _rates(verdict: np.ndarray, labels: Int[np.ndarray, " n"]) -> dict[str, float]:
    fake = labels == FAKE
    return {
        **_share("detected", verdict[fake] == "fake"),
        **_share("missed", verdict[fake] == "real"),
        **_share("false_alarms", verdict[~fake] == "fake"),
    }


def _share(name: str, hits: np.ndarray) -> dict[str, float]:
    low, high = count_interval(int(hits.sum()), len(hits))
    mean = float(hits.mean()) if len(hits) else np.nan
    return {name: mean, f"{name}_low": float(low), f"{name}_high": float(high)}


def _pools(workspace: Workspace, alarms: list[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
    """False alarms by pool; an image that several panels judged counts once, with its mean."""
    rows = np.concatenate([images for images, _ in alarms])
    called = np.concatenate([flags for _, flags in alarms]).astype(float)
    by_image = pd.Series(called).groupby(rows).mean()
    pool = workspace.domains.pool[by_image.index.to_numpy(int)]
    table = []
    for name in np.unique(pool):
        mine = by_image.to_numpy()[pool == name]
        low, high = count_interval(float(mine.sum()), len(mine))
        table.append(
            {
                "pool": str(name),
                "n": len(mine),
                "false_alarms": float(mine.mean()),
                "false_alarms_low": float(low),
                "false_alarms_high": float(high),
            }
        )
    return pd.DataFrame(table)


def _novelty(
    workspace: Workspace, known: Nearest, level: float = 0.95
) -> Callable[[str, Int[np.ndarray, " n"]], np.ndarray]:
    """Whether images lie farther from everything but their own generator than most other test
    images do."""
    asked, by = known.rows, workspace.domains.generator[known.rows]

    def novel(name: str, rows: Int[np.ndarray, " n"]) -> np.ndarray:
        nearest = known.cosines[known.sources != name].max(axis=0)
        limit = np.quantile(nearest[by != name], 1 - level)
        return np.asarray(nearest[np.isin(asked, rows)] < limit)

    return novel
