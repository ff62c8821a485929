"""How much results move when the same images are divided otherwise: everything is drawn, trained
and tested again for several seeds. Nothing is encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.splits import redraw
from aigi_core.transfer.matrix import make_training_sets, transfer_matrix
from aigi_core.workspace import Workspace

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, eq=False)
class Resplit:
    """One matrix a seed, of detectors of each generator on the embedding.

    Attributes:
        generators: rows and columns.
        values: [S, G, G] one metric of detector by test generator.
    """

    metric: str
    seeds: tuple[int, ...]
    generators: tuple[str, ...]
    values: Float[np.ndarray, "S G G"] = field(repr=False)

    def summary(self) -> pd.DataFrame:
        """In-domain mean, OOD mean and their gap: columns ``cells``, ``mean`` over seeds, ``sd``,
        ``least``, ``most``, ``n`` (seeds), and one column a seed.
        """
        inside = np.eye(len(self.generators), dtype=bool)
        rows = {"in-domain": self.values[:, inside].mean(axis=1)}
        if len(self.generators) > 1:
            rows["ood"] = self.values[:, ~inside].mean(axis=1)
            rows["gap"] = rows["in-domain"] - rows["ood"]
        return pd.DataFrame([{"cells": name, **self._row(v)} for name, v in rows.items()])

    def cells(self) -> pd.DataFrame:
        """Every cell, those that move most first: ``train, test`` and as :meth:`summary`."""
        rows = [
            {"train": one, "test": two, **self._row(self.values[:, i, j])}
            for i, one in enumerate(self.generators)
            for j, two in enumerate(self.generators)
        ]
        return pd.DataFrame(rows).sort_values("sd", ascending=False, ignore_index=True)

    def _row(self, values: Float[np.ndarray, " S"]) -> dict[str, float]:
        spread = {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)),
            "least": float(values.min()),
            "most": float(values.max()),
            "n": len(values),
        }
        by_seed = zip(self.seeds, values, strict=True)
        return spread | {f"seed {seed}": float(value) for seed, value in by_seed}


def resplit(
    workspace: Workspace,
    metric: str = "balanced_accuracy",
    seeds: Sequence[int] = SEEDS,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Resplit:
    """Divide, train and test anew for each seed, with the shares of the workspace's own splits.

    Raises:
        AigiError: fewer than two seeds, or a generator without images in a split.
    """
    if len(set(seeds)) < 2:
        raise AigiError("Name at least two different seeds: one split alone shows no spread.")
    images = workspace.all_images
    kept = workspace.images["split"]
    val, test = float((kept == "val").mean()), float((kept == "test").mean())
    result = []
    generators = workspace.domains.generators
    for i, seed in enumerate(seeds):
        tell(i, len(seeds))
        other = workspace.with_splits(redraw(images, seed=seed, val=val, test=test))
        sets = tuple(make_training_sets(other.domains, "each generator").values())
        detectors = train(other, sets)
        matrix = transfer_matrix(
            score_detectors(detectors, other), other.domains, sets, metrics=(metric,), draws=10
        )
        result.append(matrix.values[metric])
    return Resplit(metric, tuple(seeds), generators, np.stack(result))
