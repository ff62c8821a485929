"""Does a search choose the same components again? Repeated on bootstrap draws and on hardly changed
data.

Accuracy on a few hundred images ties heavily, so that near-equal runs choose different lists; how
different is said beside every selection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.detectors.components import ComponentSearch
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import Protocol, run_protocol
from aigi_core.detectors.solvers.elimination import eliminate
from aigi_core.errors import AigiError
from aigi_core.transfer.bootstrap import draw_counts
from aigi_core.transfer.pairs import Pair, d_eval
from aigi_core.workspace import Workspace

Kind = Literal["bootstrap", "jitter"]
JITTER = 0.01
"""Relative change of the training images' weights in a ``jitter`` draw."""


@dataclass(frozen=True, eq=False)
class SelectionStability:
    """Repeats of one D_search pair's component search.

    Attributes:
        kind: ``bootstrap`` draws training and validation images anew (groups whole), ``jitter``
            weighs each training image by 1 +- 1% and changes nothing else: what it alters was
            decided by ties and near-ties.
        kept: [B, d] which components each repeat keeps.
        reference: [d] which the search on the data itself keeps.
    """

    pair: Pair
    kind: Kind
    kept: Bool[np.ndarray, "B d"] = field(repr=False)
    reference: Bool[np.ndarray, " d"] = field(repr=False)

    @property
    def frequency(self) -> Float[np.ndarray, " d"]:
        """Share of the repeats that keep each component."""
        share: np.ndarray = self.kept.mean(axis=0)
        return share

    @property
    def sizes(self) -> Int[np.ndarray, " B"]:
        """Components kept by each repeat."""
        sizes: np.ndarray = self.kept.sum(axis=1)
        return sizes

    def to_frame(self) -> pd.DataFrame:
        """One row a component, most often kept first: ``component, kept_in`` (share of the
        repeats), ``kept`` (by the search on the data itself)."""
        table = pd.DataFrame({"kept_in": self.frequency, "kept": self.reference})
        return (
            table.rename_axis("component")
            .reset_index()
            .sort_values("kept_in", ascending=False, kind="stable")
        )

    @property
    def overlap(self) -> float:
        """Mean Jaccard index (shared / either) of the repeats' kept sets with the reference's."""
        return float(_jaccard(self.kept, self.reference).mean())

    def chance_overlap(self, shuffles: int = 100, seed: int = 0) -> float:
        """The same for random sets of the repeats' sizes: what an overlap has to be compared
        with.
        """
        rng = np.random.default_rng(seed)
        return float(
            np.mean(
                [
                    _jaccard(rng.permuted(self.kept, axis=1), self.reference).mean()
                    for _ in range(shuffles)
                ]
            )
        )


def selection_stability(
    workspace: Workspace,
    pair: Pair,
    *,
    repeats: int = 20,
    kind: Kind = "bootstrap",
    protocol: Protocol | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SelectionStability:
    """Repeat the component search of a pair, with each direction's C as chosen on the data itself.

    Args:
        progress: called after each repeat with (done, in all); raise in it to cancel.

    Raises:
        AigiError: no repeats, or a pair that cannot be searched.
    """
    if repeats < 1 or kind not in get_args(Kind) or len(pair) != 2:
        raise AigiError(
            "Stability needs two generators, at least one repeat and draws of kind"
            f" {' or '.join(get_args(Kind))}; got {', '.join(pair)}, {repeats} and {kind!r}."
        )
    protocol, domains = protocol or Protocol(), workspace.domains
    d_eval(domains, pair)
    X = EmbeddingView().matrix(workspace)
    ways = []
    for train, val in (pair, pair[::-1]):
        fit, own = domains.rows(train, "train"), domains.rows(train, "val")
        chosen = run_protocol(
            (X[fit], domains.labels[fit]), (X[own], domains.labels[own]), protocol
        )
        ways.append((fit, domains.rows(val, "val"), chosen.C))
    weights, times = _draws(workspace, repeats, kind, seed)

    def search(draw: int) -> Bool[np.ndarray, " d"]:
        result = []
        for fit, score, C in ways:
            picked = np.repeat(score, times[draw, score])
            result.append(
                eliminate(
                    X[fit],
                    domains.labels[fit],
                    X[picked],
                    domains.labels[picked],
                    C=C,
                    sample_weight=weights[draw, fit],
                    fit_intercept=protocol.fit_intercept,
                    class_weight=protocol.class_weight,
                )
            )
        return np.isin(np.arange(X.shape[1]), ComponentSearch(pair, *result).kept)

    masks = []
    for draw in range(repeats + 1):
        masks.append(search(draw))
        if progress is not None:
            progress(draw, repeats)
    return SelectionStability(pair, kind, np.stack(masks[1:]), masks[0])


def _draws(
    workspace: Workspace, repeats: int, kind: Kind, seed: int
) -> tuple[Float[np.ndarray, "B+1 N"], Int[np.ndarray, "B+1 N"]]:
    """Weight of each image in training, and how often it is scored; the first draw is the data as
    they are.
    """
    domains = workspace.domains
    weights, times = np.ones((repeats + 1, len(domains))), np.ones((repeats + 1, len(domains)), int)
    if kind == "jitter":
        rng = np.random.default_rng(seed)
        weights[1:] = rng.uniform(1 - JITTER, 1 + JITTER, weights[1:].shape)
        return weights, times
    for at, split in enumerate(("train", "val")):
        rows = np.flatnonzero(domains.split == split)
        counts = draw_counts(domains, rows, repeats, seed + at)
        if split == "train":
            weights[1:, rows] = counts
        else:
            times[1:, rows] = counts
    return weights, times


def _jaccard(
    sets: Bool[np.ndarray, "B d"], reference: Bool[np.ndarray, " d"]
) -> Float[np.ndarray, " B"]:
    index: np.ndarray = (sets & reference).sum(axis=1) / (sets | reference).sum(axis=1)
    return index
