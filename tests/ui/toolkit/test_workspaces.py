"""Which workspaces and encodings a session sees."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aigi_core import encodings, results
from aigi_core.errors import NotMadeError
from aigi_core.workspace import MANIFEST, Workspace
from tests.factory import make_workspace
from tests.ui.toolkit.stored_values import OTHER, READ, publish, value_of
from ui.toolkit import apart, kept, workspaces


def test_encodings_are_read_again_only_where_a_manifest_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_workspace(tmp_path / "w", per_class=4)
    second = make_workspace(tmp_path / "w" / "encoders" / "second", per_class=4)
    workspace = Workspace.open(path)
    assert list(workspaces.current_encodings(workspace).values()) == [path, second]
    looks = []
    read = encodings.read_manifest
    monkeypatch.setattr(encodings, "read_manifest", lambda at: looks.append(at) or read(at))
    for _ in range(3):  # three runs of pages
        assert len(workspaces.current_encodings(workspace)) == 2
    assert not looks
    os.utime(second / MANIFEST, ns=(1, 1))
    assert len(workspaces.current_encodings(workspace)) == 2 and looks
    (second / MANIFEST).write_text("{")
    assert list(workspaces.current_encodings(workspace).values()) == [path]


def always(workspace: Workspace) -> int:
    return len(workspace.domains)


def ask_here(workspace: Workspace) -> float:
    return value_of(workspace)


def ask_apart(workspace: Workspace) -> float:
    try:
        return float(apart.apart(results.load, workspace, READ, {}).arrays("value.npz")["value"])
    except NotMadeError:
        return -1.0


@pytest.fixture
def own(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(shutil.copytree(synthetic_path, tmp_path / "w"))


@pytest.mark.parametrize("ask", [ask_here, ask_apart])
def test_computed_again_once_what_it_rests_on_has_changed(
    own: Workspace, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Workspace], float]
) -> None:
    monkeypatch.setattr(apart, "_processes", [])
    monkeypatch.setattr(apart, "LOADED", ())
    apart.begin()
    now, made, there = apart._processes[0].now, list[str](), list[bool]()

    def answered(*args: Any) -> Any:
        answer = now(*args)
        there.append(answer is not None)
        return answer

    monkeypatch.setattr(apart._processes[0], "now", answered)

    @kept.cached
    def inner(workspace: Workspace) -> float:
        made.append("inner")
        return ask(workspace)

    @kept.cached
    def outer(workspace: Workspace) -> float:
        made.append("outer")
        return inner(workspace) + 1

    @kept.cached
    def plain(workspace: Workspace) -> int:
        made.append("plain")
        return always(workspace)

    def ask_all() -> float:
        made.clear()
        with kept.one_look():
            plain(own)
            return outer(own)

    try:
        assert ask_all() == 0 and made == ["plain", "outer", "inner"]
        publish(own, OTHER, 1.0)
        assert ask_all() == 0 and not made
        publish(own, READ, 5.0)  # it was looked for, and was not there
        assert ask_all() == 6 and made == ["outer", "inner"]
        assert ask_all() == 6 and not made
        publish(own, READ, 7.0)
        with kept.one_look():
            assert inner(own) == 7
        assert ask_all() == 8 and made == ["outer"], "a hit inside counts, too"
        shutil.rmtree(own.path / "results" / READ.name)
        assert ask_all() == 0 and made == ["outer", "inner"]
        assert any(there) == (ask is ask_apart)
    finally:
        apart._processes[0].close()


def test_what_is_published_while_it_is_computed_makes_it_old(own: Workspace) -> None:
    @kept.cached
    def slow(workspace: Workspace) -> float:
        value = value_of(workspace)
        publish(workspace, READ, value + 1)
        return value

    with kept.one_look():
        assert slow(own) == slow(own) == -1
    with kept.one_look():
        assert slow(own) == 0


def test_a_list_of_all_results_rests_on_every_kind(own: Workspace) -> None:
    made: list[int] = []

    @kept.cached
    def outdated(workspace: Workspace) -> list[str]:
        made.append(1)
        return results.outdated_jobs(workspace)

    outdated(own)
    publish(own, OTHER, 1.0)
    outdated(own)
    outdated(own)
    assert len(made) == 2


def test_a_default_that_is_given_is_the_same_result() -> None:
    """Heads computed anew what had been prepared, because its page names the protocol."""
    asked: list[tuple[int, str]] = []

    @kept.cached
    def compute(number: int, how: str = "ours") -> int:
        asked.append((number, how))
        return number

    assert compute(1) == compute(1, "ours") == compute(number=1) == compute(1, how="ours") == 1
    assert compute(2, "paper") == 2 and asked == [(1, "ours"), (2, "paper")]
