"""k nearest neighbours by cosine, real and fake banks apart (Ojha et al. 2023): no weights; the
evidence for a score is the neighbours themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Float32

from aigi_core.detectors.detector import FeatureDetector
from aigi_core.detectors.detector import register as register_kind
from aigi_core.detectors.features import EmbeddingView, FeatureView, view_from_spec
from aigi_core.detectors.methods.base import (
    Block,
    Labels,
    OffsetMethod,
    Parameters,
    Rows,
    best_offset,
    register,
    registered,
)
from aigi_core.detectors.protocol import Protocol, TrainingSet, as_sets
from aigi_core.detectors.training import TrainingImages
from aigi_core.reprs import ShortRepr
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

KS = (1, 3, 5, 9)
PAIR_SECONDS = 5e-8
"""Seconds of a core for a validation image and a training image of 768 features."""
SCORED_SECONDS = 1.5e-8
"""The same where all images of a workspace are scored at once."""


@register_kind
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class NeighbourDetector(FeatureDetector, ShortRepr):
    """Mean cosine with the k nearest fakes less that with the k nearest real images.

    Attributes:
        fakes, reals: [m, p] banks of unit rows, float32.
        k: neighbours taken of each bank.
        offset: subtracted from the difference, so that the threshold is 0.
    """

    kind: ClassVar[str] = "neighbours"

    fakes: Float[np.ndarray, "m_fake p"]
    reals: Float[np.ndarray, "m_real p"]
    k: int
    offset: float = 0.0

    def score(self, features: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
        scores: np.ndarray = self.score_features([self], features)[0]
        return scores

    @classmethod
    def score_features(
        cls, detectors: Sequence[FeatureDetector], features: Float[np.ndarray, "n p"]
    ) -> Float[np.ndarray, "K n"]:
        """A bank that several detectors have (the same real images) is searched once."""
        own = [detector for detector in detectors if isinstance(detector, NeighbourDetector)]
        query = _unit(own[0]._require_width(features, own[0].fakes.shape[1]))
        scores = np.array([np.full(len(query), -detector.offset) for detector in own])
        users: dict[bytes, list[tuple[int, float]]] = {}
        banks: dict[bytes, np.ndarray] = {}
        for at, detector in enumerate(own):
            for sign, bank in ((1.0, detector.fakes), (-1.0, detector.reals)):
                key = sha256(bank.data).digest()
                banks[key] = bank
                users.setdefault(key, []).append((at, sign))
        for key, of in users.items():
            ks = sorted({own[at].k for at, _ in of})
            means = nearest_means(query, banks[key], ks)
            for at, sign in of:
                scores[at] += sign * means[ks.index(own[at].k)]
        return scores

    def neighbours(
        self, features: Float[np.ndarray, "n p"]
    ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Cosines [n, k] and positions [n, k] of the nearest in the fake and in the real bank."""
        from aigi_core._faiss import faiss

        features = self._require_width(features, self.fakes.shape[1])
        query = _unit(features)
        nearest = []
        for bank in (self.fakes, self.reals):
            index = faiss.IndexFlatIP(bank.shape[1])
            index.add(bank)
            cosines, positions = index.search(query, self.k)
            nearest.append((cosines.astype(np.float64), positions))
        return nearest[0], nearest[1]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"fakes": self.fakes, "reals": self.reals}

    def about(self) -> dict[str, Any]:
        return {"view": self.view.spec(), "k": self.k, "offset": self.offset}

    @classmethod
    def build(
        cls, arrays: dict[str, np.ndarray], about: dict[str, Any], **common: Any
    ) -> NeighbourDetector:
        fakes, reals = (np.ascontiguousarray(arrays[n], np.float32) for n in ("fakes", "reals"))
        k, offset = int(about["k"]), float(about["offset"])
        if fakes.ndim != 2 or reals.ndim != 2 or fakes.shape[1] != reals.shape[1]:
            raise ValueError(f"the banks have shapes {fakes.shape} and {reals.shape}")
        if not 1 <= k <= min(len(fakes), len(reals)) or not np.isfinite(offset):
            raise ValueError(f"k {k} or offset {offset} does not fit its banks")
        if not np.isfinite(fakes).all() or not np.isfinite(reals).all():
            raise ValueError("its banks hold NaN or infinity")
        view = view_from_spec(about["view"])
        return cls(view=view, fakes=fakes, reals=reals, k=k, offset=offset, **common)


