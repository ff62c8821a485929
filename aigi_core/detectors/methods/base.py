"""What a way of detecting is: a name, what it sees and costs, and how it is trained.

A new method is one file with a subclass of :class:`Method` (or of :class:`FeatureMethod`, which
does the protocol) decorated with :func:`register`, and an import in ``methods/__init__.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int, Int8

from aigi_core.detectors.detector import Detector, FeatureDetector, LinearDetector
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView, rescaled
from aigi_core.detectors.protocol import (
    Protocol,
    TrainingSet,
    as_sets,
    splits_needed,
    validation_scores,
)
from aigi_core.detectors.stored import load_detectors, save_detectors
from aigi_core.detectors.token_views import LayerView, PreView
from aigi_core.detectors.training import TrainingImages, training_images
from aigi_core.errors import AigiError, NotGivenError
from aigi_core.manifest import Domains
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

Rows = Float[np.ndarray, "n p"]
"""Features of n images."""
Labels = Int[np.ndarray, " n"]
"""Fake = 1, real = 0."""
Block = tuple[Rows, Labels]
"""The images of one split."""
Parameters = Mapping[str, Any]
"""Hyperparameters by name, JSON-serialisable: one point of a grid."""

METHODS: dict[str, Method] = {}
"""All methods by name, in the order in which controls and boards show them."""


def register(method: type[Method]) -> type[Method]:
    """Class decorator: make a method known by its name."""
    METHODS[method.name] = method()
    return method


def registered(name: str) -> Method:
    """The method that was registered under a name."""
    return METHODS[name]


class Method(ABC):
    """One way of detecting.

    Attributes:
        name: in links, files and provenance; lower case.
        title: in controls and tables.
        source: who published it.
        sees: which features, in words.
        chosen: its hyperparameters, and on which images each is chosen.
        cost: what training and scoring take, in words.
        linear: whether its detectors have weights, so that words, evidence and removals can be had.
        views: the feature views that it accepts; the first is its default.
        why_whole: why it sees nothing but the whole normalised embedding, where that is so.
        banks: text banks that its detectors depend on.
        slow: one detector takes tenths of a second or more, so that pages show how far they are.
        keeps: training takes long, so the job ``methods`` keeps its result (:meth:`keep`) for
            pages to read (:meth:`kept`).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    sees: ClassVar[str] = "Any feature view; the embedding by default."
    chosen: ClassVar[str]
    cost: ClassVar[str]
    linear: ClassVar[bool] = False
    views: ClassVar[tuple[type[FeatureView], ...]] = (
        EmbeddingView,
        HeadsView,
        PreView,
        LayerView,
    )
    why_whole: ClassVar[str] = ""
    banks: ClassVar[tuple[str, ...]] = ()
    slow: ClassVar[bool] = False
    keeps: ClassVar[bool] = False

    def missing(self, workspace: Workspace) -> str:
        """Why it cannot be trained on this workspace, in one sentence; empty where it can."""
        del workspace
        return ""

    def bound(self, workspace: Workspace) -> Method:
        """The method with what it takes of a workspace besides features (texts); itself where that
        is nothing. :meth:`train_on` is called of what this returns.
        """
        del workspace
        return self

    def default_view(self) -> FeatureView:
        return self.views[0]()

    def seconds(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | str,
        protocol: Protocol,
        *,
        twice: bool = False,
    ) -> float | None:
        """Seconds of a core that training takes, about; None where that was not measured.

        Args:
            twice: as :meth:`train_twice`.
        """
        del workspace, training_sets, view, protocol, twice
        return None

    @abstractmethod
    def train_on(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> Sequence[FeatureDetector]:
        """Train one detector a training set on given features."""

    def train_twice(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> tuple[Sequence[FeatureDetector], Sequence[FeatureDetector]]:
        """As :meth:`train_on`, and the same without the refit on validation images, which then can
        choose or judge. A method whose two share work overrides it.
        """
        alone = replace(protocol or Protocol(), refit=False)
        return self.train_on(images, training_sets, protocol), self.train_on(
            images, training_sets, alone
        )

    def train(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | None = None,
        protocol: Protocol | None = None,
    ) -> Sequence[Detector]:
        """Train one detector a training set on a workspace.

        Raises:
            AigiError: what this method needs is missing here, it does not accept this view, or a
                generator is unknown or lacks images of a class in a split.
        """
        view = view or self.default_view()
        self.check(workspace, view)
        images = training_images(workspace, training_sets, view)
        return self.bound(workspace).train_on(images, training_sets, protocol)

    def check(self, workspace: Workspace, view: FeatureView) -> None:
        """Raise AigiError where it cannot be trained on this view of this workspace."""
        if reason := self.missing(workspace):
            raise AigiError(reason)
        if not isinstance(view, self.views):
            kinds = " or ".join(accepted.kind for accepted in self.views)
            raise AigiError(
                f"{self.title} takes {kinds}, not the feature view {view.kind!r}: choose"
                " another feature view, or another method."
            )
        if self.why_whole and view != EmbeddingView():
            raise AigiError(f"{self.why_whole}: choose that feature view, or another method.")

    def keep(self, workspace: Workspace, detectors: Sequence[Detector], protocol: Protocol) -> None:
        """Store what makes :meth:`kept` quick; linear detectors as they are."""
        save_detectors(workspace, detectors, protocol)

    def kept(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | None = None,
        protocol: Protocol | None = None,
    ) -> Sequence[Detector] | None:
        """What :meth:`train` gives, where a job has kept it; else None."""
        view = view or self.default_view()
        if not isinstance(view, EmbeddingView):
            return None
        return load_detectors(workspace, training_sets, view, protocol, self.name)

    @abstractmethod
    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        """The same detector trained on the training split alone with the same hyperparameters, so
        that the validation images are new to it and can calibrate.
        """

    def twins(self, workspace: Workspace, detectors: Sequence[Detector]) -> list[Detector]:
        """The :meth:`twin` of each."""
        return [self.twin(workspace, one) for one in detectors]

    def null_weights(
        self, features: Rows, labels: Int8[np.ndarray, "B n"], detector: LinearDetector
    ) -> Float[np.ndarray, "B p"]:
        """Weights of the same training on B other sets of labels (shuffled ones: the null of
        explanations), for features that the view's penalty factors have scaled.
        """
        raise NotGivenError(
            f"The method {self.title!r} has no weights, hence no null for words: choose a linear"
            " method."
        )


class FeatureMethod(Method):
    """A method that fits features to labels under the paper's protocol: every point of a grid is
    fitted on the training split, the best on validation (accuracy, ties by log-loss, then by the
    grid's order) is fitted again on both splits.

    A subclass says what its grid is and how one point is fitted.

    Attributes:
        number_seconds: seconds of a core that a training set takes for each number of its features
            (images times width), grid and refits included; None where that was not measured.
        cube_seconds: what it takes besides, for each cube of the width.
    """

    scale: ClassVar[str] = "log-odds"
    number_seconds: ClassVar[float | None] = None
    cube_seconds: ClassVar[float] = 0.0

    def seconds(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | str,
        protocol: Protocol,
        *,
        twice: bool = False,
    ) -> float | None:
        del view, twice  # a further fit beside the grid's eight
        if self.number_seconds is None:
            return None
        width = int(workspace.embeddings.shape[1])
        numbers = numbers_of(workspace.domains, training_sets, protocol) * width
        own = len(as_sets(training_sets)) * width**3 * self.cube_seconds
        return numbers * self.number_seconds + own

    @abstractmethod
    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        """Hyperparameters to try, the simplest first."""

    @abstractmethod
    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        """Fit one point of the grid; returns what :meth:`make` takes."""

    def make(self, view: FeatureView, fitted: dict[str, Any], **common: Any) -> FeatureDetector:
        """The detector of what :meth:`fit` gave; linear by default."""
        return LinearDetector(view=view, **fitted, **common)

    def tune(
        self, detector: FeatureDetector, val: Block, parameters: Parameters, protocol: Protocol
    ) -> Parameters:
        """Parameters completed with what can only be set once a detector scores the validation
        images (an offset of its scores).
        """
        del detector, val, protocol
        return parameters

    def train_on(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> Sequence[FeatureDetector]:
        return [whole for whole, _ in self._trained(images, training_sets, protocol)]

    def train_twice(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None = None,
    ) -> tuple[Sequence[FeatureDetector], Sequence[FeatureDetector]]:
        """Both from one walk through the grid."""
        used = protocol or Protocol()
        if splits_needed(used) != splits_needed(replace(used, refit=False)):
            return super().train_twice(images, training_sets, protocol)  # nothing is chosen alone
        pairs = self._trained(images, training_sets, protocol, twice=True)
        whole, alone = zip(*pairs, strict=True)
        return whole, alone

    def _trained(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None,
        *,
        twice: bool = False,
    ) -> list[tuple[FeatureDetector, FeatureDetector]]:
        """A detector of each set, and (``twice``; otherwise itself) the same not refitted."""
        protocol, domains = protocol or Protocol(), images.domains
        view = images.view
        pairs = []
        for names in as_sets(training_sets):
            rows = {split: domains.rows(names, split) for split in splits_needed(protocol)}
            factors = self._factors(view, images.of(rows["train"]))
            blocks = {
                split: (rescaled(images.of(mine), factors), domains.labels[mine])
                for split, mine in rows.items()
            }
            kinds = [protocol, replace(protocol, refit=False)][: 1 + twice]
            try:
                made = self._run(blocks, kinds, view, names)
            except AigiError as error:
                raise AigiError(f"Training on {' + '.join(names)}: {error}") from error
            whole, *alone = (
                replace(
                    _for_view(detector, factors),
                    provenance={
                        **images.provenance,
                        **detector.provenance,
                        "protocol": used.record(),
                        "n_train": len(rows["train"]),
                        "n_val": len(rows.get("val", ())),
                    },
                )
                for detector, used in zip(made, kinds, strict=True)
            )
            pairs.append((whole, alone[0] if alone else whole))
        return pairs

    def _factors(
        self, view: FeatureView, features: Float[np.ndarray, "n p"]
    ) -> Float[np.ndarray, " p"] | None:
        """What features are multiplied by; without weights there is nothing to multiply back."""
        return view.penalty_factors(features) if self.linear else None

    def try_grid(
        self,
        grid: Sequence[Parameters],
        blocks: dict[str, Block],
        protocol: Protocol,
        make: Callable[..., FeatureDetector],
    ) -> tuple[list[Parameters], Float[np.ndarray, "m B"]]:
        """The grid's points, tuned, and the scores that each, fitted on the block ``train``, gives
        to the block ``val``; ``make`` is :meth:`make` for the view and the training set. A method
        whose points share work overrides it.
        """
        X, y = blocks["train"]
        tried = [make(self.fit(X, y, point, protocol)) for point in grid]
        tuned = [
            self.tune(detector, blocks["val"], point, protocol)
            for detector, point in zip(tried, grid, strict=True)
        ]
        tried = [
            make(self.fit(X, y, point, protocol)) if point != before else detector
            for detector, point, before in zip(tried, tuned, grid, strict=True)
        ]
        return tuned, np.stack([d.score(blocks["val"][0]) for d in tried], axis=1)

    def _run(
        self,
        blocks: dict[str, Block],
        kinds: Sequence[Protocol],
        view: FeatureView,
        names: tuple[str, ...],
    ) -> list[FeatureDetector]:
        """One detector a protocol; these differ in the refit alone."""
        X, y = blocks["train"]
        check_features(X, y)
        protocol = kinds[0]
        grid = list(self.grid(protocol))
        parameters: Parameters = grid[0]
        validation: dict[str, Any] = {}
        make = partial(self.make, view, training_set=names)
        if "val" in blocks:
            tuned, decisions = self.try_grid(grid, blocks, protocol, make)
            accuracy, loss = validation_scores(decisions, blocks["val"][1], protocol.class_weight)
            best = int(np.lexsort((np.arange(len(grid)), loss, -accuracy))[0])
            parameters = tuned[best]
            validation = {
                "grid": [dict(point) for point in tuned],
                "accuracy": accuracy.tolist(),
                "log_loss": loss.tolist(),
            }
        made = []
        for used in kinds:
            X, y = blocks["train"]
            if used.refit and "val" in blocks:
                X, y = (np.concatenate(parts) for parts in zip(*blocks.values(), strict=True))
            about = {
                "method": self.name,
                "scale": self.scale,
                "parameters": dict(parameters),
                "validation": validation,
            }
            made.append(make(self.fit(X, y, parameters, used), provenance=about))
        return made

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        if not isinstance(detector, FeatureDetector):
            return detector
        protocol = replace(protocol_of(detector), refit=False)
        rows = workspace.domains.rows(detector.training_set, "train")
        X = detector.view.matrix(workspace, rows)
        factors = self._factors(detector.view, X)
        fitted = self.fit(
            rescaled(X, factors),
            workspace.domains.labels[rows],
            detector.provenance["parameters"],
            protocol,
        )
        about = {**detector.provenance, "protocol": protocol.record()}
        twin = self.make(
            detector.view, fitted, training_set=detector.training_set, provenance=about
        )
        return _for_view(twin, factors)

    def null_weights(
        self, features: Rows, labels: Int8[np.ndarray, "B n"], detector: LinearDetector
    ) -> Float[np.ndarray, "B p"]:
        if not self.linear:
            return super().null_weights(features, labels, detector)
        parameters, protocol = detector.provenance["parameters"], protocol_of(detector)
        return np.stack(
            [self.fit(features, own, parameters, protocol)["weights"] for own in labels]
        )


def numbers_of(domains: Domains, training_sets: Sequence[TrainingSet], protocol: Protocol) -> int:
    """Images that the sets train and validate on, counted once for each set."""
    splits = splits_needed(protocol)
    return sum(len(domains.rows(names, splits)) for names in as_sets(training_sets))


class OffsetMethod(FeatureMethod):
    """A method whose scores have no threshold of their own: with a bias, the offset of highest
    accuracy on validation images is subtracted (the entry ``offset`` of its parameters).
    """

    def tune(
        self, detector: FeatureDetector, val: Block, parameters: Parameters, protocol: Protocol
    ) -> Parameters:
        if not protocol.fit_intercept:
            return parameters
        balanced = protocol.class_weight is not None
        return {**parameters, "offset": best_offset(detector.score(val[0]), val[1], balanced)}


def protocol_of(detector: Detector) -> Protocol:
    """The protocol that a detector remembers (the default where it remembers none)."""
    used = dict(detector.provenance.get("protocol", {}))
    weight = used.get("class_weight", "balanced")
    return Protocol(
        C=tuple(used.get("C", Protocol().C)),
        fit_intercept=bool(used.get("fit_intercept", True)),
        class_weight="balanced" if weight == "balanced" else None,
        grid="paper" if used.get("grid") == "paper" else "path",
        refit=bool(used.get("refit", True)),
    )


def at_grid_edge(detector: LinearDetector) -> bool:
    """Whether its C is the smallest or the largest that was tried: a value beyond might do
    better.
    """
    tried = protocol_of(detector).C
    return len(tried) > 1 and detector.C in (min(tried), max(tried))


def penalty_in_words(detector: LinearDetector) -> str:
    """What its C is, among which values it was chosen, and what to do where it is the first or the
    last of them.
    """
    tried = protocol_of(detector).C
    about = "Inverse strength of the penalty on the weights: a smaller C is a stronger penalty."
    if len(tried) < 2:
        return about
    about += (
        f" It was chosen on validation images among {counted(len(tried), 'value')} from"
        f" {min(tried):g} to {max(tried):g}."
    )
    if tied := tied_in_words(detector):
        about += (
            f" By accuracy {tied}; the one with the lowest log-loss was taken. Weights, and so the"
            " nearest texts, may differ among them."
        )
    if not at_grid_edge(detector):
        return about
    end, beyond = ("smallest", "smaller") if min(tried) == detector.C else ("largest", "larger")
    return f"{about} This is the {end}: a {beyond} one might do better. {WIDER_GRID}"


def tied_in_words(detector: Detector) -> str:
    """How many values of the grid do as well on the validation images as the chosen one, which
    then its log-loss sets apart; empty where it alone does best, or nothing was chosen.
    """
    accuracy = detector.provenance.get("validation", {}).get("accuracy", [])
    tied = accuracy.count(max(accuracy)) if accuracy else 0
    if tied < 2:
        return ""
    return (
        f"{tied} of {len(accuracy)} candidates do equally well on"
        f" {counted(detector.provenance['n_val'], 'validation image')}"
    )


WIDER_GRID = "To try, train in Python with more values, in Protocol(C=...)."
"""What to do where a C lies at the edge of its grid."""


def _for_view(
    detector: FeatureDetector, factors: Float[np.ndarray, " p"] | None
) -> FeatureDetector:
    """A detector fitted on scaled features, for features as its view gives them."""
    if factors is None or not isinstance(detector, LinearDetector):
        return detector
    return replace(detector, weights=detector.weights * factors)


def check_features(X: Float[np.ndarray, "n p"], y: Int[np.ndarray, " n"]) -> None:
    """Raise AigiError where nothing can be learnt: not finite, one class, or all rows alike."""
    if not np.isfinite(X).all():
        raise AigiError("The features hold NaN or infinity: encode those images again.")
    if len(np.unique(np.asarray(y) > 0)) < 2:
        raise AigiError(
            "Training needs real and fake images, and one class is missing: add images of it."
        )
    if (X[0] == X).all():
        raise AigiError(
            "All images have the same features, so a detector cannot be trained: encode"
            " the images again."
        )


def class_weights(y: Int[np.ndarray, " n"], protocol: Protocol) -> Float[np.ndarray, " n"]:
    """One weight an image, of mean 1: both classes alike where the protocol is balanced."""
    fake = np.asarray(y) > 0
    if protocol.class_weight is None:
        return np.ones(len(fake))
    n, fakes = len(fake), int(fake.sum())
    return np.where(fake, n / (2 * fakes), n / (2 * (n - fakes)))


def best_offset(
    scores: Float[np.ndarray, " n"], y: Int[np.ndarray, " n"], balanced: bool = True
) -> float:
    """The threshold of highest (balanced) accuracy, midway between scores; of several, the middle
    one.
    """
    order = np.argsort(scores, kind="stable")
    s, fake = scores[order], np.asarray(y)[order] > 0
    weight = np.where(fake, 1 / max(1, fake.sum()), 1 / max(1, (~fake).sum()))
    if not balanced:
        weight = np.ones(len(s))
    below_real = np.concatenate([[0.0], np.cumsum(weight * ~fake)])
    right = below_real + np.concatenate([[0.0], np.cumsum((weight * fake)[::-1])])[::-1]
    cuts = np.concatenate([[s[0] - 1e-6], (s[1:] + s[:-1]) / 2, [s[-1] + 1e-6]])
    possible = np.concatenate([[True], s[1:] > s[:-1], [True]])
    best = np.flatnonzero(possible & (right >= right[possible].max() - 1e-12))
    return float(cuts[best[len(best) // 2]])
