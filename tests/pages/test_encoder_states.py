"""Every page on a workspace whose encoder gives its embedding only: what needs more says so in one
note, and the rest of the page stands.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.assets import asset
from aigi_core.encodings import encodings, open_encodings
from aigi_core.errors import NotGivenError
from aigi_core.workspace import Workspace, read_manifest, verify, write_manifest
from tests.factory import NO_HEADS, embedding_only, make_workspace
from tests.pages.reading import headline, stats, tables
from ui.toolkit.router import PAGES

Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from precompute.__main__ import main
    from precompute.search.job import search

    path = embedding_only(make_workspace(tmp_path_factory.mktemp("w") / "w"))
    search(path)
    assert main(["methods", "--workspace", str(path)]) == 0
    assert main(["attribution", "--workspace", str(path), "--draws", "20"]) == 0
    return path


def test_the_workspace_says_what_it_lacks(workspace: Path) -> None:
    opened = Workspace.open(workspace)
    assert verify(workspace) == []
    for ask in (lambda: opened.heads, lambda: opened.ln_post, lambda: opened.text_bank("phrases")):
        with pytest.raises(NotGivenError, match=f"The encoder 'synthetic' has no .*: {NO_HEADS}"):
            ask()
    assert opened.decomposition["head_maps"].shape == (0, 0, 0, 24)


@pytest.mark.parametrize("stem", PAGES)
def test_pages(stem: str, workspace: Path, open_app: Open) -> None:
    view = {"part": "How deep"} if stem == "encoders" else {}
    app = open_app(workspace, stem, **view)
    assert not app.exception
    assert not app.error, [error.value for error in app.error]
    notes = [note.value.replace("\\", "") for note in app.info]
    commands = [code.value for code in app.code if code.value.startswith("python -m precompute")]
    assert all(f"--workspace {workspace}" in line for line in commands), commands
    assert commands or stem != "encoders"
    if stem in ("heads", "words"):
        assert any(NO_HEADS in note for note in notes), notes


def test_the_demos_two_encoders_stand_beside_each_other(open_app: Open) -> None:
    first, second = open_encodings(asset("demo"))
    app = open_app(asset("demo"), "methods", encoder=second, encoders="1")
    assert not app.exception and not app.error
    shown = [table for table in tables(app) if "encoder" in table]
    assert [set(table["encoder"]) for table in shown] == [{first, second}]
    app = open_app(asset("demo"), "methods", encoder=second, part="Your own texts")
    assert any("has no text tower" in note.value for note in app.info)


def test_one_encoder_has_one_name_on_the_page(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    write_manifest(path, read_manifest(path) | {"name": "w1"})
    model = Workspace.open(path).encoder["model"]
    app = open_app(path, "encoders")
    said = f"This workspace has one encoder, `w1` (model `{model}`): "
    assert headline(app).startswith(said)
    assert "w1" in stats(app)


def test_a_page_of_all_encoders_says_that_it_ignores_an_unknown_one(open_app: Open) -> None:
    app = open_app(asset("demo"), "encoders", encoder="😀")
    [said] = [warning.value for warning in app.warning if "encoder" in warning.value]
    assert "😀" in said and "is ignored" in said
    known = open_app(asset("demo"), "encoders", encoder=next(iter(encodings(asset("demo")))))
    assert not known.warning