@register
class NearestNeighbours(OffsetMethod):
    name = "knn"
    title = "Nearest neighbours"
    source = "Ojha et al. 2023 (their code for it is not published)"
    chosen = (
        "k from 1, 3, 5 and 9, on validation images. With a bias, also an offset on"
        " validation images, because the larger of two banks lies nearer by its size alone."
    )
    cost = "Needs no training time, but compares each image with every training image."
    scale = "differences of cosines"
    views = (EmbeddingView,)
    ks: ClassVar[tuple[int, ...]] = KS

    def seconds(
        self,
        workspace: Workspace,
        training_sets: Sequence[TrainingSet],
        view: FeatureView | str,
        protocol: Protocol,
        *,
        twice: bool = False,
    ) -> float:
        del view, protocol
        pairs = scored = 0
        for names in as_sets(training_sets):
            train, val = (len(workspace.domains.rows(names, split)) for split in ("train", "val"))
            pairs += train * val
            # who trains twice scores all images with both, which here is most of the work
            scored += 2 * twice * train * len(workspace.domains)
        return pairs * PAIR_SECONDS + scored * SCORED_SECONDS

    def _trained(
        self,
        images: TrainingImages,
        training_sets: Sequence[TrainingSet],
        protocol: Protocol | None,
        *,
        twice: bool = False,
    ) -> list[tuple[FeatureDetector, FeatureDetector]]:
        narrow = replace(images, features=images.features.astype(np.float32))  # once for all
        return super()._trained(narrow, training_sets, protocol, twice=twice)

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        return [{"k": k, "offset": 0.0} for k in self.ks]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        del protocol
        fake, rows = np.asarray(y) > 0, _unit(X)
        fewest = int(min(fake.sum(), (~fake).sum()))
        return {
            "fakes": rows[fake],
            "reals": rows[~fake],
            "k": min(int(parameters["k"]), fewest),
            "offset": float(parameters["offset"]),
        }

    def try_grid(
        self,
        grid: Sequence[Parameters],
        blocks: dict[str, Block],
        protocol: Protocol,
        make: Callable[..., FeatureDetector],
    ) -> tuple[list[Parameters], Float[np.ndarray, "m B"]]:
        """All k from one search of each bank."""
        del make
        (X, y), (query, known) = blocks["train"], blocks["val"]
        fitted = self.fit(X, y, grid[0], protocol)
        fewest = min(len(fitted["fakes"]), len(fitted["reals"]))
        ks = [min(int(point["k"]), fewest) for point in grid]
        rows = _unit(query)
        margins = nearest_means(rows, fitted["fakes"], ks) - nearest_means(
            rows, fitted["reals"], ks
        )
        offsets = np.zeros(len(ks))
        if protocol.fit_intercept:
            balanced = protocol.class_weight is not None
            offsets = np.array([best_offset(own, known, balanced) for own in margins])
        tuned: list[Parameters] = [
            {**point, "offset": float(offset)} for point, offset in zip(grid, offsets, strict=True)
        ]
        decisions: np.ndarray = (margins - offsets[:, None]).T
        return tuned, decisions

    def make(self, view: FeatureView, fitted: dict[str, Any], **common: Any) -> FeatureDetector:
        return NeighbourDetector(view=view, **fitted, **common)


class FixedNeighbours(NearestNeighbours):
    """As many neighbours as its name says, so that a board shows what k changes."""

    chosen = "With a bias, an offset on validation images; k is given in the title."

    def __reduce__(self) -> tuple[object, ...]:
        # its class stands under no name of this module, and another process is given the method
        return registered, (self.name,)


for number in KS:
    register(
        type(
            f"NearestNeighbours{number}",
            (FixedNeighbours,),
            {
                "name": f"knn-{number}",
                "title": f"Nearest neighbours, k = {number}",
                "ks": (number,),
            },
        )
    )


BLOCK = 4_000_000
"""Cosines that are held at a time."""


def nearest_means(
    query: Float32[np.ndarray, "n p"], bank: Float32[np.ndarray, "m p"], ks: Sequence[int]
) -> Float[np.ndarray, "B n"]:
    """Mean of the k highest cosines of each row with a bank of unit rows, for several k at once:
    one product, one partial sort.

    >>> nearest_means(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), [1, 2]).tolist()
    [[1.0, 1.0], [0.5, 0.5]]
    """
    means, most = np.empty((len(ks), len(query))), max(ks)
    step = max(1, BLOCK // len(bank))
    for start in range(0, len(query), step):
        cosines = query[start : start + step] @ bank.T
        if most < len(bank):
            cosines = np.partition(cosines, len(bank) - most, axis=1)[:, len(bank) - most :]
        highest = np.sort(cosines, axis=1)[:, ::-1].astype(np.float64)
        for at, k in enumerate(ks):
            means[at, start : start + step] = highest[:, :k].mean(axis=1)
    return means


def _unit(features: Float[np.ndarray, "n p"]) -> Float32[np.ndarray, "n p"]:
    error = "An image whose features are all zero has no direction: encode it again."
    return unit_rows(np.ascontiguousarray(features, np.float32), error)
