"""The paper's five means are plain means over the cells that their names say."""

import numpy as np
import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.training import train
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.paper_means import MEANS, paper_means
from aigi_core.workspace import Workspace


@pytest.mark.parametrize("diagonal", [True, False])
def test_means_by_hand(synthetic: Workspace, diagonal: bool) -> None:
    domains, names = synthetic.domains, synthetic.domains.generators
    scores = score_detectors(train(synthetic, names), synthetic)
    matrix = transfer_matrix(scores, domains, names, metrics=("accuracy",), draws=20)
    table = paper_means(matrix, "accuracy", diagonal=diagonal, without=("gamma-diff",))
    assert table["name"].tolist() == list(MEANS)
    for row in table.itertuples():
        families = MEANS[str(row.name)]
        cells = [
            matrix.values["accuracy"][i, j]
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if "gamma-diff" not in (a, b)
            and (diagonal or a != b)
            and (families is None or families == (domains.family_of[a], domains.family_of[b]))
        ]
        assert row.n == len(cells)
        if cells:
            assert row.value == pytest.approx(np.mean(cells)) and row.low <= row.value <= row.high
        else:
            assert np.isnan(row.value)
