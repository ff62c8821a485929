"""The detector contract: kinds that are saved and read as what they are, and what needs weights."""

import pickle
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from aigi_core.detectors import detector as contract
from aigi_core.detectors.detector import (
    Detector,
    FeatureDetector,
    LinearDetector,
    require_direction,
    score_detectors,
    score_features,
)
from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.detectors.methods import METHODS, method, twin
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.detector_words import null_directions
from aigi_core.explain.reading import read
from aigi_core.inspection.panel import build_panel
from aigi_core.workspace import Workspace


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> type[FeatureDetector]:
    """A kind of detector without weights: the embedding's distance to a point."""

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Distance(FeatureDetector):
        kind: ClassVar[str] = "distance"
        centre: np.ndarray

        def score(self, features: np.ndarray) -> np.ndarray:
            distance: np.ndarray = np.linalg.norm(features - self.centre, axis=1)
            return distance

        def arrays(self) -> dict[str, np.ndarray]:
            return {"centre": self.centre}

        def about(self) -> dict[str, Any]:
            return {}

        @classmethod
        def build(
            cls, arrays: dict[str, np.ndarray], about: dict[str, Any], **common: Any
        ) -> "Distance":
            return cls(view=EmbeddingView(), centre=arrays["centre"], **common)

    monkeypatch.setitem(contract.KINDS, "distance", Distance)
    return Distance


def test_a_new_kind_is_saved_read_and_scored(
    synthetic: Workspace, constant: type[FeatureDetector], tmp_path: Path
) -> None:
    X = EmbeddingView().matrix(synthetic)
    made = constant(
        view=EmbeddingView(),
        centre=X[0],
        training_set=("beta-diff",),
        provenance={"method": "distance", "scale": "distances"},
    )  # type: ignore[call-arg]
    again = Detector.load(made.save(tmp_path / "d"))
    assert type(again) is constant and again.method == "distance"
    linear = train(synthetic, ["beta-diff"])[0]
    scores = score_detectors([linear, again], synthetic)
    np.testing.assert_array_equal(scores[1], np.linalg.norm(X - X[0], axis=1))
    np.testing.assert_array_equal(scores, score_features([linear, made], X))
    for ask in (require_direction, lambda d: read(synthetic, d)):
        with pytest.raises(AigiError, match="no weights in the joint space"):
            ask(again)
    with pytest.raises(AigiError, match="not log-odds"):
        again.predict_proba(synthetic)
    panel = build_panel(synthetic, [linear, made])
    assert panel.logits(synthetic).shape == (3, len(X)) and panel.reading(1) is not None
    for judge in (0, 2):  # the ensemble holds a member without weights
        with pytest.raises(AigiError, match="no weights"):
            panel.reading(judge)


def test_an_unknown_kind_is_refused(synthetic: Workspace, tmp_path: Path) -> None:
    file = train(synthetic, ["beta-diff"])[0].save(tmp_path / "d")
    file.write_text(file.read_text().replace('"kind": "linear"', '"kind": "deep"'))
    with pytest.raises(AigiError, match="no kind of detector 'deep'"):
        Detector.load(file)


def test_files_of_the_first_format_are_read(synthetic: Workspace, tmp_path: Path) -> None:
    detector = train(synthetic, ["beta-diff"])[0]
    file = detector.save(tmp_path / "d")
    text = file.read_text().replace('"format": 2', '"format": 1').replace('"kind": "linear",\n', "")
    file.write_text(text)
    result = Detector.load(file)
    assert isinstance(result, LinearDetector)
    np.testing.assert_array_equal(result.weights, detector.weights)


@pytest.mark.parametrize("refit", [True, False])
def test_a_twin_is_the_training_without_refit(synthetic: Workspace, refit: bool) -> None:
    protocol = Protocol(refit=refit)
    plain = Protocol(refit=False)
    for learn in (partial(train, view=None), train_residual):
        own = learn(synthetic, ["beta-diff"], protocol=protocol)
        wanted = learn(synthetic, ["beta-diff"], protocol=plain)
        np.testing.assert_allclose(
            *score_detectors([twin(synthetic, own[0]), wanted[0]], synthetic), atol=1e-6
        )


def test_the_registry_names_what_there_is() -> None:
    assert list(METHODS)[:2] == ["logistic", "residual"]
    for name, one in METHODS.items():
        assert one.name == name and one.title and one.source and one.chosen and one.cost
        assert pickle.dumps(one.train)  # for another process
    with pytest.raises(AigiError, match="there are logistic"):
        method("deep")


def test_the_null_of_a_detector_on_heads_is_in_the_joint_space(synthetic: Workspace) -> None:
    detector = train(synthetic, ["beta-diff"], HeadsView(((0, 0), (1, 2))))[0]
    drawn = null_directions(synthetic, detector, 5)
    assert drawn.shape == (5, synthetic.embeddings.shape[1]) and np.isfinite(drawn).all()
