"""Synthetic workspaces: heads add up to embeddings, and the planted confounds are there."""

import json
from pathlib import Path

import numpy as np
import pytest

from aigi_core.workspace import Workspace
from benchmarks.__main__ import main


def test_writes_a_sound_workspace_with_heads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks._large_workspace.BLOCK", 4000)
    options = ["--images", "200", "--generators", "2", "--encoder", "ViT-B-32"]
    options += ["--heads", "--texts"]
    assert main(["make-workspace", *options, "--out", str(tmp_path / "w")]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["images"] == 200 and figures["bytes"] > 200 * 12 * 12 * 64 * 2
    workspace = Workspace.open(tmp_path / "w")
    assert workspace.heads.shape == (12, 12, 200, 64) and workspace.embeddings.shape == (200, 512)
    maps = np.load(tmp_path / "w" / "decomposition.npz")["head_maps"]
    total = np.einsum("lhnk,lhkd->nd", workspace.heads.astype(np.float32), maps, optimize=True)
    rest = workspace.embeddings - total
    assert np.abs(rest - rest[0]).max() < 1e-4 < np.abs(total).max()
    bank = workspace.text_bank("phrases")
    assert bank.embeddings.shape == (len(bank.table), 512) and "scene" in set(
        bank.table["category"]
    )
    png = workspace.images["format"] == "PNG"
    assert (png == (workspace.images["generator"] == "generator 0")).all() and png.any()
    assert main(["make-workspace", *options, "--out", str(tmp_path / "w")]) == 2
    wrong = ["--images", "200", "--encoder", "none", "--generators", "2", "--out", "elsewhere"]
    assert main(["make-workspace", *wrong]) == 2
