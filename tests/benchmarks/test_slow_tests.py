"""Slow tests are run by a benchmark, which counts them; each names a quicker one."""

import ast
import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from tests.conftest import ROOT

TESTS = """import pytest


@pytest.mark.slow("a")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_slow(n):
    if n == 3:
        pytest.skip("not here")
    assert n == 1


def test_quick():
    assert False, "a test without the mark"
"""


def test_they_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "test_some.py"
    file.write_text(TESTS)
    assert main(["slow-tests", str(file), "--processes", "0"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    counts = {name: found[name] for name in ("tests", "passed", "failed", "skipped")}
    assert counts == {"tests": 3, "passed": 1, "failed": 1, "skipped": 1}
    assert [name.split("::")[1] for name in found["failures"]] == ["test_slow[2]"]
    file.write_text("def test_quick():\n    pass\n")
    assert main(["slow-tests", str(file), "--processes", "0"]) == 2
    assert "none of these tests is marked slow" in capsys.readouterr().err


def marks() -> dict[str, list[str]]:
    """File -> what the marks ``slow`` in it say; "" for one that says nothing."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "tests").rglob("*.py")):
        if "pytest.mark.slow" not in (text := file.read_text("utf-8")):
            continue
        tree = ast.parse(text)
        told = {
            node.func: node.args[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.slow":
                found.setdefault(str(file.relative_to(ROOT)), []).append(str(told.get(node, "")))
    return found


def test_each_names_a_quicker_test_that_is_there() -> None:
    found = marks()
    assert found
    for file, names in found.items():
        for name in names:
            path, _, test = name.partition("::")
            assert test, f"{file}: say in the mark which quicker test checks the same"
            text = (ROOT / path).read_text("utf-8")
            before, definition, _ = text.partition(f"def {test}(")
            assert definition, f"{file}: there is no {name}"
            assert "pytest.mark.slow" not in before.rpartition("\n\n\n")[2], (
                f"{name} is slow itself"
            )
