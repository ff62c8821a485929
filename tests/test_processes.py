"""Processes that are limited: what exceeds a limit costs one result."""

import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

from aigi_core import processes as limited_processes
from aigi_core.errors import AigiError
from aigi_core.images import ImageError
from aigi_core.processes import TOGETHER, LimitedProcesses, LimitExceeded, Turns, read_images
from tests.limited_tasks import task


@pytest.fixture(scope="module")
def processes() -> Iterator[LimitedProcesses]:
    limited = LimitedProcesses(2, seconds=0.3, memory=2**29)
    yield limited
    limited.close()


def test_what_exceeds_a_limit_costs_one_result_and_one_process(
    processes: LimitedProcesses,
) -> None:
    names = ["a", "spin", "b", "crash", "c", "fill", "d", "e"]
    results = list(processes.map(task, [(name,) for name in names]))
    killed = [name for name, one in zip(names, results, strict=True) if type(one) is not str]
    assert killed == ["spin", "crash", "fill"]
    assert {str(one) for one in results if isinstance(one, LimitExceeded)} == {
        "reading it crashed, or took more than 0.3 s of processor time or 0.5 GiB"
    }
    by = [str(one).split()[-1] for one in results if isinstance(one, str)]
    assert by[3] == by[4] and len(set(by)) == 4 and str(os.getpid()) not in by
    assert list(processes.map(task, [("f",)])) == [f"f by {by[-1]}"], "a living process is kept"


