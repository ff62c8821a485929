"""Nearest images, against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from aigi_core.detectors.methods import METHODS
from aigi_core.errors import AigiError
from aigi_core.explain.neighbours import deciding_neighbours, neighbours
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


def test_the_deciding_images_make_the_score_and_lie_nearest(synthetic: Workspace) -> None:
    domains, name = synthetic.domains, synthetic.domains.generators[0]
    [detector] = METHODS["knn-3"].train(synthetic, [name])
    row = int(domains.rows(name, "test")[0])
    features = detector.view.matrix(synthetic, np.array([row]))[0]
    near = deciding_neighbours(synthetic, detector, features)
    means = near.groupby("bank")["cosine"].mean()
    score = means["fake"] - means["real"] - detector.offset
    assert score == pytest.approx(detector.decision_function(synthetic, np.array([row]))[0])
    trained = domains.rows(name, ("train", "val"))
    unit = synthetic.embeddings / np.linalg.norm(synthetic.embeddings, axis=1, keepdims=True)
    for bank, label in (("fake", 1), ("real", 0)):
        mine = trained[domains.labels[trained] == label]
        nearest = mine[np.argsort(-(unit[mine] @ unit[row]))[:3]]
        assert near[near["bank"] == bank]["row"].tolist() == nearest.tolist()
    stranger = replace(detector, provenance={**detector.provenance, "workspace_digest": "other"})
    with pytest.raises(AigiError, match="another workspace"):
        deciding_neighbours(synthetic, stranger, features)
