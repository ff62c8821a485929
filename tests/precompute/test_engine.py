"""Engines: every task once, errors as they are, a lost worker's task done again."""

import argparse
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread, get_ident

import psutil
import pytest

from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from precompute.engine import Engine, InlineEngine, LocalEngine, add_engine_options, engine_from
from tests.precompute import engine_tasks
from tests.precompute.engine_tasks import ENGINES, needs_ray
from tests.searched import KEY, searched_copy


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Engine]:
    """Ray, started once."""
    from precompute.on_ray import RayEngine

    yield RayEngine(2)
    engine_tasks.stop_ray()


@pytest.fixture(params=["inline", *ENGINES])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        return request.getfixturevalue("ray_engine")
    return InlineEngine() if request.param == "inline" else LocalEngine(2)


def test_every_task_is_done_once(engine: Engine, tmp_path: Path) -> None:
    tasks = [(n, str(tmp_path / "done")) for n in range(7)]
    ended = dict(engine.map(engine_tasks.square, tasks, start=engine_tasks.start, args=(10,)))
    assert ended == {n: n * n + 10 for n in range(7)}
    assert sorted((tmp_path / "done").read_text().split()) == [str(n) for n in range(7)]
    assert list(engine.map(engine_tasks.square, [])) == []


def test_a_refusal_is_the_task_s_own(engine: Engine) -> None:
    with pytest.raises(AigiError, match="^no 3 here$"):
        list(engine.map(engine_tasks.refuse, [(3,)]))


def test_a_killed_local_worker_is_named(tmp_path: Path) -> None:
    with pytest.raises(AigiError, match="was killed.*run the same command again"):
        list(LocalEngine(1).map(engine_tasks.killed_once, [(1, str(tmp_path / "mark"))]))


@needs_ray
def test_ray_does_a_killed_worker_s_task_again(ray_engine: Engine, tmp_path: Path) -> None:
    tasks = [(n, str(tmp_path / f"mark{n}")) for n in range(3)]
    ended = dict(ray_engine.map(engine_tasks.killed_once, tasks))
    assert ended == {0: 0, 1: 2, 2: 4}
    assert (tmp_path / "mark1").read_text() == "killed"


@needs_ray
def test_a_search_by_ray_stores_what_a_local_one_does(
    ray_engine: Engine, synthetic_path: Path, tmp_path: Path
) -> None:
    copies = {
        name: searched_copy(synthetic_path, tmp_path / name, engine=engine)
        for name, engine in (("local", LocalEngine(1)), ("ray", ray_engine))
    }
    a, b = (KEY.folder(Workspace.open(copies[name])) for name in ("local", "ray"))
    for file in sorted(a.glob("*.np*")):
        assert file.read_bytes() == (b / file.name).read_bytes()


def test_options_that_contradict_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int)
    add_engine_options(parser)
    assert isinstance(engine_from(parser.parse_args(["--workers", "3"])), LocalEngine)
    with pytest.raises(AigiError, match="'--engine ray'"):
        engine_from(parser.parse_args(["--ray-address", "auto"]))
    with pytest.raises(AigiError, match="at least 1"):
        engine_from(parser.parse_args(["--workers", "0"]))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(AigiError, match=r"requirements-ray\.txt"):
        list(engine_from(parser.parse_args(["--engine", "ray"])).map(os.getpid, [()]))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A Ctrl-C is obeyed: a shell's background jobs, and these tests among them, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_does_not_wait_for_what_runs(tmp_path: Path) -> None:
    """A task that would never end: after a Ctrl-C its process is gone, and the caller goes on, also
    where the system hands the signal to another thread than the one that waits.
    """
    mark = tmp_path / "pid"
    results = LocalEngine(1).map(engine_tasks.never_ends, [(str(mark),)])

    def interrupt() -> None:
        while not mark.exists() or not mark.read_text():
            time.sleep(0.02)
        signal.pthread_kill(get_ident(), signal.SIGINT)

    Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        list(results)
    assert not psutil.pid_exists(int(mark.read_text()))
