"""The encoder of a workspace is found again by its record, and another one is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.workspace_encoder import workspace_encoder
from aigi_core.errors import WorkspaceError
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from tests.factory import make_workspace
from tests.tiny_clip import make_tiny_clip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tiny_clip(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def workspace(model: str, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    path = make_workspace(tmp_path_factory.mktemp("encoder") / "w", per_class=20)
    encoder = load_encoder(model, None, device="cpu")
    write_manifest(path, read_manifest(path) | {"encoder": encoder.describe()})
    return Workspace(path, read_manifest(path))  # the record is another's, so it is not opened


def test_the_encoder_is_recognised_again(workspace: Workspace, model: str) -> None:
    assert (
        workspace_encoder(workspace, model, device="cpu").weights_sha256
        == workspace.encoder["weights_sha256"]
    )


def test_other_weights_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    other = make_tiny_clip(tmp_path / "other", seed=1)
    with pytest.raises(WorkspaceError, match="texts and images would not share a space"):
        workspace_encoder(workspace, other, device="cpu")


def test_to_name_it_loads_no_torch() -> None:
    code = "import aigi_core.clip.workspace_encoder, sys; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
