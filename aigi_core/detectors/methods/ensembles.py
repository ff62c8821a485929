"""Ensembles of methods: the mean of calibrated logits (Platt 1999) and stacking (Wolpert 1992).

What combines the members is fitted on scores of images that were new to them: each fold of groups
is scored by members trained on the other folds, which choose their hyperparameters there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from aigi_core import results
from aigi_core.detectors.detector import KINDS, Detector, FeatureDetector, score_features
from aigi_core.detectors.detector import register as register_kind
from aigi_core.detectors.features import EmbeddingView, FeatureView, view_from_spec
from aigi_core.detectors.methods import (  # noqa: F401 (its members)
    logistic_regression,
    neighbours,
    other_linear,
)
from aigi_core.detectors.methods.base import METHODS, Method, protocol_of, register
from aigi_core.detectors.protocol import Protocol, TrainingSet, as_sets, splits_needed
from aigi_core.detectors.solvers.logistic import fit_logistic
from aigi_core.detectors.training import TrainingImages, training_images
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.reprs import ShortRepr
from aigi_core.results import ResultKind
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

MEMBERS = ("logistic", "ridge", "knn")
"""Chosen for being unlike each other: a linear model of odds, one of labels, and a local one."""
FOLDS = 5
COMBINATIONS = ResultKind("combinations", "combinations of ensembles", job="methods", format=1)
"""Raise its format when training gives others than before."""
Combination = tuple[Float[np.ndarray, " K"], float]
"""Slopes of the members' scores, and a bias."""
PENALTY = 1e3
"""Of the combining regression (its C): on a handful of unit-variance scores next to none."""


