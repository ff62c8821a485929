"""README's commands are those that CI runs, what it points at exists, and its example runs."""

import os
import re
import subprocess
from typing import Any

import numpy as np
import pandas as pd
import pytest

from aigi_core.workspace import Workspace
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def test_ci_runs_the_readme_line() -> None:
    (line,) = re.findall(r"^    (python3 -m venv .*pytest)$", README, re.M)
    script = ROOT / ".ci" / "run"
    install, test = line.rsplit(" && ", 1)
    assert {install, test} <= set(script.read_text().splitlines()) and os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_both_commands_install_what_is_there() -> None:
    named = set(re.findall(r"-r\s+([\w.-]+\.txt)", README))
    assert {"requirements.txt", "requirements-dev.txt"} <= named
    assert all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize("target", re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))
def test_pictures_exist(target: str) -> None:
    assert (ROOT / target).is_file()


def test_the_notebook_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.split("## From a notebook")[1].split("\n## ")[0]
    code = "\n".join(line[4:] for line in re.findall(r"^    .*$|^$", section, re.M))
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    assert "ood" in capsys.readouterr().out


def test_rows_of_arrays_are_the_images_that_are_kept() -> None:
    [line] = re.findall(r"^    (images = pd\.read_parquet.*)$", README, re.M)
    workspace = Workspace.open(ROOT / "assets" / "demo")
    space: dict[str, Any] = {"pd": pd}
    exec(line.replace("WORKSPACE", str(workspace.path)), space)
    assert space["images"]["path"].tolist() == workspace.images["path"].tolist()
    for name, axis in (("embeddings", 0), ("heads", 2), ("ln_post", 0), ("features/pre", 0)):
        rows = np.load(workspace.path / f"{name}.npy", mmap_mode="r").shape[axis]
        assert rows == len(space["images"]), name
