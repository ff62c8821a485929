"""A server checks in the background what it opens, and its pages say what came of it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace
from ui.toolkit import verification

Open = Callable[..., AppTest]


@pytest.fixture
def verifier() -> Iterator[verification.Verifier]:
    verification.begin()
    yield verification._verifiers[0]
    verification._verifiers.clear()


def test_a_flipped_bit_is_found_in_the_background_and_said(
    synthetic_path: Path, tmp_path: Path, open_app: Open, verifier: verification.Verifier
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    workspace = Workspace.open(path)
    assert verifier.ask(workspace).in_words == "files being verified"
    verifier.wait()
    said = verifier.ask(workspace)
    assert said.in_words.startswith("files verified 20") and not said.problems
    app = open_app(path, "overview")
    assert not app.error and any("files verified 20" in foot.body for foot in feet(app))

    other = Path(shutil.copytree(synthetic_path, tmp_path / "other"))
    content = bytearray((other / "heads.npy").read_bytes())
    content[-9] ^= 1
    (other / "heads.npy").write_bytes(content)
    opened = Workspace.open(other)  # sizes and shapes are right
    verifier.ask(opened)
    verifier.wait()
    assert any("heads.npy: sha256 is" in problem for problem in verifier.ask(opened).problems)
    app = open_app(other, "overview")
    assert any("not what was recorded" in error.value for error in app.error)
    assert any("1 problem in its files" in foot.body for foot in feet(app))


def feet(app: AppTest) -> list[Any]:
    return [one.proto for one in app.get("html")]


def test_a_large_workspace_is_not_read_unasked(
    synthetic_path: Path, verifier: verification.Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MOST_BYTES", 10)
    assert "run verify" in verifier.ask(Workspace.open(synthetic_path)).in_words


def test_without_a_server_nothing_is_checked(synthetic_path: Path) -> None:
    assert verification.verification(Workspace.open(synthetic_path)).in_words == ""
