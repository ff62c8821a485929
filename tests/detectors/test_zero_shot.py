"""Zero-shot against a loop over texts, and where its texts come from."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.assets import asset
from aigi_core.detectors.detector import Detector
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods import METHODS, twin
from aigi_core.detectors.methods.zero_shot import (
    GENERATED_TEXTS,
    REAL_TEXTS,
    ZeroShotDetector,
    zero_shot_texts,
)
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest


def with_texts(source: Path, target: Path, categories: list[str]) -> Workspace:
    """A copy with a bank ``zero-shot`` of random texts under these headings."""
    shutil.copytree(source, target)
    d = Workspace.open(target).embeddings.shape[1]
    texts = np.random.default_rng(0).standard_normal((len(categories), d)).astype(np.float16)
    np.save(target / "text" / "zero-shot.npy", texts)
    table = pd.DataFrame({"text": [f"t{i}" for i in range(len(texts))], "category": categories})
    table.to_parquet(target / "text" / "zero-shot.parquet", index=False)
    manifest = read_manifest(target)
    manifest["text"]["zero-shot"] = {"texts": len(texts)}
    for suffix in (".npy", ".parquet"):
        name = f"text/zero-shot{suffix}"
        manifest["files"][name] = describe_file(target, name)
    write_manifest(target, manifest)
    return Workspace.open(target)


@pytest.mark.parametrize("way", ["mean", "softmax"])
def test_scores_are_those_of_a_loop(synthetic_path: Path, tmp_path: Path, way: str) -> None:
    workspace = with_texts(synthetic_path, tmp_path / "w", ["real"] * 3 + ["generated"] * 2)
    detector = METHODS[f"zero-shot-{way}"].train(workspace, ["beta-diff"])[0]
    assert isinstance(detector, ZeroShotDetector)
    texts = np.load(tmp_path / "w" / "text" / "zero-shot.npy").astype(float)
    texts /= np.linalg.norm(texts, axis=1)[:, None]
    for row, score in enumerate(detector.decision_function(workspace)[:20]):
        e = EmbeddingView().matrix(workspace)[row]
        if way == "mean":
            sides = [
                float(np.dot(e, side.sum(axis=0)) / np.linalg.norm(side.sum(axis=0)))
                for side in (texts[3:], texts[:3])
            ]
            wanted = sides[0] - sides[1]
        else:  # log-odds of the softmax's sums, each side as one text
            odds = np.exp(detector.temperature * np.array([np.dot(e, text) for text in texts]))
            wanted = np.log(odds[3:].mean() / odds[:3].mean())
        assert score == pytest.approx(wanted - detector.offset, abs=1e-9)
    again = Detector.load(detector.save(tmp_path / "saved"))
    rescored = again.decision_function(workspace)
    np.testing.assert_array_equal(rescored, detector.decision_function(workspace))
    same = twin(workspace, detector).decision_function(workspace)
    np.testing.assert_allclose(same, rescored, atol=1e-12)  # no image trains it


def test_the_default_texts_stand_in_the_projects_phrases() -> None:
    lines = asset("phrases.txt").read_text("utf-8").splitlines()
    assert set(REAL_TEXTS) | set(GENERATED_TEXTS) <= set(lines)
    real, generated = zero_shot_texts(Workspace.open(asset("demo")))
    assert len(real) == len(REAL_TEXTS) and len(generated) == len(GENERATED_TEXTS)


def test_without_texts_a_sentence_says_what_to_do(
    synthetic: Workspace, synthetic_path: Path, tmp_path: Path
) -> None:
    one = METHODS["zero-shot-mean"]
    assert "zero-shot" in one.missing(synthetic)
    with pytest.raises(AigiError, match="text"):
        one.train(synthetic, ["beta-diff"])
    half = with_texts(synthetic_path, tmp_path / "w", ["real"] * 3)
    with pytest.raises(AigiError, match="# generated"):
        one.train(half, ["beta-diff"])
