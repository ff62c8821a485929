"""The page of a generator dropped in: its numbers are the library's; empty and wrong input."""

from __future__ import annotations

import re
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace, read_manifest, verify, write_manifest
from benchmarks._kills import contents
from precompute.__main__ import main
from tests.factory import NO_HEADS, embedding_only
from tests.pages.reading import text_of
from tests.tiny_workspace import make_picture
from ui.bodies import adding
from ui.toolkit import running
from ui.toolkit.running import Running

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


def bring_as_mine(app: AppTest, folder: Path) -> None:
    app.text_input(key="new_name").set_value("mine")
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()


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
    with Image.open(root / old[3]) as picture:
        picture.save(folder / "again.png", compress_level=0)
    alone.mkdir()
    shutil.copy(root / old[0], alone / "old.png")
    app = opened(open_app, tiny, monkeypatch)
    app.text_input(key="_new_generator_path").set_value(str(alone)).run()
    assert any("None of 1 file can be used" in error.value for error in app.error)
    shutil.rmtree(alone)
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    assert not app.exception and "its 12 images" in text_of(app)
    [warning] = [w.value for w in app.warning if "old-0.png" in w.value]
    assert "5 of 17 files cannot be used" in warning and "it is in the workspace" in warning
    assert f"likely a copy of {old[3]}" in warning.replace("\\", "")


