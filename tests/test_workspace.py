"""The workspace: opening, refusing, verifying, locking."""

import hashlib
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core import soundness
from aigi_core.errors import WorkspaceError
from aigi_core.workspace import (
    Workspace,
    describe_file,
    exclusive,
    read_manifest,
    results_state,
    verify,
    write_atomic,
    write_manifest,
)
from tests.factory import make_images


def test_opens_and_maps(synthetic: Workspace) -> None:
    n = len(synthetic.images)
    assert (
        synthetic.embeddings.shape[0]
        == synthetic.heads.shape[2]
        == len(synthetic.ln_post)
        == n
        == len(synthetic.domains)
    )
    assert isinstance(synthetic.heads, np.memmap)
    assert verify(synthetic.path) == []


@pytest.mark.parametrize("kept", [0, 5])
def test_the_order_of_images_is_recorded_as_lines_of_text(kept: int) -> None:
    table = make_images()
    table["left_out"] = np.where(np.arange(len(table)) < kept, "", "too small")
    table.loc[1, "generator"] = "größer\nals"
    lines = ["\n".join(map(str, table[name].iloc[:kept])) for name in soundness.IN_ORDER]
    expected = hashlib.sha256("".join(f"{line}\0" for line in lines).encode()).hexdigest()
    assert soundness.rows_record(table, {})["images"] == expected


@pytest.mark.parametrize("column", soundness.DIVIDED)
def test_images_divided_otherwise_are_noticed_though_the_files_hash_fits(
    synthetic_path: Path, tmp_path: Path, column: str
) -> None:
    path = copy(synthetic_path, tmp_path / "w")
    table = pd.read_parquet(path / "images.parquet")
    table.loc[0, column] = "val" if column == "split" else "other"
    table.to_parquet(path / "images.parquet", index=False)
    manifest = read_manifest(path)
    manifest["files"]["images.parquet"] = describe_file(path, "images.parquet")
    write_manifest(path, manifest)
    with pytest.raises(WorkspaceError, match="other splits, pools, groups or families"):
        Workspace.open(path)
    del manifest["rows"]["divided"]  # a workspace made before it was recorded
    write_manifest(path, manifest)
    assert Workspace.open(path).images[column][0] == table[column][0]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_values_are_read_without_mapping_all_of_them(synthetic_path: Path, tmp_path: Path) -> None:
    path = copy(synthetic_path, tmp_path / "w")
    n, d = Workspace.open(path).embeddings.shape
    several = Workspace(path, Workspace.open(path).manifest)
    several.__dict__["embeddings"] = np.lib.format.open_memmap(
        tmp_path / "large.npy", "w+", np.float32, (n * -(-(2**24) // (n * d)), d)
    )

    def mapped() -> int:
        status = Path("/proc/self/status").read_text().split("RssFile:")[1]
        return int(status.split()[0]) * 1024

    before = mapped()
    assert soundness.check_values(several) == []
    assert mapped() - before < several.embeddings.nbytes / 4
    several.embeddings[-1, -1] = np.inf
    several.embeddings.flush()
    assert "embeddings.npy holds values" in soundness.check_values(several)[0]


def copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def test_missing_and_unfinished(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no workspace at"):
        Workspace.open(tmp_path / "none")
    with pytest.raises(WorkspaceError, match="not a finished workspace"):
        Workspace.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "newer: update"),
        ({"schema_version": 0}, "older: copy the workspace again, or delete"),
        ({"encoder": None}, "not encoded"),
        ({"files": {"../etc/passwd": {}}}, "outside the workspace"),
        ({"files": 3}, "damaged"),
    ],
)
def test_refuses_with_one_sentence(
    synthetic_path: Path, tmp_path: Path, change: dict, message: str
) -> None:
    path = copy(synthetic_path, tmp_path / "w")
    manifest = json.loads((path / "workspace.json").read_text()) | change
    (path / "workspace.json").write_text(json.dumps(manifest))
    with pytest.raises(WorkspaceError, match=message) as caught:
        Workspace.open(path)
    assert "\n" not in str(caught.value)


def test_damage_is_detected(synthetic_path: Path, tmp_path: Path) -> None:
    path = copy(synthetic_path, tmp_path / "w")
    flipped = bytearray((path / "embeddings.npy").read_bytes())
    flipped[-1] ^= 1
    (path / "embeddings.npy").write_bytes(flipped)
    Workspace.open(path)  # opening checks sizes only
    assert any("embeddings.npy: sha256" in problem for problem in verify(path))
    (path / "heads.npy").write_bytes(b"short")
    with pytest.raises(WorkspaceError, match="heads.npy should have"):
        Workspace.open(path)
    (path / "workspace.json").write_text("{ not json")
    with pytest.raises(WorkspaceError, match="damaged"):
        Workspace.open(path)


def test_unknown_text_bank_names_the_remedy(synthetic: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="precompute text"):
        synthetic.text_bank("emoji")


def _hold(
    path: str, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event"
) -> None:
    with exclusive(Path(path), "encode"):
        ready.set()
        done.wait(30)


def test_second_writer_is_told_who_holds_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    holder.start()
    assert ready.wait(30)
    with (
        pytest.raises(WorkspaceError, match=rf"process {holder.pid} .*encode"),
        exclusive(tmp_path, "text"),
    ):
        pass
    holder.kill()  # a killed holder leaves the workspace free
    holder.join()
    with exclusive(tmp_path, "text"):
        pass


def test_write_atomic_leaves_no_temporary(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.bin", b"abc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_writers_of_several_machines_have_temporary_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes of one number, on two machines, write one file at the same time."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    names: list[str] = []

    def look(_: int) -> None:
        names.extend(file.name for file in tmp_path.iterdir())
        if len(names) == 1:
            write_atomic(tmp_path / "a.bin", b"the second's")

    monkeypatch.setattr("os.fsync", look)
    write_atomic(tmp_path / "a.bin", b"the first's")
    assert len(set(names)) == 2 and (tmp_path / "a.bin").read_bytes() == b"the first's"


def test_the_state_of_results_follows_what_is_published(
    synthetic_path: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    states = [results_state(workspace.path)]
    assert states == [{}]
    folder = workspace.result_path("audit", "key")
    folder.mkdir(parents=True)
    for name, content in (("audit.json", b"one"), ("audit.json", b"two"), ("kept.parquet", b"one")):
        write_atomic(folder / name, content)
        states.append(results_state(workspace.path))
    assert all(states[i] != states[j] for i in range(4) for j in range(i))
    (folder / ".lock").write_bytes(b"")  # a job at work
    (folder / "pairs").mkdir()
    (folder / "pairs" / "000-001.npz").write_bytes(b"")
    assert results_state(workspace.path) == states[-1] and list(states[-1]) == ["audit"]
