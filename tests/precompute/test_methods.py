"""The job that measures methods: shares of it, on one workspace, make the same board."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from aigi_core.transfer.board import measured_methods, stored_measured
from aigi_core.workspace import Workspace
from benchmarks._small_workspace import make_workspace
from precompute import methods
from precompute.__main__ import main
from precompute.methods import BY_HAND, by_hand
from tests.precompute import engine_tasks
from tests.precompute.engine_tasks import JOB_ENGINES


def test_shares_measure_and_the_last_run_makes_the_board(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(methods, "progress_line", lambda: nullcontext(shown.append))
    path = make_workspace(tmp_path / "w", per_class=20)
    command = ["methods", "--workspace", str(path), "--methods", "lda"]
    assert main([*command, "--shard", "2/2"]) == 0
    printed = capsys.readouterr()
    assert "Share 2/2 is measured" in printed.out
    assert measured_methods(Workspace.open(path)) == ["lda"]
    assert main([*command, "--shard", "1/2"]) == 0
    shown.clear()
    assert main(command) == 0
    # no time: what was stored before says nothing of how long the others take
    assert shown == ["2 methods ...", "[1/2] left: lda", "[2/2]"]
    printed = capsys.readouterr()
    assert printed.err.count("stored before") == 2 and "board of 2 methods" in printed.out


@pytest.mark.parametrize("engine", JOB_ENGINES)
def test_methods_by_several_workers_make_the_board_of_one(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {}
    for name, more in (("one", []), ("two", ["--workers", "2", "--engine", engine])):
        path = make_workspace(tmp_path / name, per_class=20)
        try:
            assert main(["methods", "--workspace", str(path), "--methods", "lda", *more]) == 0
        finally:
            engine_tasks.stop_ray()
        scores[name] = stored_measured(Workspace.open(path), "lda").test
    assert "board of 2 methods" in capsys.readouterr().out
    np.testing.assert_array_equal(scores["one"], scores["two"])


def test_what_was_written_by_hand_stays(tmp_path: Path) -> None:
    page = tmp_path / "methods.md"
    assert by_hand(page) == ""
    page.write_text(f"# Board\n\n{BY_HAND}\n\n## By hand\n", "utf-8")
    assert by_hand(page) == f"\n{BY_HAND}\n\n## By hand\n"
