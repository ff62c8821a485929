"""Published layers against the layer itself in torch, and files that cannot be taken."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from aigi_core.detectors.detector import Detector
from aigi_core.detectors.published import published_detector, read_layer
from aigi_core.errors import AigiError
from aigi_core.transfer.imported import imported_names, origin_in_words
from aigi_core.workspace import Workspace
from precompute.__main__ import main


@pytest.fixture
def layer(synthetic: Workspace) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(synthetic.embeddings.shape[1], 1)


def saved(layer: torch.nn.Linear, file: Path) -> Path:
    state = layer.state_dict()
    if file.suffix == ".npz":
        np.savez(file, coef_=state["weight"].numpy(), intercept_=state["bias"].numpy())
    elif file.suffix == ".safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save({"model": {f"fc.{k}": v for k, v in state.items()}, "epoch": 3}, file)
    return file


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz"])
def test_scores_are_the_layers_own(
    synthetic: Workspace, layer: torch.nn.Linear, tmp_path: Path, suffix: str
) -> None:
    file = saved(layer, tmp_path / f"fc{suffix}")
    x = torch.tensor(np.array(synthetic.embeddings, np.float32))
    for feature, seen in (("embedding", x), ("unit-embedding", torch.nn.functional.normalize(x))):
        detector = published_detector(
            synthetic, file, name="lab", feature=feature, encoder="synthetic"
        )
        wanted = layer(seen).detach().numpy()[:, 0]
        np.testing.assert_allclose(detector.decision_function(synthetic), wanted, atol=1e-5)


def test_the_job_stores_a_row_and_saves_a_detector(
    synthetic_path: Path,
    layer: torch.nn.Linear,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    file, out = saved(layer, tmp_path / "fc.pth"), tmp_path / "out.npz"
    command = ["import-detector", "--workspace", str(path), str(file), "--encoder", "synthetic"]
    command += ["--feature", "embedding", "--out", str(out)]
    assert main([*command, "--reversed"]) == 0
    written = capsys.readouterr().out.partition("Saved as ")[2].partition(", for")[0]
    assert [Path(one).is_file() for one in written.split(" and ")] == [True, True], written
    workspace = Workspace.open(path)
    assert imported_names(workspace) == ["fc"]
    assert "job import-detector" in origin_in_words(workspace, "fc")
    x = torch.tensor(np.array(workspace.embeddings, np.float32))
    np.testing.assert_allclose(
        Detector.load(out).decision_function(workspace),
        -layer(x).detach().numpy()[:, 0],
        atol=1e-5,
    )


def test_what_cannot_be_taken_is_told_in_a_sentence(
    synthetic: Workspace, layer: torch.nn.Linear, tmp_path: Path
) -> None:
    good = saved(layer, tmp_path / "fc.pth")
    wide = saved(torch.nn.Linear(99, 1), tmp_path / "wide.npz")
    two = saved(torch.nn.Linear(24, 2), tmp_path / "two.npz")
    whole, broken, text = (tmp_path / name for name in ("whole.pth", "broken.pth", "fc.txt"))
    torch.save(layer, whole)  # a pickled module, not tensors
    broken.write_bytes(b"no")
    text.write_text("1")
    layer.weight.data[0, 0] = float("nan")
    nan = saved(layer, tmp_path / "nan.safetensors")
    for file, words in (
        (two, "found 0"),
        (whole, "would run code"),
        (broken, "broken.pth"),
        (text, "Expected a file"),
        (nan, "NaN or infinity"),
        (tmp_path / "no.npz", "no file"),
    ):
        with pytest.raises(AigiError, match=words):
            read_layer(file)
    for file, feature, encoder, words in (
        (wide, "embedding", "synthetic", "width 99"),
        (good, "embedding", "ViT-L-14", "was trained on ViT-L-14"),
        (good, "logits", "synthetic", "no feature"),
        (good, "pre", "synthetic", "pre"),
    ):
        with pytest.raises(AigiError, match=words):
            published_detector(synthetic, file, name="x", feature=feature, encoder=encoder)
