"""One store of results: what is written is read, and what was changed, or has become outdated, is
refused in one sentence.
"""

from __future__ import annotations

import json
import pkgutil
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import aigi_core
from aigi_core import results
from aigi_core.errors import NotMadeError, WorkspaceError
from aigi_core.results import NOTE, OldResult, ResultKind, StoredResult
from aigi_core.workspace import Workspace, describe_file, digest_of, read_manifest, write_manifest

KIND = ResultKind("sums", "sums", job="add-up", format=3)
TABLE = pd.DataFrame({"name": ["a", "b"], "value": [1.0, 2.5]})
ARRAYS = {"one": np.arange(6.0).reshape(2, 3), "with space": np.zeros(0, np.int16)}
SAFE = {"weights": np.eye(2, dtype=np.float32)}


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))


def publish(workspace: Workspace, **parameters: Any) -> Path:
    return results.publish(
        workspace,
        KIND,
        {"draws": 1000, "sizes": (1, 2)} | parameters,
        {"rows.parquet": TABLE, "arrays.npz": ARRAYS, "own.safetensors": SAFE, "a.bin": b"raw"},
        banks=("phrases", "absent"),
        content={"names": ["ä"]},
        about={"seconds": 1.5},
    )


def load(workspace: Workspace, **parameters: Any) -> StoredResult:
    wanted = {"draws": 1000, "sizes": (1, 2)} | parameters
    return results.load(workspace, KIND, wanted, ("phrases", "absent"))


def test_what_is_read_is_what_was_written(workspace: Workspace) -> None:
    folder = publish(workspace)
    stored = load(Workspace.open(workspace.path))
    assert stored.path == folder == workspace.result_path("sums", folder.name)
    pd.testing.assert_frame_equal(stored.table("rows"), TABLE)
    for file, arrays in (("arrays.npz", ARRAYS), ("own.safetensors", SAFE)):
        read = stored.arrays(file)
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype
    assert stored.bytes_of("a.bin") == b"raw"
    assert stored.parameters == {"draws": 1000, "sizes": [1, 2]}
    assert stored.content == {"names": ["ä"]} and stored.about == {"seconds": 1.5}
    assert results.verify_results(workspace) == []


def test_the_same_result_is_the_same_bytes(workspace: Workspace) -> None:
    folder = publish(workspace)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert publish(workspace) == folder
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_is_missing_says_what_to_run(workspace: Workspace) -> None:
    with pytest.raises(NotMadeError, match="has no stored sums yet: run 'python -m precompute ad"):
        load(workspace)
    publish(workspace)
    with pytest.raises(NotMadeError, match="no stored sums yet"):
        load(workspace, draws=5)


@pytest.mark.parametrize("name", ["rows.parquet", "arrays.npz", "own.safetensors", "a.bin"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "removed"])
def test_changed_files_are_refused(workspace: Workspace, name: str, damage: str) -> None:
    folder = publish(workspace)
    file = folder / load(workspace).files[name]["file"]
    content = file.read_bytes()
    middle = len(content) // 2
    if damage == "flipped":
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    sentence = "The stored sums in .* is damaged .*: delete that folder and run 'python -m precomp"
    with pytest.raises(WorkspaceError, match=sentence):
        load(workspace).bytes_of(name)
    [problem] = results.verify_results(workspace)
    assert name in problem and "\n" not in problem
    publish(workspace)  # computing it again mends it
    assert results.verify_results(workspace) == [] and load(workspace).bytes_of(name) == content


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.clear(),
        lambda note: note["identity"].update(workspace="0" * 12),
        lambda note: note["identity"]["parameters"].update(draws=5),
        lambda note: note["files"]["rows.parquet"].update(file="../../../workspace.json"),
        lambda note: note["files"]["rows.parquet"].update(file=".."),
        lambda note: note["files"]["rows.parquet"].update(file=7),
        lambda note: note.update(files=[1]),
        lambda note: note.update(content=3),
    ],
)
def test_a_changed_note_is_refused(workspace: Workspace, change: Any) -> None:
    folder = publish(workspace)
    note = json.loads((folder / NOTE).read_text("utf-8"))
    change(note)
    (folder / NOTE).write_text(json.dumps(note), "utf-8")
    with pytest.raises(WorkspaceError, match="is damaged"):
        load(workspace)
    assert len(results.verify_results(workspace)) == 1
    (folder / NOTE).write_bytes(b"[\xff")
    with pytest.raises(WorkspaceError, match="is damaged"):
        load(workspace)


def test_files_are_refused_that_do_not_hold_what_their_name_says(workspace: Workspace) -> None:
    wrong = {"rows.parquet": b"PAR1", "arrays.npz": b"PK", "own.safetensors": b"{}"}
    results.publish(workspace, KIND, {}, wrong)
    stored = results.load(workspace, KIND, {})
    for read in (
        lambda: stored.table("rows"),
        lambda: stored.arrays("arrays.npz"),
        lambda: stored.arrays("own.safetensors"),
        lambda: stored.table("others"),
    ):
        with pytest.raises(WorkspaceError, match="is damaged"):
            read()


