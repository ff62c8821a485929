"""The audit's job: with images it looks for common marks, without it says so; a second run has
nothing to do.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigi_core.audit.cached import KIND, AuditSettings, load_audit
from aigi_core.workspace import Workspace, verify
from precompute.__main__ import main
from tests.factory import make_workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("audit") / "w")


def test_without_images_everything_but_marks(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", "--workspace", str(made), "--draws", "50"]
    before = Workspace.open(made).digest
    assert main(command) == 0
    assert (
        "Audited 4 generators" in (printed := capsys.readouterr().out)
        and "the images are not at hand" in printed
    )
    assert load_audit(Workspace.open(made), AuditSettings(draws=50)).overlays is None
    assert main(command) == 0 and "audited already" in capsys.readouterr().out
    assert Workspace.open(made).digest == before and verify(made) == []


def test_marks_are_looked_for_in_the_images(
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, rng = Workspace.open(made).images, np.random.default_rng(0)
    for path, generator in images[["path", "generator"]].itertuples(index=False):
        picture = np.asarray(
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((64, 64))
        )
        if generator == "beta-diff":
            picture = picture.copy()
            picture[-8:, -16:] = (10, 200, 30)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / path)
    command = ["audit", "--workspace", str(made), "--images", str(tmp_path), "--draws", "60"]
    assert main(command) == 0 and "looked for in 240 images" in capsys.readouterr().out
    overlays = load_audit(Workspace.open(made), AuditSettings(draws=60)).overlays
    assert overlays is not None
    marked = overlays.set_index("generator")["adjusted"]
    assert marked["beta-diff"] < 0.05 and (marked.drop("beta-diff") > 0.05).all()
    monkeypatch.setattr("aigi_core.audit.content.MOST_OF_A_SOURCE", 4)  # where images are many
    assert main([*command, "--force"]) == 0
    assert re.search(r"looked for in \d+ images of 240", capsys.readouterr().out)
    monkeypatch.undo()
    (tmp_path / images["path"][3]).write_bytes(b"no image")
    assert main([*command, "--force"]) == 2
    assert f"The image '{images['path'][3]}' below" in capsys.readouterr().err


def test_bad_options(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--workspace", str(made), "--images", str(tmp_path / "nowhere")]) == 2
    assert "is not there" in capsys.readouterr().err
    assert main(["audit", "--workspace", str(made), "--draws", "3"]) == 2
    assert "at least 20 draws" in capsys.readouterr().err
    assert not list((made / "results" / KIND.name).glob("*/*.tmp"))
