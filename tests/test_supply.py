"""What is installed is declared, pinned and locked with hashes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted(f for f in ROOT.glob("requirements*.txt") if f.name != "requirements-dev.txt")
MODULES = {"PIL": "pillow", "sklearn": "scikit-learn", "faiss": "faiss-cpu"}
"""Modules that are called otherwise than their package."""
OWN = {"aigi_core", "precompute", "ui", "pages", "benchmarks", "tests", "reports"}


def pins(file: Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;#]+)", file.read_text("utf-8"), re.M)
    return {name.lower().replace("_", "-"): version for name, version in found}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_pin_is_locked_with_hashes(file: Path) -> None:
    lock = file.with_suffix(".lock")
    locked = pins(lock)
    assert pins(file).items() <= locked.items(), "run .ci/lock"
    blocks = re.split(r"\n(?=[\w])", lock.read_text("utf-8").split("lock\n", 1)[1])
    assert len(blocks) == len(locked)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)


def test_extras_are_locked_with_the_same_versions() -> None:
    base = pins(ROOT / "requirements.lock")
    for file in FILES:
        extra = pins(file.with_suffix(".lock"))
        declared = pins(ROOT / "requirements.txt")
        assert {n: v for n, v in extra.items() if n in declared and declared[n] != v} == {}
        assert base.keys() >= declared.keys()


def test_what_is_imported_is_declared() -> None:
    declared = {name for file in FILES for name in pins(file)}
    undeclared = set()
    for folder in ("aigi_core", "precompute", "ui", "pages", "reports"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""] if not node.level else []
                elif isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                else:
                    continue
                for name in names:
                    module = name.partition(".")[0]
                    if module in sys.stdlib_module_names or module in OWN:
                        continue
                    package = MODULES.get(module, module).lower().replace("_", "-")
                    if package not in declared and f"{package}-torch" not in declared:
                        undeclared.add(module)
    assert undeclared == set()


def test_licences_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "licences")], capture_output=True, text=True, check=True
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == len(pins(ROOT / "requirements.lock"))
    assert ["numpy", pins(ROOT / "requirements.lock")["numpy"]] in [line[:2] for line in lines]