@register_kind
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class EnsembleDetector(FeatureDetector, ShortRepr):
    """A weighted sum of its members' scores.

    Attributes:
        members: detectors that see the same view.
        slopes: [K], one a member.
        bias: added to the sum, which is log-odds.
    """

    kind: ClassVar[str] = "ensemble"

    members: tuple[FeatureDetector, ...]
    slopes: Float[np.ndarray, " K"]
    bias: float

    def score(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
        scores: np.ndarray = self.slopes @ score_features(self.members, features) + self.bias
        return scores

    def arrays(self) -> dict[str, np.ndarray]:
        saved = {"slopes": np.asarray(self.slopes, np.float64)}
        for k, member in enumerate(self.members):
            saved |= {f"{k}.{name}": array for name, array in member.arrays().items()}
        return saved

    def about(self) -> dict[str, Any]:
        members = [
            {**member.about(), "kind": member.kind, "provenance": member.provenance}
            for member in self.members
        ]
        return {"view": self.view.spec(), "bias": self.bias, "members": members}

    @classmethod
    def build(
        cls, arrays: dict[str, np.ndarray], about: dict[str, Any], **common: Any
    ) -> EnsembleDetector:
        members = []
        for k, one in enumerate(about["members"]):
            own = {
                name.removeprefix(f"{k}."): array
                for name, array in arrays.items()
                if name.startswith(f"{k}.")
            }
            provenance = dict(one["provenance"])
            member = KINDS[one["kind"]].build(
                own, one, training_set=common["training_set"], provenance=provenance
            )
            if not isinstance(member, FeatureDetector) or isinstance(member, EnsembleDetector):
                raise ValueError(f"a member is of the kind {one['kind']!r}")
            members.append(member)
        slopes, bias = arrays["slopes"].astype(np.float64), float(about["bias"])
        if slopes.shape != (len(members),) or not np.isfinite([*slopes, bias]).all():
            raise ValueError(f"expected {counted(len(members), 'finite slope')} and a bias")
        view = view_from_spec(about["view"])
        return cls(view=view, members=tuple(members), slopes=slopes, bias=bias, **common)


class Ensemble(Method):
    """Several methods on one view, combined; a subclass says how (:meth:`combine`)."""

    members: ClassVar[tuple[str, ...]] = MEMBERS
    chosen = (
        "Each member's hyperparameters on validation images. The combination is fitted to"
        " scores from five folds of groups, so that no member has been trained on the images"
        " that it scores."
    )
    cost = "Trains its members six times, scores with all of them."
    slow = keeps = True
    views: ClassVar[tuple[type[FeatureView], ...]] = (EmbeddingView,)

    def seconds(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | str,
        protocol: Protocol,
        *,
        twice: bool = False,
    ) -> float:
        members = (
            METHODS[one].seconds(workspace, training_sets, view, protocol) for one in MEMBERS
        )
        return (1 + twice) * (1 + FOLDS) * sum(one or 0.0 for one in members)

    def combine(
        self, scores: Float[np.ndarray, "K n"], y: Int[np.ndarray, " n"], protocol: Protocol
    ) -> Combination:
        """Slopes and bias from scores of images that were new to the members."""
        raise NotImplementedError

    def train_on(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> Sequence[FeatureDetector]:
        protocol = protocol or Protocol()
        combined = [self._combined(images, names, protocol) for names in as_sets(training_sets)]
        return self._joined(images, training_sets, combined, protocol)

    def _combined(
        self, images: TrainingImages, names: tuple[str, ...], protocol: Protocol
    ) -> Combination:
        """Slopes and bias, from scores of every fold by members trained on the others."""
        domains = images.domains
        # A fit without its validation images leaves them new to the combination as well.
        splits = splits_needed(protocol) if protocol.refit else ("train",)
        rows = domains.rows(names, splits)
        y = domains.labels[rows]
        scores = np.empty((len(self.members), len(rows)))
        for held in folds(y, domains.group[rows], names):
            split = domains.split.astype(object)
            split[rows[held]] = "held out"
            known = replace(domains, split=split.astype(str))
            members = self._members(replace(images, domains=known), names, protocol)
            scores[:, held] = score_features(members, images.of(rows[held]))
        return self.combine(scores, y, protocol)

    def _members(
        self, images: TrainingImages, names: tuple[str, ...], protocol: Protocol
    ) -> tuple[FeatureDetector, ...]:
        return tuple(METHODS[one].train_on(images, [names], protocol)[0] for one in self.members)

    def _joined(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        combined: Sequence[Combination],
        protocol: Protocol,
    ) -> list[EnsembleDetector]:
        domains, detectors = images.domains, []
        for names, (slopes, bias) in zip(as_sets(training_sets), combined, strict=True):
            about = {
                **images.provenance,
                "method": self.name,
                "scale": "log-odds",
                "members": list(self.members),
                "folds": FOLDS,
                "protocol": protocol.record(),
                "n_train": len(domains.rows(names, "train")),
                "n_val": len(domains.rows(names, "val")),
                "validation": {},
            }
            detectors.append(
                EnsembleDetector(
                    view=images.view,
                    members=self._members(images, names, protocol),
                    slopes=slopes,
                    bias=bias,
                    training_set=names,
                    provenance=about,
                )
            )
        return detectors

    def keep(self, workspace: Workspace, detectors: Sequence[Detector], protocol: Protocol) -> None:
        """The combinations, a hundred bytes a detector: the members are trained again at once."""
        own = [detector for detector in detectors if isinstance(detector, EnsembleDetector)]
        arrays = {
            "slopes": np.stack([detector.slopes for detector in own]),
            "bias": np.array([detector.bias for detector in own]),
        }
        key = self._key([detector.training_set for detector in own], own[0].view, protocol)
        results.publish(workspace, COMBINATIONS, key, {"combinations.npz": arrays})

    def kept(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | None = None,
        protocol: Protocol | None = None,
    ) -> Sequence[Detector] | None:
        view, protocol = view or self.default_view(), protocol or Protocol()
        sets = as_sets(training_sets)
        try:
            stored = results.load(workspace, COMBINATIONS, self._key(sets, view, protocol))
            arrays = stored.arrays("combinations.npz")
            slopes, bias = arrays["slopes"], arrays["bias"]
        except (WorkspaceError, KeyError):
            return None
        whole = slopes.shape == (len(sets), len(self.members)) and bias.shape == (len(sets),)
        if not whole or not np.isfinite(slopes).all() or not np.isfinite(bias).all():
            return None
        combined = [(own, float(constant)) for own, constant in zip(slopes, bias, strict=True)]
        return self._joined(training_images(workspace, sets, view), sets, combined, protocol)

    def _key(
        self, sets: Sequence[tuple[str, ...]], view: FeatureView, protocol: Protocol
    ) -> dict[str, Any]:
        """What a stored combination belongs to."""
        return {
            "method": self.name,
            "members": list(self.members),
            "sets": [list(names) for names in sets],
            "view": view.spec(),
            "protocol": asdict(protocol),
        }

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        if not isinstance(detector, EnsembleDetector):
            return detector
        protocol = replace(protocol_of(detector), refit=False)
        return self.train(workspace, [detector.training_set], detector.view, protocol)[0]


@register
class MeanEnsemble(Ensemble):
    name = "ensemble-mean"
    title = "Ensemble, mean of logits"
    source = "Platt 1999, for each member's log-odds, of which the mean is taken"

    def combine(
        self, scores: Float[np.ndarray, "K n"], y: Int[np.ndarray, " n"], protocol: Protocol
    ) -> Combination:
        alone = [_regression(own[None], y, protocol) for own in scores]
        slopes = np.array([slope[0] for slope, _ in alone])
        return slopes / len(alone), float(np.mean([bias for _, bias in alone]))


@register
class StackedEnsemble(Ensemble):
    name = "ensemble-stacked"
    title = "Ensemble, stacked"
    source = "Wolpert 1992, with logistic regression on the members' scores"

    def combine(
        self, scores: Float[np.ndarray, "K n"], y: Int[np.ndarray, " n"], protocol: Protocol
    ) -> Combination:
        return _regression(scores, y, protocol)


def folds(
    y: Int[np.ndarray, " n"], group: np.ndarray, names: Sequence[str]
) -> list[Int[np.ndarray, " m"]]:
    """Row numbers of each fold: groups stay whole, classes are spread evenly.

    Raises:
        AigiError: a class has too few groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(group[y == label])) for label in (0, 1))
    if fewest < FOLDS:
        raise AigiError(
            f"Training on {' + '.join(names)}: an ensemble needs {FOLDS} groups of images of each"
            f" class, one class has {fewest}: add images, or choose another method."
        )
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return [held for _, held in split.split(y[:, None], y, group)]


def _regression(
    scores: Float[np.ndarray, "K n"], y: Int[np.ndarray, " n"], protocol: Protocol
) -> Combination:
    """Logistic regression on scores brought to mean 0 and variance 1, in units of the scores."""
    middle, spread = scores.mean(axis=1), scores.std(axis=1)
    spread = np.where(spread > 0, spread, 1.0)
    fit = fit_logistic(
        ((scores - middle[:, None]) / spread[:, None]).T,
        y,
        PENALTY,
        fit_intercept=protocol.fit_intercept,
        class_weight=protocol.class_weight,
    )
    slopes = fit.weights[0] / spread
    return slopes, float(fit.intercept[0] - slopes @ middle)
