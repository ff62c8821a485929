"""Ways to make one score of a panel's members: each is fitted on validation images and then joins
the members' calibrated log-odds.

A new one is a :class:`Rule` in :data:`RULES`. Which is the best on generators that a panel
does not know, :mod:`aigi_core.inspection.unseen` measures by leaving each out in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.special import softmax

from aigi_core.detectors.detector import Detector
from aigi_core.detectors.solvers.logistic import fit_logistic
from aigi_core.heads import Encoded, blocks
from aigi_core.manifest import FAKE
from aigi_core.reprs import ShortRepr
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

STACKING_C = 0.01
"""Inverse penalty of the stacked weights: small, since members agree and fakes are few."""


@dataclass(frozen=True, eq=False, repr=False)
class Members(ShortRepr):
    """What a panel's members say of some images.

    Attributes:
        logits: [K, n] calibrated log-odds.
        nearness: [K, n] cosine of each image to the nearest training fake of each member, images of
            its own group left out.
        own: [K, n] fakes by a generator that the member was trained on.
        labels: [n] fake = 1.
    """

    logits: Float[np.ndarray, "K n"] = field(repr=False)
    nearness: Float[np.ndarray, "K n"] = field(repr=False)
    own: Bool[np.ndarray, "K n"] = field(repr=False)
    labels: Int[np.ndarray, " n"] = field(repr=False)


Join = Callable[[Float[np.ndarray, "K n"], Float[np.ndarray, "K n"]], Float[np.ndarray, " n"]]
"""One score an image from the members' log-odds and their nearness."""


Learned = Float[np.ndarray, " p"]
"""What a rule has learned of validation images; empty for most."""


@dataclass(frozen=True)
class Rule:
    """A way to make one score: called with validation images, it gives their :data:`Join`.

    Attributes:
        join: one score an image from what was learned, the members' log-odds and their nearness.
        learn: what it needs of validation images, as numbers that a job can keep.
    """

    join: Callable[[Learned, np.ndarray, np.ndarray], np.ndarray]
    learn: Callable[[Members], Learned] = lambda members: np.zeros(0)

    def __call__(self, members: Members) -> Join:
        return partial(self.join, self.learn(members))


def _plain(join: Callable[[np.ndarray], np.ndarray]) -> Rule:
    """A rule that learns nothing and reads the log-odds alone."""
    return Rule(lambda learned, logits, nearness: np.asarray(join(logits)))


def _stacked_weights(members: Members) -> Learned:
    """Logistic regression on the members' log-odds (Wolpert 1992): weights, then intercept.

    A member that knows an image's generator would get all the weight, and no generator of a new
    image is known: its log-odds are replaced by the mean of the other members there.
    """
    logits = members.logits
    others = ~members.own
    mean = (logits * others).sum(axis=0) / np.maximum(others.sum(axis=0), 1)
    fit = fit_logistic(
        np.where(members.own, mean, logits).T,
        members.labels.astype(float),
        STACKING_C,
        class_weight="balanced",
    )
    return np.append(fit.weights[0], fit.intercept[0])


def _stacked(learned: Learned, logits: np.ndarray, nearness: np.ndarray) -> np.ndarray:
    return np.asarray(learned[:-1] @ logits + learned[-1])


def _spread(members: Members) -> Learned:
    return np.array([float(members.nearness.std(axis=0).mean()) or 1.0])


def _by_novelty(learned: Learned, logits: np.ndarray, nearness: np.ndarray) -> np.ndarray:
    """Mean of the members' log-odds, each weighted by how near the image lies to what the member
    was trained on (softmax of the nearness in units of its usual spread among members)."""
    return np.asarray((softmax(nearness / learned[0], axis=0) * logits).sum(axis=0))


RULES: dict[str, Rule] = {
    "mean": _plain(lambda logits: logits.mean(axis=0)),
    "median": _plain(lambda logits: np.median(logits, axis=0)),
    "maximum": _plain(lambda logits: logits.max(axis=0)),
    "mean of the three highest": _plain(lambda logits: np.sort(logits, axis=0)[-3:].mean(axis=0)),
    "stacking": Rule(_stacked, _stacked_weights),
    "weights by novelty": Rule(_by_novelty, _spread),
}
DEFAULT_RULE = "mean"
BY_NEARNESS = ("weights by novelty",)
"""Rules that read the nearness, too."""


KNOWN = 5000
"""Training fakes of a generator that nearness is measured to, at most."""


def nearness(
    workspace: Workspace,
    detectors: Sequence[Detector],
    images: Encoded,
    rows: Int[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "K n"]:
    """Cosine of images to the nearest fake of a workspace that each detector was trained on; -1
    where there is none. Of the workspace's own images those of their group are left out. Of more
    than :data:`KNOWN` such fakes of a generator, a random part stands for all.
    """
    domains = workspace.domains
    asked = np.arange(len(images.embeddings)) if rows is None else rows
    trained = np.flatnonzero((domains.labels == FAKE) & (domains.split == "train"))
    if len(trained) > KNOWN:
        mixed = np.random.default_rng(0).permutation(trained)
        rank = pd.Series(mixed).groupby(domains.generator[mixed]).cumcount().to_numpy()
        trained = np.sort(mixed[rank < KNOWN])
    by = domains.generator[trained]
    known = np.stack([np.isin(by, one.training_set) for one in detectors])
    fakes = unit_rows(workspace.embeddings[trained])
    group = domains.groups
    near = np.empty((len(detectors), len(asked)))
    for block in blocks(len(asked), max((1 << 26) // max(len(trained), 1), 1)):
        cosine = unit_rows(images.embeddings[asked[block]]) @ fakes.T
        if images is workspace:
            cosine[group[asked[block]][:, None] == group[trained]] = -1.0
        for member, of in enumerate(known):
            near[member, block] = cosine[:, of].max(axis=1, initial=-1.0)
    return near


def members_of(
    workspace: Workspace,
    detectors: Sequence[Detector],
    logits: Float[np.ndarray, "K n"],
    rows: Int[np.ndarray, " n"],
    rule: str,
) -> Members:
    """What a rule is fitted on: the members' calibrated log-odds of rows of a workspace, and their
    nearness where the rule reads it."""
    domains = workspace.domains
    own = np.stack([np.isin(domains.generator[rows], one.training_set) for one in detectors])
    return Members(
        logits,
        nearness(workspace, detectors, workspace, rows)
        if rule in BY_NEARNESS
        else np.zeros(logits.shape),
        own & (domains.labels[rows] == FAKE),
        domains.labels[rows].astype(int),
    )
