"""Logits of changed embeddings against obvious versions in the full space."""

import numpy as np
import pytest

from aigi_core.errors import AigiError
from aigi_core.explain.reading import ablation, removal, scores
from aigi_core.workspace import Workspace
from tests.explain.plain import all_contributions, plain_scores, some_readings


def test_scores_without_change(synthetic: Workspace) -> None:
    E, C = np.asarray(synthetic.embeddings, float), all_contributions(synthetic)
    result = scores(synthetic, some_readings())
    assert result == pytest.approx(
        np.array([plain_scores(reading, E, C) for reading in some_readings()]), rel=1e-10
    )


def test_ablated_heads_are_their_mean_over_the_reference(synthetic: Workspace) -> None:
    E, C = np.asarray(synthetic.embeddings, float), all_contributions(synthetic)
    rows = synthetic.domains.rows("alpha-gan", "test")
    change = ablation(synthetic, [(0, 0), (1, 1)])
    train = synthetic.domains.split == "train"
    for head in ((0, 0), (1, 1)):
        mean = C[head][train].mean(axis=0)
        E = E - C[head] + mean
        C[head] = mean
    result = scores(synthetic, some_readings(), rows, change)
    assert result == pytest.approx(
        np.array([plain_scores(r, E, C)[rows] for r in some_readings()]), rel=1e-7, abs=1e-9
    )
    assert f"mean over {train.sum()} training images" in change.says


def test_removed_directions_are_gone_from_every_part(synthetic: Workspace) -> None:
    rng = np.random.default_rng(4)
    directions = rng.standard_normal((2, 24))
    change = removal(np.vstack([directions, directions[0] + directions[1]]))
    assert change.removed is not None and change.removed.shape == (24, 2)
    P = np.eye(24) - np.linalg.pinv(directions) @ directions
    E, C = np.asarray(synthetic.embeddings, float) @ P, all_contributions(synthetic) @ P
    result = scores(synthetic, some_readings(), change=change)
    assert result == pytest.approx(
        np.array([plain_scores(r, E, C) for r in some_readings()]), rel=1e-8, abs=1e-9
    )


def test_blocks_do_not_change_scores(synthetic: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    change = ablation(synthetic, [(0, 1)])
    whole = scores(synthetic, some_readings(), change=change)
    monkeypatch.setattr("aigi_core.explain.reading._BLOCK", 11)
    monkeypatch.setattr("aigi_core.heads.BLOCK", 5)
    assert scores(
        synthetic, some_readings(), change=ablation(synthetic, [(0, 1)])
    ) == pytest.approx(whole, rel=1e-12)


def test_refusals(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="no head 3 in layer 0"):
        ablation(synthetic, [(0, 3)])
    with pytest.raises(AigiError, match="at least one head"):
        ablation(synthetic, [])
    with pytest.raises(AigiError, match="one reference image"):
        ablation(synthetic, [(0, 0)], np.array([], int))
    with pytest.raises(AigiError, match="length zero"):
        removal(np.zeros((1, 24)))
    with pytest.raises(AigiError, match="leave no dimension"):
        removal(np.eye(24))
