"""Nearest images, against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from aigi_core.errors import AigiError
from aigi_core.explain.neighbours import neighbours
from aigi_core.workspace import Workspace


def test_equals_scikit_learn(synthetic: Workspace) -> None:
    X = np.asarray(synthetic.embeddings)
    search = NearestNeighbors(n_neighbors=6, metric="cosine").fit(X)
    distance, expected = search.kneighbors(X[[17]])
    result = neighbours(synthetic, 17, 5)
    assert result["row"].tolist() == expected[0, 1:].tolist()
    np.testing.assert_allclose(result["cosine"], 1 - distance[0, 1:], atol=1e-5)
    assert set(result["generator"]) <= {"real", *synthetic.domains.generators}


def test_unknown_row(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="no image in row"):
        neighbours(synthetic, len(synthetic.embeddings))
