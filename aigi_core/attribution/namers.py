"""Ways of naming a source: multinomial logistic regression, and nearest neighbours.

A new way is a subclass of :class:`Namer` and a line in :data:`NAMERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Int

from aigi_core.reprs import ShortRepr

KNOWN_RECALL = 0.95
"""Share of known images that the limit of "unknown" lets through, sources weighing alike."""


Split = tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]
"""Unit embeddings and numbers of sources of the images of one split."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Namer(ABC, ShortRepr):
    """A trained way of naming S sources.

    Attributes:
        parameters: what was chosen on validation images.
        limit: confidence below which the source is unknown; -inf before :meth:`with_limit`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    confidence_is: ClassVar[str]

    parameters: dict[str, Any]
    limit: float = -np.inf

    @classmethod
    @abstractmethod
    def fit(cls, train: Split, val: Split) -> Namer:
        """Fit unit embeddings to numbers of sources, 0 to S-1, each of which has images in both
        splits; parameters are chosen by mean recall on ``val``, which also sets the limit.
        """

    @abstractmethod
    def scores(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n S"]:
        """A score for each source, the higher the likelier; the highest is the confidence."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MultinomialRegression(Namer):
    """Logistic regression on all sources at once, with an L2 penalty, sources weighing alike."""

    name = "regression"
    title = "Multinomial regression"
    source = "one softmax over all sources"
    confidence_is = "probability of the likeliest source (Hendrycks and Gimpel 2017)"
    CS: ClassVar[tuple[float, ...]] = (1.0, 10.0, 100.0, 1000.0)

    weights: Float[np.ndarray, "S d"]
    bias: Float[np.ndarray, " S"]

    @classmethod
    def fit(cls, train: Split, val: Split) -> MultinomialRegression:
        tried = [cls._fit(*train, C) for C in cls.CS]
        recalls = [mean_recall(each.scores(val[0]), val[1]) for each in tried]
        losses = [_log_loss(each.scores(val[0]), val[1]) for each in tried]
        best = int(np.lexsort((np.asarray(cls.CS), np.asarray(losses), np.negative(recalls)))[0])
        return _limited(tried[best], val, {"C": cls.CS[best], "recall by C": recalls})

    @classmethod
    def _fit(cls, X: np.ndarray, y: np.ndarray, C: float) -> MultinomialRegression:
        from sklearn.linear_model import LogisticRegression  # two seconds to load

        model = LogisticRegression(C=C, class_weight="balanced", max_iter=2000, tol=1e-5).fit(X, y)
        weights, bias = model.coef_, model.intercept_
        if len(weights) == 1:  # of two sources the second's alone is given
            weights, bias = np.stack([-weights[0], weights[0]]) / 2, np.repeat(bias, 2) / 2
            bias[0] *= -1
        return cls(parameters={"C": C}, weights=weights, bias=bias)

    def scores(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n S"]:
        """Probabilities, if every source were as frequent as the others."""
        logits = X @ self.weights.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        likelihood: np.ndarray = np.exp(logits)
        likelihood /= likelihood.sum(axis=1, keepdims=True)
        return likelihood


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SourceNeighbours(Namer):
    """Mean cosine with the k nearest training images of each source."""

    name = "neighbours"
    title = "Nearest neighbours"
    source = "banks apart as in Ojha et al. 2023, one for each source"
    confidence_is = "mean cosine with the nearest images of the named source"
    KS: ClassVar[tuple[int, ...]] = (1, 3, 5, 9)

    bank: Float[np.ndarray, "n d"]
    of: Int[np.ndarray, " n"]
    k: int

    @classmethod
    def fit(cls, train: Split, val: Split) -> SourceNeighbours:
        tried = [cls(parameters={"k": k}, bank=train[0], of=train[1], k=k) for k in cls.KS]
        recalls = [mean_recall(each.scores(val[0]), val[1]) for each in tried]
        best = int(np.argmax(recalls))
        return _limited(tried[best], val, {"k": cls.KS[best], "recall by k": recalls})

    def scores(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n S"]:
        cosines = X @ self.bank.T
        near = np.empty((len(X), int(self.of.max()) + 1))
        for source in range(near.shape[1]):
            mine = cosines[:, self.of == source]
            k = min(self.k, mine.shape[1])
            near[:, source] = np.partition(mine, -k, axis=1)[:, -k:].mean(axis=1)
        return near


NAMERS: dict[str, type[Namer]] = {
    method.name: method for method in (MultinomialRegression, SourceNeighbours)
}


def mean_recall(scores: Float[np.ndarray, "n S"], y: Int[np.ndarray, " n"]) -> float:
    """Share of each source's images that are named rightly, averaged over the sources."""
    right = scores.argmax(axis=1) == y
    return float(np.mean([right[y == source].mean() for source in np.unique(y)]))


def limit_of(
    confidence: Float[np.ndarray, " n"], y: Int[np.ndarray, " n"], recall: float = KNOWN_RECALL
) -> float:
    """The highest limit that lets at least that share of known images through (confidence at or
    above it), sources weighing alike.

    >>> limit_of(np.array([0.1, 0.5, 0.9, 0.8]), np.array([0, 0, 1, 1]), recall=0.75)
    0.5
    """
    sizes = np.bincount(y)
    weight = 1 / (sizes[y] * np.count_nonzero(sizes))
    order = np.argsort(-confidence, kind="stable")
    kept = np.cumsum(weight[order])
    return float(confidence[order][int(np.searchsorted(kept, recall - 1e-9))])


N = TypeVar("N", bound=Namer)


def _limited(namer: N, val: Split, parameters: dict[str, Any]) -> N:
    limit = limit_of(namer.scores(val[0]).max(axis=1), val[1])
    return replace(namer, limit=limit, parameters=parameters)


def _log_loss(scores: Float[np.ndarray, "n S"], y: Int[np.ndarray, " n"]) -> float:
    own = -np.log(np.maximum(scores[np.arange(len(y)), y], 1e-12))
    return float(np.mean([own[y == source].mean() for source in np.unique(y)]))
