"""Detectors that are kept are those that training gives; whatever else lies there is trained
again.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aigi_core import results
from aigi_core.detectors import stored
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.stored import load_detectors, save_detectors
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from tests.conftest import ROOT

SETS = (("alpha-gan",), ("beta-diff", "gamma-diff"))


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))


def same(result: list[Detector] | None, wanted: list[Detector]) -> None:
    assert result is not None and len(result) == len(wanted)
    for mine, theirs in zip(result, wanted, strict=True):
        np.testing.assert_array_equal(mine.weights, theirs.weights)
        for name in ("view", "bias", "C", "threshold", "training_set", "provenance"):
            assert getattr(mine, name) == getattr(theirs, name), name


@pytest.mark.parametrize("view", [EmbeddingView(), EmbeddingView(without=(1, 3))])
def test_what_is_read_is_what_was_trained(workspace: Workspace, view: EmbeddingView) -> None:
    protocol = Protocol(C=(0.1, 1.0), fit_intercept=False)
    assert load_detectors(workspace, SETS, view, protocol) is None
    trained = [d.with_threshold(0.25) for d in train(workspace, SETS, view, protocol)]
    save_detectors(workspace, trained, protocol)
    result = load_detectors(Workspace.open(workspace.path), SETS, view, protocol)
    same(result, trained)
    np.testing.assert_array_equal(
        score_detectors(result or [], workspace), score_detectors(trained, workspace)
    )


def test_other_arguments_are_other_detectors(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_detectors(workspace, train(workspace, SETS))
    assert load_detectors(workspace, SETS) is not None
    for arguments in (
        (SETS[:1],),
        (SETS[::-1],),
        (SETS, EmbeddingView(normalise=False)),
        (SETS, None, Protocol(class_weight=None)),
    ):
        assert load_detectors(workspace, *arguments) is None
    monkeypatch.setattr(stored, "KIND", replace(stored.KIND, format=stored.KIND.format + 1))
    assert load_detectors(workspace, SETS) is None


def test_other_images_are_other_detectors(workspace: Workspace) -> None:
    save_detectors(workspace, train(workspace, SETS))
    manifest = workspace.manifest | {
        "files": {n: e | {"sha256": "0" * 64} for n, e in workspace.manifest["files"].items()}
    }
    assert load_detectors(Workspace(workspace.path, manifest), SETS) is None


@pytest.mark.parametrize(
    "views", [[], [HeadsView(((0, 0),))], [EmbeddingView(), EmbeddingView(without=(1,))]]
)
def test_other_views_are_refused(workspace: Workspace, views: list[FeatureView]) -> None:
    mixed = [detector for view in views for detector in train(workspace, SETS[:1], view)]
    with pytest.raises(
        AigiError,
        match="these have the views: " + (", ".join(view.kind for view in views) or "none"),
    ):
        save_detectors(workspace, mixed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (results.NOTE, b"{}"),
        (results.NOTE, b"{"),
        ("detectors-*.safetensors", b"short"),
        ("detectors-*.safetensors", None),
        (results.NOTE, None),
    ],
)
def test_what_is_damaged_does_not_count(
    workspace: Workspace, name: str, content: bytes | None
) -> None:
    [file] = save_detectors(workspace, train(workspace, SETS)).glob(name)
    file.unlink() if content is None else file.write_bytes(content)
    assert load_detectors(workspace, SETS) is None


@pytest.mark.parametrize("damage", ["another number of weights", "not a number"])
def test_numbers_that_cannot_be_do_not_count(workspace: Workspace, damage: str) -> None:
    detectors = train(workspace, SETS)
    save_detectors(workspace, detectors)
    if damage == "not a number":
        detectors[0].weights[0] = np.nan
        save_detectors(workspace, detectors)
    else:
        [file] = workspace.path.glob(f"results/*/*/{results.NOTE}")
        note = json.loads(file.read_text("utf-8"))
        del note["content"]["provenance"][1:]
        file.write_text(json.dumps(note), "utf-8")
    assert load_detectors(workspace, SETS) is None


def test_those_of_the_demo_are_what_training_gives_today() -> None:
    """Where this fails after a change of training: raise the format, run ``python -m precompute
    detectors`` on the demo.
    """
    demo = Workspace.open(ROOT / "assets" / "demo")
    sets = [(name,) for name in demo.domains.generators]
    kept, fresh = load_detectors(demo, sets), train(demo, sets)
    assert kept is not None and [d.C for d in kept] == [d.C for d in fresh]
    np.testing.assert_allclose(
        score_detectors(kept, demo), score_detectors(fresh, demo), rtol=1e-6, atol=1e-6
    )
