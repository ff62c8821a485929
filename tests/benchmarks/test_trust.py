"""A small seeded part of what ``python -m benchmarks trust`` counts."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from aigi_core.soundness import read_npz
from aigi_core.workspace import Workspace
from benchmarks.trust import MUTATIONS, try_files, try_workspaces
from tests.factory import make_workspace


@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_refused_or_read() -> None:
    failures, grey, _ = try_files(300, seed=7)
    assert (failures, grey) == (0, 0)


def test_mutated_workspaces_are_refused_or_right(tmp_path: Path) -> None:
    source = make_workspace(tmp_path / "source", per_class=20)
    failures, wrong, what = try_workspaces(6 * len(MUTATIONS), 7, source, tmp_path)
    assert (failures, wrong) == (0, 0), what
    Workspace.open(source)


def test_an_archive_that_would_fill_the_memory_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("head_maps.npy", bytes(3_000_000))
    with pytest.raises(ValueError, match="at most 1,000,000 are read"):
        read_npz(file, 1_000_000)
    np.savez_compressed(file, a=np.arange(5))
    assert read_npz(file)["a"].tolist() == [0, 1, 2, 3, 4]
    for content in (b"", b"PK", file.read_bytes()[:-30]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"."):
            read_npz(file)
