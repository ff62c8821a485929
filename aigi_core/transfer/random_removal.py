"""Control for removing components: what as many random components would have done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import stdtrit

from aigi_core.detectors.detector import score_features
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import TrainingImages, train_detectors
from aigi_core.errors import AigiError
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.reprs import ShortRepr
from aigi_core.statements import counted
from aigi_core.transfer.matrix import TrainSet, as_train_sets, transfer_matrix
from aigi_core.workspace import Workspace


@dataclass(frozen=True, eq=False, repr=False)
class RandomRemoval(ShortRepr):
    """Transfer matrices after removals of random components.

    Attributes:
        kept: [S] how many components are kept, ascending; the last is all of them, where nothing is
            random.
        values: [S, R, K, T] the metric for R random removals of each size.
    """

    kept: Int[np.ndarray, " S"]
    values: Float[np.ndarray, "S R K T"] = field(repr=False)
    metric: str
    train: tuple[TrainSet, ...]
    test: tuple[str, ...]

    def band(
        self, kept: int, cells: Bool[np.ndarray, "K T"], confidence: float = 0.95
    ) -> tuple[float, float, float]:
        """Mean and band of the mean over these cells when ``kept`` random components stay.

        The band is where one more random removal falls with this confidence (Student's t over the
        removals drawn: percentiles of ten would cover four in five). Between the sizes that were
        drawn, it is interpolated along the logarithm of the size; for fewer components than the
        smallest size it is that size's, which warning chance, not the search. NaN without cells.
        """
        if not 1 <= kept <= self.kept[-1]:
            raise AigiError(
                f"Between 1 and {counted(self.kept[-1], 'component')} can be kept, not {kept}."
            )
        if not cells.any():
            return np.nan, np.nan, np.nan
        means = self.values[:, :, cells].mean(axis=2)  # [S, R]
        repeats = means.shape[1]
        half = np.full(len(means), np.nan)
        if repeats > 1:
            half = (
                stdtrit(repeats - 1, 0.5 + confidence / 2)
                * means.std(axis=1, ddof=1)
                * np.sqrt(1 + 1 / repeats)
            )
        half[self.kept == self.kept[-1]] = 0.0  # all components: nothing is random
        centre = means.mean(axis=1)
        at = [
            np.interp(np.log(kept), np.log(self.kept), curve)
            for curve in (centre, centre - half, centre + half)
        ]
        return float(at[0]), float(at[1]), float(at[2])


def random_removal(
    workspace: Workspace,
    training_sets: Sequence[str | TrainSet] | None = None,
    *,
    kept: Sequence[int] | None = None,
    repeats: int = 10,
    protocol: Protocol | None = None,
    metric: str = DEFAULT_METRIC,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RandomRemoval:
    """Train the whole matrix on random subsets of components, ``repeats`` for each number kept.

    Args:
        kept: sizes to draw; by default seven from 4 components to all, evenly on a logarithmic
            scale.

    Raises:
        AigiError: a size of no or too many components.
    """
    features = EmbeddingView().matrix(workspace)
    d = features.shape[1]
    sets = as_train_sets(
        workspace.domains.generators if training_sets is None else training_sets, workspace.domains
    )
    sizes = np.unique(
        np.geomspace(min(4, d), d, 7).round().astype(int)
        if kept is None
        else np.asarray([*kept, d], int)
    )
    if sizes[0] < 1 or sizes[-1] > d or repeats < 1:
        raise AigiError(
            f"Between 1 and {counted(d, 'component')} can be kept, at least once; got {sizes[0]} to"
            f" {sizes[-1]}, {counted(repeats, 'time')}."
        )
    rng = np.random.default_rng(seed)
    values = []
    for done, size in enumerate(sizes):
        mine: list[np.ndarray] = []
        for _ in range(repeats if size < d else 1):
            chosen = np.sort(rng.permutation(d)[:size])
            removed = np.setdiff1d(np.arange(d), chosen)
            block = np.ascontiguousarray(features[:, chosen])
            seen = EmbeddingView(without=tuple(removed.tolist()))
            images = TrainingImages(block, workspace.domains, seen)
            detectors = train_detectors(images, sets, protocol)
            scores = score_features(detectors, block)
            mine.append(
                transfer_matrix(scores, workspace.domains, sets, metrics=[metric], draws=1).values[
                    metric
                ]
            )
        values.append(np.stack(mine * (1 if size < d else repeats)))
        if progress is not None:
            progress(done + 1, len(sizes))
    return RandomRemoval(sizes, np.stack(values), metric, sets, workspace.domains.generators)
