"""Results over several divisions of the same images."""

from __future__ import annotations

import numpy as np
import pytest

from aigi_core.detectors import train
from aigi_core.detectors.detector import score_detectors
from aigi_core.errors import AigiError
from aigi_core.splits import redraw
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.resplit import resplit
from aigi_core.workspace import Workspace


def test_each_seed_is_the_matrix_of_its_own_division(synthetic: Workspace) -> None:
    told: list[tuple[int, int]] = []
    result = resplit(synthetic, seeds=(3, 4), tell=lambda done, of: told.append((done, of)))
    assert told == [(0, 2), (1, 2)]
    split = redraw(synthetic.all_images, seed=4, val=0.15, test=0.3)
    other = synthetic.with_splits(split)
    assert other.digest != synthetic.digest
    assert other.images["split"].tolist() == split.tolist()
    names = synthetic.domains.generators
    matrix = transfer_matrix(
        score_detectors(train(other, names), other),
        other.domains,
        names,
        metrics=("balanced_accuracy",),
        draws=10,
    )
    assert np.allclose(result.values[1], matrix.values["balanced_accuracy"])
    assert not np.allclose(result.values[0], result.values[1])
    summary = result.summary().set_index("cells")
    inside = result.values[:, np.eye(4, dtype=bool)].mean(axis=1)
    assert summary.loc["in-domain", "mean"] == pytest.approx(inside.mean())
    assert summary.loc["in-domain", "sd"] == pytest.approx(inside.std(ddof=1))
    assert summary.loc["gap", "seed 3"] == pytest.approx(
        summary.loc["in-domain", "seed 3"] - summary.loc["ood", "seed 3"]
    )
    assert len(result.cells()) == 16


def test_one_seed_shows_no_spread(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="at least two different seeds"):
        resplit(synthetic, seeds=(1, 1))
