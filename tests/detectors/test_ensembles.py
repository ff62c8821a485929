"""Ensembles against members trained one by one, and scikit-learn's regression on their scores."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods import METHODS, twin
from aigi_core.detectors.methods.ensembles import MEMBERS, PENALTY, EnsembleDetector, folds
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import TrainingImages
from aigi_core.errors import AigiError
from aigi_core.transfer.board import measure_method
from aigi_core.workspace import Workspace


@pytest.mark.parametrize("name", ["ensemble-mean", "ensemble-stacked"])
def test_members_are_combined_on_images_new_to_them(
    synthetic: Workspace, tmp_path: Path, name: str
) -> None:
    detector = METHODS[name].train(synthetic, ["beta-diff"])[0]
    assert isinstance(detector, EnsembleDetector)
    domains = synthetic.domains
    rows = domains.rows("beta-diff", ("train", "val"))
    y, X = domains.labels[rows], EmbeddingView().matrix(synthetic)
    scores = np.empty((len(MEMBERS), len(rows)))
    for held in folds(y, domains.group[rows], ["beta-diff"]):
        split = domains.split.copy().astype(object)
        split[rows[held]] = "elsewhere"
        known = replace(domains, split=split.astype(str))
        for k, member in enumerate(MEMBERS):
            one = METHODS[member].train_on(TrainingImages(X, known), ["beta-diff"])[0]
            scores[k, held] = one.score(X[rows[held]])
    z = (scores - scores.mean(axis=1)[:, None]) / scores.std(axis=1)[:, None]
    alone = np.stack([own.decision_function(synthetic) for own in members_alone(synthetic)])
    standard = (alone - scores.mean(axis=1)[:, None]) / scores.std(axis=1)[:, None]

    def regression(columns: np.ndarray, new: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=PENALTY, class_weight="balanced", tol=1e-10, max_iter=10_000)
        return np.asarray(model.fit(columns.T, y).decision_function(new.T))

    if name == "ensemble-stacked":
        wanted = regression(z, standard)
    else:
        each = [regression(z[[k]], standard[[k]]) for k in range(len(MEMBERS))]
        wanted = np.mean(each, axis=0)
    result = detector.decision_function(synthetic)
    np.testing.assert_allclose(result, wanted, rtol=1e-3, atol=1e-3)
    again = Detector.load(detector.save(tmp_path / "saved"))
    np.testing.assert_allclose(again.decision_function(synthetic), result, atol=1e-9)


def test_what_a_job_kept_is_read_and_only_the_members_are_trained(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))
    how, names = METHODS["ensemble-stacked"], workspace.domains.generators
    assert how.kept(workspace, names) is None
    assert "trained in" in measure_method(workspace, "ensemble-stacked")
    fresh = {
        refit: how.train(workspace, names, protocol=Protocol(refit=refit))
        for refit in (True, False)
    }
    before = how.kept(workspace, names[:2])
    monkeypatch.setattr("aigi_core.detectors.methods.ensembles.folds", None)  # may not be asked
    assert before is None  # other training sets were not kept
    for refit, trained in fresh.items():
        kept = how.kept(workspace, names, protocol=Protocol(refit=refit))
        assert kept is not None
        scores = score_detectors(kept, workspace)
        np.testing.assert_allclose(scores, score_detectors(trained, workspace), atol=1e-12)
        assert [one.provenance for one in kept] == [one.provenance for one in trained]
    folder = workspace.result_path("combinations", "")
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 20_000
    for file in folder.glob("*/*.npz"):
        file.write_bytes(b"damaged")
    assert how.kept(workspace, names) is None


def test_a_board_of_before_keeps_what_pages_read(synthetic_path: Path, tmp_path: Path) -> None:
    workspace = Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))
    measure_method(workspace, "ensemble-mean")
    shutil.rmtree(workspace.result_path("combinations", ""))
    assert "is now stored" in measure_method(workspace, "ensemble-mean")
    assert METHODS["ensemble-mean"].kept(workspace, workspace.domains.generators)
    assert measure_method(workspace, "ensemble-mean").endswith("stored before.")


def members_alone(workspace: Workspace) -> list[Detector]:
    return [METHODS[member].train(workspace, ["beta-diff"])[0] for member in MEMBERS]


def test_the_twin_is_not_refitted_on_validation_images(synthetic: Workspace) -> None:
    detector = METHODS["ensemble-stacked"].train(synthetic, ["beta-diff"])[0]
    other = twin(synthetic, detector)
    assert isinstance(other, EnsembleDetector)
    assert all(one.provenance["protocol"]["refit"] is False for one in other.members)
    assert not np.allclose(
        other.decision_function(synthetic), detector.decision_function(synthetic)
    )


def test_folds_keep_groups_whole_and_few_images_are_told() -> None:
    rng = np.random.default_rng(0)
    y, group = np.arange(60) % 2, rng.integers(0, 20, 60).astype(str)
    made = folds(y, group, ["x"])
    assert sorted(np.concatenate(made).tolist()) == list(range(60))
    for held in made:
        assert not set(group[held]) & set(np.delete(group, held))
    with pytest.raises(AigiError, match="needs 5 groups"):
        folds(np.array([0, 1] * 3), np.arange(6).astype(str), ["x"])