def test_of_results_that_are_handed_over_together_a_crash_costs_its_own_alone(
    processes: LimitedProcesses,
) -> None:
    names = [f"n{i}" for i in range(3 * TOGETHER)]
    names[TOGETHER + 3] = names[TOGETHER + 4] = names[-1] = "crash"
    results = list(processes.map(task, [(name,) for name in names]))
    assert [isinstance(one, LimitExceeded) for one in results] == [n == "crash" for n in names]
    told = [str(one).split()[0] for one in results if isinstance(one, str)]
    assert told == [name for name in names if name != "crash"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_files_are_handed_over_few_at_a_time_and_not_kept() -> None:
    """Nine files of 20 MiB: the process had all of them twice, and kept them until it was asked
    for something else."""

    def mebibytes(what: str) -> float:
        status = Path(f"/proc/{limited._idle[0]._popen.pid}/status").read_text("ascii")
        return int(re.findall(rf"{what}:\s+(\d+)", status)[0]) / 1024

    limited = LimitedProcesses(1, memory=2**30)
    assert list(limited.map(len, [(b"",)])) == [0]
    before = mebibytes("VmRSS")
    sizes = [20 * 2**20 + number for number in range(9)]
    assert list(limited.map(len, [(b"x" * size,) for size in sizes])) == sizes
    assert list(limited.map(len, [(b"x",)] * 3)) == [1] * 3, "the same process goes on"
    assert mebibytes("VmHWM") < before + 80
    assert list(limited.map(len, [(b"x" * size,) for size in sizes[:1]])) == sizes[:1]
    end = time.monotonic() + 20  # it forgets them after it has answered
    while mebibytes("VmRSS") > before + 8 and time.monotonic() < end:
        time.sleep(0.01)
    assert mebibytes("VmRSS") < before + 8
    limited.close()


def test_an_error_reaches_the_caller_and_the_next_call_works(
    processes: LimitedProcesses,
) -> None:
    with pytest.raises(AigiError, match="one sentence"):
        list(processes.map(task, [("a",), ("raise",), ("b",)]))
    assert len(list(processes.map(task, [("a",)]))) == 1


def test_one_task_is_done_now_or_left_to_the_caller() -> None:
    limited = LimitedProcesses(1, seconds=0.3, memory=2**29)
    (first,) = limited.now(task, ("a",), lambda: None) or ("",)
    assert first.startswith("a by ") and str(os.getpid()) not in first
    assert limited.now(task, ("raise",), lambda: None) is None
    assert limited.now(task, ("a",), lambda: None) == (first,), "an error costs no process"
    busy = []
    assert limited.now(task, ("spin",), lambda: busy.append(limited.now(task, ("a",), id))) is None
    assert busy and set(busy) == {None}, "who finds it at work does not wait"
    (other,) = limited.now(task, ("a",), lambda: None) or ("",)
    assert other.startswith("a by ") and other != first

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        limited.now(task, ("spin",), leave)
    (third,) = limited.now(task, ("a",), lambda: None) or ("",)
    assert third.startswith("a by ") and third != other, "what nobody waits for is ended"
    limited.close()


def test_who_has_patience_gets_the_next_turn() -> None:
    limited = LimitedProcesses(1, seconds=0.3, memory=2**29, niceness=1)
    answers: list[object] = []
    waiter = Thread(
        target=lambda: answers.append(limited.now(task, ("b",), lambda: None, patience=60))
    )

    def wait() -> None:
        if waiter.ident is None:
            waiter.start()

    assert limited.now(task, ("spin",), wait) is None, "its processor time is up"
    waiter.join()
    assert answers and str(answers[0]).startswith("('b by ")
    limited.close()


def test_what_is_done_soonest_comes_first_and_nobody_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page of 80 s stood before clicks of a tenth of a second."""
    clock, came = [0.0], list[str]()
    monkeypatch.setattr(limited_processes.time, "monotonic", lambda: clock[0])
    turns = Turns(1)
    assert turns.come(0, lambda: None)

    def ask(name: str, lasting: float) -> None:
        assert turns.come(60, lambda: None, lasting)
        came.append(name)
        turns.leave()

    asked = [(0, "long", 10.0), (1, "middle", 5.0), (2, "short", 0.1), (2, "as short", 0.1)]
    asked += [(29, "short, before the long one is due", 0.1), (30, "short, after", 0.1)]
    threads = [Thread(target=ask, args=what) for _, *what in asked]
    for (clock[0], *_), thread in zip(asked, threads, strict=True):
        waiting = len(turns._waiting)
        thread.start()
        while len(turns._waiting) == waiting:
            time.sleep(0.001)
    turns.leave()
    for thread in threads:
        thread.join()
    assert came == ["short", "as short", "middle", asked[4][1], "long", "short, after"]


def test_turns_come_in_the_order_of_asking() -> None:
    """A semaphore that is asked anew ten times a second gives them to whoever asks at the moment:
    the first of many then waited longest."""
    turns, came, asked = Turns(1), list[int](), Event()
    assert turns.come(0, lambda: None)

    def ask(number: int) -> None:
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 3:  # each has been asking anew for a while when the next one comes
                asked.set()

        if turns.come(60, look):
            came.append(number)
            turns.leave()

    def gone() -> None:
        raise KeyboardInterrupt

    threads = [Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        asked.clear()
        thread.start()
        asked.wait()
    with pytest.raises(KeyboardInterrupt):
        turns.come(60, gone)
    assert not turns.come(0, gone), "who has no patience is told at once"
    turns.leave()
    for thread in threads:
        thread.join()
    assert came == [0, 1, 2, 3]
    assert turns.come(0, gone), "who left without a turn has taken none"


def test_an_image_that_cannot_be_used_costs_one_result(processes: LimitedProcesses) -> None:
    names = ["a", "spin", "no image", "b"]
    first, spun, empty, last = read_images(task, [(name,) for name in names], processes)
    assert isinstance(spun, ImageError) and spun.reason == "too large"
    assert isinstance(empty, ImageError) and empty.reason == "empty"
    assert str(first).startswith("a ") and str(last).startswith("b ")


ROOT = Path(__file__).parents[1]


def test_everything_that_decodes_images_is_limited() -> None:
    """Each function that calls ``load_rgb`` is handed to limited processes in its module."""
    found = 0
    for folder in ("aigi_core", "precompute", "ui", "pages"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text("utf-8")
            for part in re.split(r"^(?=def |class )", text, flags=re.MULTILINE):
                if "load_rgb(" not in part or part.startswith("def load_rgb("):
                    continue
                name = part.split("(")[0].removeprefix("def ")
                used = (
                    (ROOT / "ui" / "toolkit" / "images.py").read_text()
                    if name == "thumbnail"
                    else text
                )
                assert re.search(rf"read_images\(\s*{name}\b|Facts\] = {name}\b", used), file
                found += 1
    assert found == 6


def test_a_call_that_is_left_leaves_nothing_for_the_next(processes: LimitedProcesses) -> None:
    results = processes.map(task, [("a",), ("b",), ("c",)])
    assert str(next(results)).startswith("a ")
    results.close()  # type: ignore[attr-defined]
    assert str(next(processes.map(task, [("d",)]))).startswith("d ")


def test_a_process_that_was_killed_while_idle_is_replaced(processes: LimitedProcesses) -> None:
    first = next(map(str, list(processes.map(task, [("a",)]))))
    os.kill(int(first.split()[-1]), 9)
    while any(process.alive for process in processes._idle):
        time.sleep(0.01)
    assert next(map(str, list(processes.map(task, [("a",)])))).startswith("a by ")


def test_many_threads_get_their_own_results(processes: LimitedProcesses) -> None:
    def ask(thread: int) -> list[str]:
        tasks = [(f"{thread}-{i}",) for i in range(5)]
        return [str(one).split()[0] for one in processes.map(task, tasks)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert answers == [[f"{thread}-{i}" for i in range(5)] for thread in range(4)]


def test_modules_of_the_current_folder_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever judges a stranger's folder of images stands in it: nothing in it is run."""
    loaded = tmp_path / "loaded"
    for module in ("aigi_core", "base64"):
        (tmp_path / f"{module}.py").write_text(f"open({str(loaded)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    limited = LimitedProcesses(1, seconds=5)
    try:
        assert len(list(limited.map(task, [("a",), ("b",)]))) == 2
    finally:
        limited.close()
    assert not loaded.exists()


def test_no_process_is_started_with_the_current_folder_on_its_import_path() -> None:
    rooms = [ROOT / name for name in ("aigi_core", "precompute", "ui", "pages")]
    started = [
        (file.relative_to(ROOT), rest.lstrip()[:4])
        for room in rooms
        for file in sorted(room.rglob("*.py"))
        for rest in file.read_text("utf-8").split("sys.executable,")[1:]
    ]
    assert len(started) > 3
    assert {how for _, how in started} == {'"-P"'}, started
