"""A job of the app: who may start it, what it says, how it is stopped."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aigi_core.errors import AigiError
from aigi_core.workspace import MANIFEST, exclusive
from benchmarks._small_workspace import GENERATORS
from ui.toolkit import access, running

TO, ONE = ("--workspace",), GENERATORS[0][0]


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Iterator[Path]:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    yield path
    if job := running.on(path):
        job.stop()


def ended(job: running.Running) -> running.Running:
    while not job.ended:
        threading.Event().wait(0.05)
    return job


def test_only_somebody_at_this_machine_changes_a_workspace_and_nobody_the_demo(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running.may_change(workspace) == ""
    assert "embedded demo" in running.may_change(running.DEMO)
    assert "cannot be written" in running.may_change(workspace / "gone")
    monkeypatch.setattr(access, "on_this_machine", lambda: False)
    with pytest.raises(AigiError, match="sits at the machine"):
        running.start(workspace, ["verify", str(workspace)])
    assert running.on(workspace) is None


def test_a_job_says_what_it_says_in_a_terminal(workspace: Path) -> None:
    good = ended(running.start(workspace, ["verify", str(workspace)], about="x"))
    assert good.succeeded and str(workspace) in good.said() and good.about == "x"
    bad = ended(
        running.start(
            workspace, ["remove", "--workspace", str(workspace), "--generators", "no-such"]
        )
    )
    assert not bad.succeeded and "no-such" in bad.fault() and bad.fault().endswith(".")
    running.forget(workspace)
    assert running.on(workspace) is None


def test_one_job_at_a_time_and_it_can_be_stopped(workspace: Path) -> None:
    job = running.start(workspace, ["verify", str(workspace)])
    with pytest.raises(AigiError, match="Another job"):
        running.start(workspace, ["verify", str(workspace)])
    running.forget(workspace)  # what is at work is not forgotten
    assert running.on(workspace) is job
    job.stop()
    assert not ended(job).succeeded and job.fault() == "It was stopped."


def test_of_two_servers_on_a_workspace_one_writes(workspace: Path) -> None:
    """A job of another server is known by the workspace's lock alone."""
    before = (workspace / MANIFEST).read_bytes()
    with exclusive(workspace, "add"):
        job = ended(running.start(workspace, ["remove", *TO, str(workspace), "--generators", ONE]))
    assert not job.succeeded and (workspace / MANIFEST).read_bytes() == before
    assert "is being written by process" in job.fault() and "wait for it" in job.fault()
    again = ended(running.start(workspace, ["remove", *TO, str(workspace), "--generators", ONE]))
    assert again.succeeded, again.fault()


def test_progress_is_read_from_the_lines_of_a_bar(workspace: Path) -> None:
    job = ended(running.start(workspace, ["verify", str(workspace)]))
    assert job.progress() == ("Starting", 0.0)
    job._errors.append("Encoding:  21%|###8              | 32/150 [01:23<05:06,  2.60s/image]")
    assert job.progress() == ("Encoding: 32 of 150", 32 / 150)
    job._errors.append("blur:2: 100%|####| 45/45 [01:18<00:00,  1.75s/image]")
    assert job.progress() == ("blur:2: 45 of 45; the next step begins", 1.0)
