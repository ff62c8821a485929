"""A small seeded part of what ``python -m benchmarks trust`` counts."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from aigi_core.soundness import read_npz
from aigi_core.workspace import Workspace
from benchmarks import _mutations
from benchmarks._mutations import MUTATIONS, page_failures, try_consistent, try_workspaces
from benchmarks.trust import try_files
from tests.conftest import ROOT
from tests.factory import make_workspace
from ui.toolkit.router import PAGES


@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_refused_or_read() -> None:
    failures, grey, _ = try_files(300, seed=7)
    assert (failures, grey) == (0, 0)


def test_mutated_workspaces_are_refused_or_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_workspace(tmp_path / "source", per_class=20)
    monkeypatch.setattr(_mutations, "PAGES", {"gallery": PAGES["gallery"]})
    tried = try_workspaces(4 * len(MUTATIONS), 7, source, tmp_path)
    assert (tried.failures, tried.wrong) == (0, 0), tried.what
    odd = try_consistent(2, 7, source, tmp_path)
    assert (odd.failures, odd.pages) == (0, 2), odd.what
    Workspace.open(source)


def test_a_page_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # one that no other test has put into the pages' caches
    source = make_workspace(tmp_path / "source", per_class=22)
    monkeypatch.setattr(_mutations, "PAGES", {"gallery": PAGES["gallery"]})
    with monkeypatch.context() as patched:
        patched.setattr("ui.results.scores", lambda *_: [][0])
        [failure] = page_failures(source)
    assert "gallery" in failure and page_failures(source) == []


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_killed_jobs_end_in_the_same_files(tmp_path: Path) -> None:
    """Two kills and a full disk, forked from a process of their own: this one may hold threads. The
    benchmark takes all nine jobs.
    """
    code = (
        "import json, sys; from pathlib import Path; from benchmarks._kills import try_kills;"
        "found = try_kills(2, 1, 5, Path(sys.argv[1]), ['encode', 'text']);"
        "print(json.dumps(found), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=300,
    )
    found = json.loads(ended.stderr.splitlines()[-1])
    assert found["kills"] == 2 and found["full_disks"] == 1
    for name in ("kill_differences", "full_disk_differences", "full_disk_tracebacks"):
        assert found[name] == 0, found["what"]
    assert min(found["killed_jobs"].values()) > 10


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