def test_what_was_brought_is_kept_for_the_session_until_it_is_forgotten(
    open_app: Open, tiny: tuple[Path, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(open_app, tiny, monkeypatch)
    app.text_input(key="_new_generator_path").set_value(str(folder)).run()
    again = opened(open_app, tiny, monkeypatch)  # as on coming back, its fields are empty
    again.session_state["_new_generator"] = app.session_state["_new_generator"]
    again.run()
    assert not again.exception
    assert "12 images that you uploaded or named earlier" in text_of(again)
    assert "its 12 images" in text_of(again)
    [forget] = [button for button in again.button if button.label == "Forget them"]
    forget.click().run()
    assert "Bring at least 10 images" in text_of(again)


def in_the_workspace(app: AppTest, workspace: Path) -> Running:
    """Press the button, and wait until what it started has ended."""
    [button] = [one for one in app.button if one.label == "Add them now"]
    button.click().run()
    assert not app.exception and not app.error, [one.value for one in app.error]
    job = running.on(workspace)
    assert job is not None
    while not job.ended:
        threading.Event().wait(0.1)
    app.run()
    assert not app.exception
    return job


@pytest.fixture
def own(tiny: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace that may be changed, on which no job of the app is known."""
    path = Path(shutil.copytree(tiny[0], tmp_path_factory.mktemp("own") / "w"))
    yield path
    running.forget(path)


def test_the_button_adds_what_the_command_adds(
    open_app: Open,
    tiny: tuple[Path, str],
    own: Path,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_command = Path(shutil.copytree(own, tmp_path_factory.mktemp("command") / "w"))
    before = Workspace.open(own)
    app = opened(open_app, (own, tiny[1]), monkeypatch)
    bring_as_mine(app, folder)
    [line] = [code.value for code in app.code if "precompute add" in code.value]
    assert f"--workspace {own} " in line and f"--model {tiny[1]}" in line
    job = in_the_workspace(app, own)
    assert job.succeeded, job.fault()
    assert "Added to the workspace" in app.success[0].value
    assert "Bring at least" in text_of(app)  # it is no longer what is brought
    words = line.replace(str(own), str(by_command)).split()
    assert main(words[3:]) == 0
    files = read_manifest(own)["files"]
    assert files == read_manifest(by_command)["files"]
    after = Workspace.open(own)
    assert (after.images["generator"] == "mine").sum() == 12
    assert set(before.images["content_hash"]) < set(after.images["content_hash"])
    [close] = [one for one in app.button if one.label == "Close this message"]
    close.click().run()
    assert not app.success and running.on(own) is None
    assert not app.error and "Bring at least" in text_of(app)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, those of processes that are started included: as on a
    disk that becomes full while one is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_in_one_sentence_and_the_next_try_works(
    open_app: Open,
    tiny: tuple[Path, str],
    own: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = contents(own)
    app = opened(open_app, (own, tiny[1]), monkeypatch)
    bring_as_mine(app, folder)
    with files_of_at_most(2000):
        job = in_the_workspace(app, own)
    assert not job.succeeded
    [said] = [one.value for one in app.error]
    assert re.search(r"Could not write .*: File too large", said.replace("\\", "")), said
    assert "The workspace has not changed" in said
    assert contents(own) == before and verify(own) == []  # beside hidden files of the next try
    app.run()
    job = in_the_workspace(app, own)
    assert job.succeeded, job.fault()
    assert (Workspace.open(own).images["generator"] == "mine").sum() == 12


def test_uploads_are_written_where_the_user_says_and_added_from_there(
    open_app: Open,
    tiny: tuple[Path, str],
    own: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = opened(open_app, (own, tiny[1]), monkeypatch)
    files = [(f"../{i}.png", (folder / f"{i}.png").read_bytes()) for i in range(12)]
    app.text_input(key="new_name").set_value("mine")
    app.file_uploader(key="new_uploads").set_value(
        [(name, content, "image/png") for name, content in files]
    ).run()
    [button] = [one for one in app.button if one.label == "Add them now"]
    assert button.disabled  # no folder is named
    app.text_input(key="_new_generator_saved").set_value(str(folder)).run()
    [button] = [one for one in app.button if one.label == "Add them now"]
    button.click().run()
    assert any("is there already" in one.value for one in app.error)
    assert running.on(own) is None
    kept = tmp_path / "kept"
    app.text_input(key="_new_generator_saved").set_value(str(kept)).run()
    with files_of_at_most(1000):
        [button] = [one for one in app.button if one.label == "Add them now"]
        button.click().run()
    assert [one.value for one in app.error if "could not be written" in one.value]
    assert not kept.exists() and running.on(own) is None
    job = in_the_workspace(app, own)
    assert job.succeeded, job.fault()
    assert sorted(one.name for one in kept.iterdir()) == [f"{i:04d}-{i}.png" for i in range(12)]
    assert (Workspace.open(own).images["generator"] == "mine").sum() == 12


def test_what_cannot_be_added_says_why_and_leaves_the_workspace(
    open_app: Open,
    tiny: tuple[Path, str],
    own: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = read_manifest(own)
    app = opened(open_app, (own, tiny[1]), monkeypatch)
    bring_as_mine(app, folder)
    monkeypatch.setenv("AIGI_WEIGHTS", str(folder / "0.png"))  # found out by the job alone
    app.run()
    job = in_the_workspace(app, own)
    assert not job.succeeded
    assert any(one.value.startswith("Not added: ") for one in app.error)
    assert read_manifest(own) == before and verify(own) == []


def test_the_demo_and_what_is_read_only_are_not_offered_a_button(
    open_app: Open,
    tiny: tuple[Path, str],
    own: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running.os, "access", lambda *_: False)
    app = opened(open_app, (own, tiny[1]), monkeypatch)
    bring_as_mine(app, folder)
    assert not [one for one in app.button if one.label == "Add them now"]
    assert any("cannot be written" in one.value for one in app.caption)


def test_the_command_names_the_old_images_where_the_workspace_does_not(
    tiny: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copytree(tiny[0], tmp_path / "w"))
    monkeypatch.delenv("AIGI_IMAGES", raising=False)
    monkeypatch.setenv("AIGI_WORKSPACE", str(path))
    assert "--old-images" not in adding.command("/new", "x", "all")
    manifest = read_manifest(path)
    del manifest["image_root"]
    write_manifest(path, manifest)
    command = adding.command("/new", "x", "all")
    assert "--images /new" in command and "--old-images" in command
