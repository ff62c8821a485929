"""README's commands are those that CI runs, what it points at exists, and its example runs."""

import os
import re
import subprocess

import pytest

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
