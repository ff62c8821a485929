"""Build: folder in, finished workspace out; a second time nothing is computed; mistakes are met
before the ingest.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigi_core.clip._open_clip import open_clip
from aigi_core.clip.names import configured
from aigi_core.commands import open_command
from aigi_core.detectors.stored import load_detectors
from aigi_core.workspace import Workspace, verify
from precompute.__main__ import main
from tests.tiny_clip import make_tiny_clip


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for kind in ("real", "fake/one"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
                tmp_path / f"images/{kind}/{i}.png"
            )
    model = make_tiny_clip(tmp_path / "tiny")
    images, out = str(tmp_path / "images"), str(tmp_path / "w")
    return [
        "build",
        "--images",
        images,
        "--out",
        out,
        "--model",
        model,
        "--device",
        "cpu",
        "--workers",
        "1",
        "--words",
        "40",
    ]


def test_build_and_again(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Encoded 20 images" in printed and printed.count("Layout: ") == 1
    assert "Wrote" not in printed.partition("Encoding follows.")[0]  # nobody takes it for the end
    assert f"Listed 20 images in {tmp_path / 'w'}.\nEncoding follows." in printed
    *_, audited, last = printed.splitlines()
    assert "1 detector and the audit, about 1 minute" in printed and "udit" in audited
    assert last == f"Done: open it with '{open_command(tmp_path / 'w')}'."
    script = last.split("'")[1].split()[1:]  # and it starts
    shown = subprocess.run(
        [sys.executable, *script, "--help"], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0 and "Start the app." in shown.stdout
    assert verify(tmp_path / "w") == []
    workspace = Workspace.open(tmp_path / "w")
    assert len(workspace.images) == len(workspace.embeddings) == 20
    assert set(workspace.text_banks) == {"vocabulary", "phrases"}
    assert workspace.text_bank("vocabulary").embeddings.shape == (40, 24)
    assert load_detectors(workspace, ["one"]) is not None
    before = (tmp_path / "w/workspace.json").read_bytes()
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Nothing changed" in printed
    assert "Nothing to do" in printed
    assert (tmp_path / "w/workspace.json").read_bytes() == before


def test_build_leaves_texts_away_when_told(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command[: command.index("--words")], "--no-texts", "--no-audit"]) == 0
    printed = capsys.readouterr().out
    assert "No bank of texts: --no-texts was given; '" in printed and "precompute text" in printed
    workspace = Workspace.open(tmp_path / "w")
    assert not workspace.text_banks and load_detectors(workspace, ["one"]) is not None


def test_a_question_is_asked_before_the_model_is_loaded(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command[command.index("--model") + 1] = "ViT-L-14"
    (tmp_path / "images/fake/one").rename(tmp_path / "images/fake/cat")
    assert main([*command, "--pretrained", "openai"]) == 2
    assert "--rename cat=GENERATOR" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("model", "meant"),
    [("dmeo", "demo"), ("vit-l-14", "ViT-L-14"), ("timm:resnt50", "resnet50"), ("tmm:x", "timm:x")],
)
def test_a_mistyped_model_is_named_before_weights_are_asked_for(
    command: list[str], capsys: pytest.CaptureFixture[str], model: str, meant: str
) -> None:
    command[command.index("--model") + 1] = model
    assert main(command) == 2
    said = capsys.readouterr().err
    assert re.search(rf"did you mean ([\w.:-]+ or )*{meant}\b", said) and "weights" not in said


@pytest.mark.parametrize("model", ["demoo", "tmm:x"])
def test_a_mistyped_model_is_named_before_a_folder_is_listed_or_torch_is_loaded(
    command: list[str], model: str
) -> None:
    command[command.index("--model") + 1] = model
    code = (
        f"import sys\nfrom precompute.__main__ import main\nassert main({command!r}) == 2\n"
        "assert not {'torch', 'open_clip'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0 and f"There is no model {model!r}" in run.stderr, run.stderr
    assert run.stdout == ""


def test_names_are_those_that_open_clip_lists() -> None:
    assert set(configured()) == set(open_clip.list_models())


def test_a_mistake_in_the_model_costs_no_ingest(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command[command.index("--model") + 1] = "ViT-L-15"
    assert main([*command, "--pretrained", "openai"]) == 2
    assert "no model 'ViT-L-15'" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