def test_a_bank_whose_categories_changed_is_another_identity(workspace: Workspace) -> None:
    """The embeddings stay the same, the table does not."""
    publish(workspace)
    file = workspace.path / "text" / "phrases.parquet"
    pd.read_parquet(file).assign(category="other").to_parquet(file, index=False)
    manifest = read_manifest(workspace.path)
    manifest["files"]["text/phrases.parquet"] = describe_file(
        workspace.path, "text/phrases.parquet"
    )
    write_manifest(workspace.path, manifest)
    changed = Workspace.open(workspace.path)
    assert changed.digest == workspace.digest and changed.identity != workspace.identity
    with pytest.raises(NotMadeError, match="is outdated: its text banks, its images or this"):
        load(changed)
    assert results.current(changed, KIND) == [] and len(results.current(workspace, KIND)) == 1


def test_another_encoder_of_the_same_numbers_is_another_identity(workspace: Workspace) -> None:
    """Pages keep detectors, and what they say of themselves, by the identity."""
    manifest = read_manifest(workspace.path)
    manifest["encoder"]["weights_sha256"] = "f" * 64
    write_manifest(workspace.path, manifest)
    other = Workspace.open(workspace.path)
    assert other.digest == workspace.digest and other.identity != workspace.identity


def test_another_format_or_bank_is_outdated(workspace: Workspace) -> None:
    publish(workspace)
    newer = ResultKind("sums", "sums", job="add-up", format=4)
    with pytest.raises(NotMadeError, match="outdated"):
        results.load(workspace, newer, {"draws": 1000, "sizes": (1, 2)}, ("phrases", "absent"))
    assert results.current(workspace, newer) == []


def test_results_are_listed_by_kind(workspace: Workspace) -> None:
    usual, banks = {"draws": 1000, "sizes": (1, 2)}, ("phrases", "absent")
    with pytest.raises(NotMadeError):
        results.find(workspace, KIND, usual, banks)
    publish(workspace, draws=100)
    assert results.find(workspace, KIND, usual, banks).parameters["draws"] == 100
    publish(workspace)
    assert results.find(workspace, KIND, usual, banks).parameters["draws"] == 1000
    assert {result.parameters["draws"] for result in results.current(workspace, KIND)} == {
        100,
        1000,
    }


def test_a_damaged_usual_result_is_not_replaced_in_silence(workspace: Workspace) -> None:
    publish(workspace, draws=100)
    (publish(workspace) / NOTE).write_bytes(b"{")
    with pytest.raises(WorkspaceError, match="is damaged"):
        results.find(workspace, KIND, {"draws": 1000, "sizes": (1, 2)}, ("phrases", "absent"))
    assert len(results.current(workspace, KIND)) == 1


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_killed_publication_leaves_the_result_before(
    workspace: Workspace, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = results.publish(workspace, KIND, {}, {"a.bin": b"old", "b.bin": b"old too"})
    written: list[Path] = []
    original = results.write_atomic

    def stop(file: Path, content: bytes) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(file)
        original(file, content)

    monkeypatch.setattr(results, "write_atomic", stop)
    with pytest.raises(KeyboardInterrupt):
        results.publish(workspace, KIND, {}, {"a.bin": b"new", "b.bin": b"new too"})
    stored = results.load(workspace, KIND, {})
    assert (stored.bytes_of("a.bin"), stored.bytes_of("b.bin")) == (b"old", b"old too")
    monkeypatch.setattr(results, "write_atomic", original)
    results.publish(workspace, KIND, {}, {"a.bin": b"new", "b.bin": b"new too"})
    assert results.load(workspace, KIND, {}).bytes_of("b.bin") == b"new too"
    assert len(list(folder.iterdir())) == 3  # nothing of the result before, nor of the killed run


def test_results_of_the_old_form_are_read(workspace: Workspace) -> None:
    old = OldResult("sums.json", lambda w, p: digest_of([w.digest, p["draws"]]))
    kind = ResultKind("sums", "sums", job="add-up", format=3, old=old)
    folder = workspace.result_path("sums", digest_of([workspace.digest, 1000]))
    folder.mkdir(parents=True)
    TABLE.to_parquet(folder / "rows.parquet")
    note = {"settings": {"draws": 1000}, "seconds": 3}
    (folder / "sums.json").write_text(json.dumps(note), "utf-8")
    for stored in (
        results.load(workspace, kind, {"draws": 1000}),
        results.find(workspace, kind, {"draws": 50}),
        *results.current(workspace, kind),
    ):
        pd.testing.assert_frame_equal(stored.table("rows"), TABLE)
        assert stored.parameters == {"draws": 1000} and stored.content == note
    with pytest.raises(WorkspaceError, match="damaged .*cannot be read"):
        stored.table("others")
    (folder / "sums.json").write_bytes(b"{")
    with pytest.raises(WorkspaceError, match="is damaged"):
        results.load(workspace, kind, {"draws": 1000})


def test_every_kind_names_its_job() -> None:
    for module in pkgutil.walk_packages(aigi_core.__path__, "aigi_core."):
        if ".clip" not in module.name and not module.name.endswith("__main__"):
            for kind in vars(import_module(module.name)).values():
                if isinstance(kind, ResultKind) and kind.job:
                    assert results.JOBS.get(kind.name, kind.name) == kind.job
