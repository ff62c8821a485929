"""Steps of cached computations: shown while they run, computed once, and nothing unfinished is
kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aigi_core.workspace import Workspace
from tests.ui.toolkit.stored_values import OTHER, READ, publish, value_of
from ui.toolkit import jobs
from ui.toolkit.kept import cached
from ui.toolkit.page import Page


class Place:
    def __init__(self) -> None:
        self.shown: list[str] = []

    def progress(self, share: float, text: str) -> None:
        self.shown.append(f"{share:.1f} {text}")

    def empty(self) -> None:
        self.shown.append("cleared")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place()
    monkeypatch.setattr(jobs.st, "empty", lambda: made)
    return made


def test_steps_are_shown_once_and_only_inside(place: Place) -> None:
    @cached
    def slow(count: int) -> int:
        for done in range(1, count + 1):
            jobs.step(done, count)
        return count

    for _ in range(2):
        with jobs.steps("Working"):
            assert slow(2) == 2
    assert place.shown == ["0.5 Working: 1 of 2", "1.0 Working: 2 of 2", "cleared", "cleared"]
    assert slow(1) == 1 and len(place.shown) == 4, "outside of steps nothing is drawn"


def test_long_work_says_how_much_of_it_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 20.0, 20.0, 40.0, 40.0, 80.0, 80.0])
    monkeypatch.setattr(jobs, "monotonic", lambda: next(seconds))
    with jobs.steps("Working") as tell:
        for done in (1, 2, 4):
            tell(done, 4)
    assert place.shown[:3] == [
        "0.2 Working: 1 of 4; about 1 minute left. Any click stops it.",
        "0.5 Working: 2 of 4; about 40 seconds left. Any click stops it.",
        "1.0 Working: 4 of 4",
    ]


def test_a_result_is_not_shown_once_what_it_rests_on_has_changed(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed, runs = [True], list[str]()
    monkeypatch.setattr(jobs.st, "button", lambda label, **_: label == "Count" and pressed[0])
    one, other = (Workspace.open(shutil.copytree(synthetic_path, tmp_path / name)) for name in "ab")

    def ask(workspace: Workspace) -> int | None:
        def compute(_: object) -> int:
            runs.append(workspace.path.name)
            return value_of(workspace)

        page = cast(Page, SimpleNamespace(workspace=workspace))
        return jobs.job(page, "count", "Count", compute)

    assert ask(one) == -1 and runs == ["a"]
    pressed[0] = False
    assert ask(one) == -1 and ask(other) is None, "the same images elsewhere, with other results"
    publish(one, OTHER, 1.0)
    assert ask(one) == -1
    publish(one, READ, 5.0)
    assert ask(one) is None, "what it looked for is there now"
    pressed[0] = True
    assert ask(one) == 5 and runs == ["a", "a"]


def test_what_was_stopped_is_computed_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    @cached
    def slow() -> str:
        runs.append(1)
        jobs.step(len(runs), 2)
        return "done"

    def stop(share: float, text: str) -> Any:
        raise KeyboardInterrupt  # as Streamlit does at a click: no Exception

    monkeypatch.setattr(place, "progress", stop)
    with pytest.raises(KeyboardInterrupt), jobs.steps("Working"):
        slow()
    monkeypatch.undo()
    assert place.shown == ["cleared"] and slow() == "done" and len(runs) == 2
