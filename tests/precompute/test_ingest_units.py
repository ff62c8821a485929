"""Units of ingest: shares of them, by any engine, give the table of one run; none is read twice."""

import os
from pathlib import Path

import pytest

from aigi_core.workspace import sha256_of
from precompute.__main__ import main
from precompute.engine import InlineEngine
from precompute.ingest import units
from precompute.ingest.decode import facts_of_all
from precompute.ingest.units import FOLDER, Reading, read_files
from precompute.shares import Share
from tests.precompute import engine_tasks
from tests.precompute.corpus import folders, write
from tests.precompute.engine_tasks import JOB_ENGINES


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(units, "UNIT", 5)
    return folders(tmp_path / "images", 12)


def places(root: Path) -> list[tuple[str, int]]:
    return [(str(file.relative_to(root)), -1) for file in sorted(root.rglob("*.png"))]


def test_a_stopped_reading_goes_on_and_a_changed_file_is_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "real/zz.png", b"no picture")
    files, read = places(root), list[int]()
    right = facts_of_all(root, files, 0, progress=False)
    original = units._read_unit

    def stopping(root: str, files: list[tuple[str, int]], file: str, workers: int) -> None:
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(len(files))
        original(root, files, file, 0)

    monkeypatch.setattr(units, "_read_unit", stopping)
    reading = Reading(tmp_path / "facts")
    with pytest.raises(KeyboardInterrupt):
        read_files(root, files, reading, progress=False)
    monkeypatch.setattr(units, "_read_unit", lambda *task: read.append(0) or original(*task[:3], 0))
    for half in list((tmp_path / "facts").iterdir())[:1]:
        half.write_bytes(half.read_bytes()[:40])  # a damaged unit is none
    assert repr(read_files(root, files, reading, progress=False)) == repr(right)
    assert len(read) == 3 + 8 - 2  # eight units, two of them whole
    assert repr(read_files(root, files, reading, progress=False)) == repr(right)
    assert len(read) == 9
    write(root, files[0][0], b"changed")
    os.utime(root / files[0][0], ns=(1, 1))
    assert read_files(root, files, reading, progress=False)[0]["left_out"]
    assert len(read) == 10


@pytest.mark.parametrize("engine", JOB_ENGINES)
def test_shares_by_any_engine_make_the_workspace_of_one_run(
    root: Path, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, shared = tmp_path / "plain", tmp_path / "shared"
    command = ["ingest", "--images", str(root), "--min-images", "3", "--name", "w", "--out"]
    assert main([*command, str(plain), "--workers", "1"]) == 0
    try:
        for share in ("2/2", "1/2"):
            options = [*command, str(shared), "--workers", "2", "--engine", engine]
            assert main([*options, "--shard", share]) == 0
            assert not (shared / "images.parquet").exists()
    finally:
        engine_tasks.stop_ray()
    assert "Share 1/2 is read" in capsys.readouterr().out
    assert len(list((shared / FOLDER).iterdir())) == 8
    assert main([*command, str(shared), "--workers", "1"]) == 0
    for name in ("images.parquet", "workspace.json"):
        assert sha256_of(plain / name) == sha256_of(shared / name)
    assert not (shared / FOLDER).exists() and not (plain / FOLDER).exists()


def test_a_refused_ingest_leaves_nothing(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "w"
    command = ["ingest", "--images", str(root), "--workers", "1", "--out", str(out)]
    assert main([*command, "--min-images", "500"]) != 0
    assert not out.exists()


def test_a_share_is_every_nth_unit(root: Path, tmp_path: Path) -> None:
    files = places(root)
    reading = Reading(tmp_path / "facts", InlineEngine(), Share(2, 3), workers=0)
    read = read_files(root, files, reading, progress=False)
    wanted = facts_of_all(root, [*files[5:10], *files[20:25], *files[35:]], 0, progress=False)
    assert repr(read) == repr(wanted)
