"""What is installed is declared, pinned and locked with hashes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.source_files import files, imports

FILES = sorted(f for f in ROOT.glob("requirements*.txt") if f.name != "requirements-dev.txt")
MODULES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "faiss": "faiss-cpu",
    "open_clip": "open-clip-torch",
}
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


def test_extras_agree_with_each_other_and_are_all_installed_for_the_tests() -> None:
    versions: dict[str, set[str]] = {}
    for file in FILES:
        for name, version in pins(file).items():
            versions.setdefault(name, set()).add(version)
    assert {name: own for name, own in versions.items() if len(own) > 1} == {}
    included = (ROOT / "requirements-dev.txt").read_text("utf-8").splitlines()
    assert {f"-r {file.name}" for file in FILES} <= set(included)


def test_locks_can_be_installed_into_one_environment() -> None:
    versions: dict[str, set[str]] = {}
    for file in FILES:
        for name, version in pins(file.with_suffix(".lock")).items():
            versions.setdefault(name, set()).add(version)
    assert {name: own for name, own in versions.items() if len(own) > 1} == {}, "run .ci/lock"


def test_the_container_takes_the_python_of_the_locks_and_the_whole_app() -> None:
    """What its steps do is tried by tests/e2e/test_proxy.py."""
    folder = ROOT / ".ci" / "container"
    recipe = (folder / "Containerfile").read_text("utf-8")
    python = re.search(r"python:(\d+\.\d+)", recipe)
    assert python and f"--python-version {python[1]} " in (ROOT / ".ci" / "lock").read_text("utf-8")
    assert "COPY . ." in recipe
    ignored = (folder / "Containerfile.dockerignore").read_text("utf-8").split()
    assert set(ignored) <= {".git", ".venv", "tests", "docs", "benchmarks"}
    docs = (ROOT / "docs" / "security.md").read_text("utf-8")
    assert "-f .ci/container/Containerfile ." in docs


NOT_IMPORTED = {
    "uvloop": "uvicorn, which serves the app, takes it where it is installed",
    "kaleido": "plotly's to_image imports it",
    "transformers": "tokenizers of open_clip import it, and peft",
    "accelerate": "transformers and diffusers load weights with it",
    "sentencepiece": "the tokenizers of transformers import it",
    "protobuf": "the tokenizers of transformers import it",
    "s3fs": "fsspec reads s3:// with it",
    "aiohttp": "fsspec reads https:// with it",
}
"""Declared packages that this code does not import, and who does."""


def imported_packages() -> set[str]:
    """Packages that what is installed imports, those of Python and its own left out."""
    modules = set()
    for folder in ("aigi_core", "precompute", "ui", "pages", "reports", "app.py"):
        for file in files(folder):
            modules |= {name.partition(".")[0] for name in imports(file)}
    return {
        MODULES.get(module, module).lower().replace("_", "-")
        for module in modules - OWN - set(sys.stdlib_module_names)
    }


def test_what_is_imported_is_declared_and_nothing_else_is() -> None:
    declared = {name for file in FILES for name in pins(file)}
    used = imported_packages()
    assert used - declared == set()
    assert declared - used == set(NOT_IMPORTED)


def test_licences_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "licences")], capture_output=True, text=True, check=True
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    locked = {pin for file in FILES for pin in pins(file.with_suffix(".lock")).items()}
    assert {(name, version) for name, version, _ in lines} == locked and len(lines) == len(locked)
    assert "not stated" not in {licence for *_, licence in lines}
