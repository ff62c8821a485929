"""README's examples run as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_notebook_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / "README.md").read_text("utf-8").split("## From a notebook")[1].split("\n## ")[0]
    code = "\n".join(line[4:] for line in re.findall(r"^    .*$|^$", section, re.M))
    monkeypatch.chdir(ROOT)
    exec(compile(code, "README.md", "exec"), {})
    assert "ood" in capsys.readouterr().out
