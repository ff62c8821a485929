"""Orders of a matrix: permutations that do what they say."""

import numpy as np
import pytest

from aigi_core import figures
from aigi_core.detectors import score_detectors, train
from aigi_core.errors import AigiError
from aigi_core.figures.transfer import MEAN
from aigi_core.transfer import MATRIX_ORDERS, TransferMatrix, matrix_order, transfer_matrix
from aigi_core.workspace import Workspace


@pytest.fixture(scope="module")
def matrix(synthetic: Workspace) -> TransferMatrix:
    names = synthetic.domains.generators
    scores = score_detectors(train(synthetic, names), synthetic)
    return transfer_matrix(scores, synthetic.domains, names, metrics=["auc"], draws=50)


def test_every_order_is_a_permutation(matrix: TransferMatrix) -> None:
    for by in MATRIX_ORDERS:
        rows, columns = matrix_order(matrix, "auc", by)
        assert sorted(rows) == sorted(columns) == list(range(len(matrix.test)))
    means = [
        matrix.mean("auc", ~matrix.in_domain & (np.arange(len(matrix.train)) == i)[:, None]).value
        for i in matrix_order(matrix, "auc", "mean")[0]
    ]
    assert means == sorted(means, reverse=True)
    assert [matrix.test[j] for j in matrix_order(matrix, "auc", "name")[1]] == sorted(matrix.test)
    with pytest.raises(AigiError, match="no order"):
        matrix_order(matrix, "auc", "luck")  # type: ignore[arg-type]


def test_like_detectors_stand_beside_each_other(matrix: TransferMatrix) -> None:
    from dataclasses import replace

    values = matrix.values["auc"].copy()
    values[0], values[-1] = 0.9, 0.9
    values[1:-1] = 0.1
    rows = matrix_order(replace(matrix, values={"auc": values}), "auc", "similarity")[0].tolist()
    assert abs(rows.index(0) - rows.index(len(values) - 1)) == 1


def test_the_figure_follows_and_its_means_open_nothing(matrix: TransferMatrix) -> None:
    drawn = figures.transfer_heatmap(matrix, "auc", order="mean", margins=True)
    rows, columns = matrix_order(matrix, "auc", "mean")
    size = len(rows)
    np.testing.assert_array_equal(
        np.array(drawn.data[0].z, float)[:size, :size], matrix.values["auc"][np.ix_(rows, columns)]
    )
    assert drawn.layout.yaxis.ticktext[-1] == MEAN
    cells = next(trace for trace in drawn.data if trace.name == "cells")
    opened = [data for data in cells.customdata if data is not None]
    assert len(opened) == size * size and len(cells.customdata) == (size + 1) ** 2
    assert opened[0] == (matrix.train_names[rows[0]], matrix.test[columns[0]]) or opened[0] == [
        matrix.train_names[rows[0]],
        matrix.test[columns[0]],
    ]
    whole = matrix.mean("auc", ~matrix.in_domain)
    shown = f"{whole.value:.3f}<br>95% interval: {whole.low:.3f} to {whole.high:.3f}<br>"
    assert shown in cells.hovertext[-1]
    counts = figures.transfer_heatmap(matrix, "auc", show="n")
    assert np.array(counts.data[0].z)[0, 0] == matrix.n_fake[0] + matrix.n_real[0]
    stretched = figures.transfer_heatmap(matrix, "auc", stretch=True).data[0]
    assert 0.5 - stretched.zmin == pytest.approx(stretched.zmax - 0.5) and stretched.zmax <= 1
