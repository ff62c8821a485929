"""The page of a generator dropped in: its numbers are the library's; empty and wrong input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace, read_manifest, write_manifest
from tests.factory import NO_HEADS, embedding_only
from tests.pages.reading import text_of
from tests.tiny_workspace import make_picture
from ui.bodies import new_generator as body

Open = Callable[..., AppTest]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(12):
        make_picture(5, i).save(tmp_path / f"{i}.png")
    (tmp_path / "no.png").write_bytes(b"no image")
    return tmp_path


def opened(open_app: Open, tiny: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> AppTest:
    workspace, weights = tiny
    monkeypatch.setenv("AIGI_WEIGHTS", weights)
    app = open_app(workspace, "new_generator")
    assert not app.exception
    return app


def test_a_folder_becomes_a_column(
    open_app: Open, tiny: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(open_app, tiny, monkeypatch)
    assert "Bring at least 10 images" in text_of(app)
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    assert not app.exception
    text = text_of(app)
    assert "Of 2 detectors" in text
    assert "its 12 images" in text
    assert any("no.png" in warning.value for warning in app.warning)
    [command] = [code.value for code in app.code if "precompute add" in code.value]
    assert "--generator NAME --pool NAME=" in command
    assert any("NAME for the generator's name." in one.value for one in app.markdown)
    app.text_input(key="new_name").set_value("mine").run()
    [command] = [code.value for code in app.code if "precompute add" in code.value]
    assert "--generator mine --pool mine=" in command
    assert not any("Fill it in first" in one.value for one in app.markdown)


def test_uploads_are_called_by_their_names_alone(
    open_app: Open, tiny: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(open_app, tiny, monkeypatch)
    files = [(f"{i}.png", (folder / f"{i}.png").read_bytes()) for i in range(12)]
    files += [("bad.jpg", b"no image"), ("bad.jpg", b"nor this")]
    app.file_uploader(key="new_uploads").set_value(
        [(name, content, "image/png") for name, content in files]
    ).run()
    [warning] = [one.value for one in app.warning if "cannot be used" in one.value]
    assert warning.startswith("2 of 14 files") and warning.count("- `bad.jpg`: not an image") == 2


def test_a_name_that_is_taken_is_reported(
    open_app: Open, tiny: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(open_app, tiny, monkeypatch)
    app.text_input(key="new_name").set_value("one")
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    assert any("is taken" in error.value for error in app.error)


def test_an_encoder_without_heads_and_texts(
    open_app: Open,
    tiny: tuple[Path, str],
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The column stands; what needs texts says so in one note."""
    path, weights = tiny
    copy = tmp_path_factory.mktemp("bare") / "w"
    shutil.copytree(path, copy)
    app = opened(open_app, (embedding_only(copy), weights), monkeypatch)
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    assert not app.exception
    assert not app.error, [error.value for error in app.error]
    assert "its 12 images" in text_of(app)
    assert any(NO_HEADS in note.value for note in app.info)


def test_images_of_the_workspace_are_not_taken_for_new_ones(
    open_app: Open, tiny: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    root = Path(read_manifest(workspace)["image_root"])
    old = Workspace.open(workspace).images["path"].tolist()
    alone = folder / "alone"
    for i, path in enumerate(old[:3]):
        (folder / f"old-{i}.png").write_bytes((root / path).read_bytes())
    alone.mkdir()
    shutil.copy(root / old[0], alone / "old.png")
    app = opened(open_app, tiny, monkeypatch)
    app.text_input(key="_new_generator_path").set_value(str(alone)).run()
    assert any("None of 1 file can be used" in error.value for error in app.error)
    shutil.rmtree(alone)
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    assert not app.exception and "its 12 images" in text_of(app)
    [warning] = [w.value for w in app.warning if "old-0.png" in w.value]
    assert "4 of 16 files cannot be used" in warning and "it is in the workspace" in warning


def test_what_was_brought_is_kept_for_the_session_until_it_is_forgotten(
    open_app: Open, tiny: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(open_app, tiny, monkeypatch)
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    again = opened(open_app, tiny, monkeypatch)  # as on coming back, its fields are empty
    again.session_state["_new_generator"] = app.session_state["_new_generator"]
    again.run()
    assert not again.exception
    assert "12 images that you brought earlier" in text_of(again)
    assert "its 12 images" in text_of(again)
    [forget] = [button for button in again.button if button.label == "Forget them"]
    forget.click().run()
    assert "Bring at least 10 images" in text_of(again)


def test_the_command_names_the_old_images_where_the_workspace_does_not(
    tiny: tuple[Path, str], tmp_path: Path
) -> None:
    path = Path(shutil.copytree(tiny[0], tmp_path / "w"))
    brought = SimpleNamespace(folder="/new")
    page = SimpleNamespace(workspace=Workspace.open(path))
    assert "--old-images" not in body.add_command(page, brought, "x", "all")  # type: ignore[arg-type]
    manifest = read_manifest(path)
    del manifest["image_root"]
    write_manifest(path, manifest)
    page = SimpleNamespace(workspace=Workspace.open(path))
    command = body.add_command(page, brought, "x", "all")  # type: ignore[arg-type]
    assert "--images /new" in command and "--old-images" in command
