"""Effects of ablation and concept removal: what carries a detector matters, what does not does
not.
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.effect import _refitted, ablation_effect, concept_effect
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.reading import Change, Reading, ablation, read, scores
from aigi_core.transfer import DEFAULT_METRIC
from aigi_core.workspace import Workspace
from tests.factory import make_workspace

SETS = ("beta-diff", "gamma-diff")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Enough images that what is planted stands out."""
    return Workspace.open(
        make_workspace(tmp_path_factory.mktemp("effect") / "large", per_class=200)
    )


@pytest.fixture(scope="module")
def readings(workspace: Workspace) -> list[Reading]:
    return [
        read(workspace, detector)
        for detector in train(workspace, SETS, protocol=Protocol(C=(10.0,)))
    ]


def test_the_planted_head_carries_the_detectors(
    workspace: Workspace, readings: list[Reading]
) -> None:
    result = ablation_effect(workspace, readings, SETS, [(0, 0)], controls=5, draws=100)
    row = result.table.set_index(["detector", "cells"]).loc[("all", "in-domain")]
    assert row["change"] < -0.1 and row["high"] < 0 and row["p_value"] < 0.01
    assert row["change"] == pytest.approx(row["after"] - row["before"])
    assert row["change"] < row["control_low"] and row["p_control"] == pytest.approx(1 / 6)
    other = ablation_effect(workspace, readings, SETS, [(1, 1)], controls=0, draws=100)
    row = other.table.set_index(["detector", "cells"]).loc[("all", "in-domain")]
    assert abs(row["change"]) < 0.1 and row["controls"] == 0 and np.isnan(row["p_control"])


def test_matrix_after_is_that_of_the_changed_scores(
    workspace: Workspace, readings: list[Reading]
) -> None:
    result = ablation_effect(workspace, readings, SETS, [(0, 0)], controls=0, draws=10)
    flagged = scores(workspace, readings, change=ablation(workspace, [(0, 0)])) > 0
    rows = workspace.domains.rows(
        "delta-ar", "test"
    )  # as many fakes as reals, so accuracy is balanced
    expected = (flagged[:, rows] == workspace.domains.labels[rows]).mean(axis=1)
    column = result.after.test.index("delta-ar")
    assert result.after.values[DEFAULT_METRIC][:, column] == pytest.approx(expected)
    assert "layer 0 head 0" in result.says


def test_a_concept_that_is_the_detector(workspace: Workspace, readings: list[Reading]) -> None:
    lexicon = Lexicon.of(workspace, centred=False)
    lexicon.vectors[3] = readings[0].direction / np.linalg.norm(readings[0].direction)
    result = concept_effect(
        workspace, readings, SETS, lexicon, ["phrases 3"], controls=9, draws=100
    )
    row = result.table.set_index(["detector", "cells"]).loc[("beta-diff", "in-domain")]
    assert row["after"] == pytest.approx(0.5), (
        "without its own direction a detector only has its bias"
    )
    assert row["change"] < row["control_low"] and row["p_control"] == pytest.approx(0.1)
    again = concept_effect(
        workspace,
        readings,
        SETS,
        lexicon,
        ["phrases 3"],
        controls=2,
        control="texts",
        refit=[10.0, 10.0],
        draws=10,
    )
    assert again.controls.shape == (2, 2, 4)
    # The same by hand: project out, normalise, fit with scikit-learn, test.
    t = lexicon.vectors[3].astype(float)
    E = np.asarray(workspace.embeddings, float)
    E = E - np.outer(E @ t, t) / (t @ t)
    X, y = E / np.linalg.norm(E, axis=1, keepdims=True), workspace.domains.labels
    fitted, tested = (
        workspace.domains.rows("beta-diff", ("train", "val")),
        workspace.domains.rows("beta-diff", "test"),
    )
    model = LogisticRegression(C=10.0, tol=1e-8, max_iter=1000).fit(X[fitted], y[fitted])
    row = again.table.set_index(["detector", "cells"]).loc[("beta-diff", "in-domain")]
    assert row["after"] == pytest.approx(model.score(X[tested], y[tested]))


def test_refitting_without_change_gives_the_detector_back(
    workspace: Workspace, readings: list[Reading]
) -> None:
    again = _refitted(workspace, SETS, Change(), [10.0, 10.0])
    assert again[0].embedding == pytest.approx(readings[0].embedding, abs=1e-6)
    assert again[1].bias == pytest.approx(readings[1].bias, abs=1e-6)


def test_refusals(workspace: Workspace, readings: list[Reading]) -> None:
    lexicon = Lexicon.of(workspace)
    with pytest.raises(AigiError, match="No text"):
        concept_effect(workspace, readings, SETS, lexicon, [])
    with pytest.raises(AigiError, match="'nonsense' is not in"):
        concept_effect(workspace, readings, SETS, lexicon, ["nonsense"])
    with pytest.raises(AigiError, match="one C each"):
        concept_effect(workspace, readings, SETS, lexicon, ["phrases 3"], refit=[1.0])
    with pytest.raises(AigiError, match="needs 4 other heads"):
        ablation_effect(workspace, readings, SETS, [(0, 0), (0, 1), (0, 2), (1, 0)])
