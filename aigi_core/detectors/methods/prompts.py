"""Learned prompts: context vectors before the words of both classes, trained against stored image
embeddings on a frozen text tower (CoOp, Zhou et al. 2022); what comes out is linear in the joint
space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, Int8

from aigi_core.detectors.detector import Detector, FeatureDetector, LinearDetector
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods.base import (
    Block,
    FeatureMethod,
    Labels,
    Parameters,
    Rows,
    class_weights,
    protocol_of,
    register,
)
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError, NotGivenError
from aigi_core.workspace import Workspace

if TYPE_CHECKING:
    from aigi_core.clip.prompts import Learnt, TextTower

CLASSES = ("real photograph", "generated image")
"""Words of real and of generated images, after the context."""
VECTORS = (4, 16)
"""Of the context; CoOp tries 4, 8 and 16."""
STEPS = (10, 30, 100)
AT_ONCE = 8
"""Sets of shuffled labels whose texts go through the tower together."""


@register
class LearnedPrompts(FeatureMethod):
    name = "prompts"
    title = "Learned prompts"
    source = "Zhou et al. 2022 (CoOp), one context for both classes"
    sees = "The cosines of the embedding with two texts, whose first words are learnt as vectors."
    chosen = "Context of 4 or 16 vectors, and 10, 30 or 100 steps, by validation accuracy."
    cost = (
        "Trains each detector in tens of seconds, through the text tower; scores with one"
        " matrix product."
    )
    linear = True
    slow = keeps = True
    views = (EmbeddingView,)
    why_whole = "Texts are compared with the whole normalised embedding"

    def __init__(self, tower: TextTower | None = None) -> None:
        self.tower = tower

    def missing(self, workspace: Workspace) -> str:
        if self.tower is not None:
            return ""
        try:
            workspace.need("texts")
        except NotGivenError as error:
            return f"{self.title} need a text tower for training. {error}"
        return ""

    def bound(self, workspace: Workspace) -> LearnedPrompts:
        if self.tower is not None:
            return self
        from aigi_core.clip.workspace_encoder import given_weights, workspace_encoder

        encoder = workspace_encoder(workspace, *given_weights())
        if encoder.text_tower is None:
            raise NotGivenError(
                f"The encoder {encoder.model!r} has no text tower, which training prompts"
                f" needs: {encoder.why_no_texts or 'its texts come from elsewhere'}."
            )
        return type(self)(encoder.text_tower)

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        return [{"vectors": vectors, "steps": steps} for vectors in VECTORS for steps in STEPS]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        vectors, steps = int(parameters["vectors"]), [int(parameters["steps"])]
        [learnt] = self._learn(X, np.asarray(y)[None], vectors, steps, protocol)
        return {"weights": learnt.weights[0], "bias": float(learnt.bias[0])}

    def _learn(
        self,
        X: Rows,
        labels: Int[np.ndarray, "B n"],
        vectors: int,
        steps: Sequence[int],
        protocol: Protocol,
    ) -> list[Learnt]:
        from aigi_core.clip.prompts import learn_prompts

        if self.tower is None:
            raise AigiError(
                f"{self.title} are learnt on the text tower of a workspace's encoder: train them on"
                " one, or choose another method here."
            )
        return learn_prompts(
            self.tower,
            CLASSES,
            X,
            labels,
            np.stack([class_weights(y, protocol) for y in labels]),
            vectors=vectors,
            steps=steps,
            fit_intercept=protocol.fit_intercept,
        )

    def try_grid(
        self,
        grid: Sequence[Parameters],
        blocks: dict[str, Block],
        protocol: Protocol,
        make: Callable[..., FeatureDetector],
    ) -> tuple[list[Parameters], Float[np.ndarray, "m B"]]:
        """One path a length of the context: fewer steps are its beginning."""
        del make
        (X, y), (images, _) = blocks["train"], blocks["val"]
        scores = []
        for vectors, points in groupby(grid, lambda point: int(point["vectors"])):
            steps = [int(point["steps"]) for point in points]
            for learnt in self._learn(X, np.asarray(y)[None], vectors, steps, protocol):
                scores.append(images @ learnt.weights[0] + learnt.bias[0])
        return list(grid), np.stack(scores, axis=1)

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        return super(LearnedPrompts, self.bound(workspace)).twin(workspace, detector)

    def null_weights(
        self, features: Rows, labels: Int8[np.ndarray, "B n"], detector: LinearDetector
    ) -> Float[np.ndarray, "B p"]:
        parameters, protocol = detector.provenance["parameters"], protocol_of(detector)
        vectors, steps = int(parameters["vectors"]), [int(parameters["steps"])]
        learnt = [
            self._learn(features, labels[start : start + AT_ONCE], vectors, steps, protocol)[0]
            for start in range(0, len(labels), AT_ONCE)
        ]
        return np.concatenate([one.weights for one in learnt])
