"""Functions on files of strangers, run in processes of their own that are limited in processor time
and memory: what exceeds a limit costs one result and one process, never its caller.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import count
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

from aigi_core.errors import AigiError
from aigi_core.images import ImageError

SECONDS = 60.0
"""Processor time for one file. The largest pictures that are decoded, 89 million pixels, take 2 to
40 s by format."""
MEMORY = 4 * 2**30
"""Bytes of address space beyond what a process has when it starts. The largest pictures with 16
bits take 3 GiB."""
WAIT = 10.0
"""So many times the processor time may pass before a process counts as stuck."""
STARTING = 60.0
"""Seconds more for the first answer of a process: it starts meanwhile, on a busy machine slowly."""
BETWEEN = 0.1
"""Seconds between two looks at who waits for a result."""
AHEAD = 3.0
"""Times as long as it takes, work that is waiting lets shorter work pass."""
TOGETHER, SOON = 16, 0.05
"""Results that are handed over together, and seconds after which those that are there are handed
over: each time wakes the caller, which takes a quarter of the time of reading a small file."""
BYTES = 32 * 2**20
"""Of files that are handed to a process at once: each is there three times, as the caller's, on its
way and as the process's."""
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""One thread; and glibc keeps the memory of one picture for the next, where it would give it back
and have every page cleared anew: up to half of the time of a file."""
_CODE = "from aigi_core.processes import serve; serve()"

Result = TypeVar("Result")


class Turns:
    """So many at work at the same time; the others wait. Whoever will be done soonest comes first,
    as far as one can say beforehand, but nobody for ever: what takes so many seconds lets pass
    what was asked for within :data:`AHEAD` times as many after it.

    A semaphore that is asked again and again, to look at something else in between, puts whoever
    asks behind all others each time.
    """

    def __init__(self, most: int) -> None:
        self._free, self._lock = most, Lock()
        self._waiting: list[tuple[float, int, Event]] = []
        self._asked = count()
        self._came = 0.0

    def come(self, patience: float, waiting: Callable[[], object], lasting: float = 0.0) -> bool:
        """Wait for a turn; False where for so many seconds nobody's has come: those at work take
        very long.

        Args:
            waiting: called several times a second meanwhile; what it raises gives the turn up.
            lasting: seconds that the work will take, about.
        """
        began = time.monotonic()
        with self._lock:
            if self._free:
                self._free -= 1
                self._came = began
                return True
            mine = (began + AHEAD * lasting, next(self._asked), Event())
            heappush(self._waiting, mine)
        try:
            while not mine[2].wait(max(0.0, min(BETWEEN, patience))):
                if time.monotonic() >= max(began, self._came) + patience:
                    return not self._left(mine)
                waiting()
        except BaseException:
            if not self._left(mine):
                self.leave()
            raise
        return True

    def _left(self, mine: tuple[float, int, Event]) -> bool:
        """Wait no longer; False where the turn has just come."""
        with self._lock:
            if mine[2].is_set():
                return False
            self._waiting.remove(mine)
            heapify(self._waiting)
            return True

    def leave(self) -> None:
        """After a turn."""
        with self._lock:
            if self._waiting:
                heappop(self._waiting)[2].set()
                self._came = time.monotonic()
            else:
                self._free += 1


class LimitExceeded(AigiError):
    """A function's process was killed: it crashed or exceeded a limit."""


class LimitedProcesses:
    """Processes that run functions of modules, one task after another each.

    A process is started when it is needed, kept for the next call, and replaced when it was killed.
    May be used by many threads.

    Args:
        most: processes at work at the same time; further callers wait.
        keep: idle ones that are kept.
        seconds: processor time for one task.
        memory: bytes of address space for one process.
        niceness: how far they stand back for others where there are too few processors.
    """

    def __init__(
        self,
        most: int,
        keep: int = 1,
        *,
        seconds: float = SECONDS,
        memory: int = MEMORY,
        niceness: int = 0,
    ) -> None:
        self.seconds, self.memory, self._niceness = seconds, memory, niceness
        self._keep, self._turns = keep, Turns(most)
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()

    def map(
        self, function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]
    ) -> Iterator[Result | LimitExceeded]:
        """Results of ``function(*task)`` in order, each as soon as it is there; LimitExceeded, as a
        value, for a task whose process was killed.

        Raises:
            Exception: what the function raised.
        """
        if os.name != "posix":  # no limits, and no descriptors to hand on
            yield from (function(*task) for task in tasks)
            return
        at = alone = 0  # tasks before the second are answered one by one
        self._turns.come(math.inf, lambda: None)
        try:
            while at < len(tasks):
                process = self._take()
                done = False
                together = alone <= at
                part = _up_to(BYTES, tasks[at:] if together else tasks[at:alone])
                try:
                    for result in process.run(function, part, together=together):
                        at += 1
                        yield result
                    done = True
                except (EOFError, ConnectionError):
                    if together and len(tasks) - at > 1:  # which of the next ones was it?
                        alone = min(len(tasks), at + TOGETHER)
                        continue
                    at += 1
                    yield LimitExceeded(
                        "reading it crashed, or took more than"
                        f" {self.seconds:g} s of processor time or {self.memory / 2**30:.2g} GiB"
                    )
                finally:
                    self._give_back(process, done)
        finally:
            self._turns.leave()

    def now(
        self,
        function: Callable[..., Result],
        task: tuple[Any, ...],
        waiting: Callable[[], object],
        patience: float = 0.0,
        lasting: float = 0.0,
    ) -> tuple[Result] | None:
        """The result of ``function(*task)``, alone in a tuple; None where for ``patience`` seconds
        all processes have been at work on the same, and where one could not give it (it was
        killed, or the function raised): compute it here then.

        Args:
            waiting: called several times a second meanwhile; what it raises ends the process.
            lasting: as in :meth:`Turns.come`.
        """
        if os.name != "posix" or not self._turns.come(patience, waiting, lasting):
            return None
        try:
            process = self._take()
            try:
                (result,) = process.run(function, [task], waiting)
                return (result,)
            finally:
                self._give_back(process, process.answered)
        except Exception:  # of the function, or of the way to it: the caller will see
            return None
        finally:
            self._turns.leave()

    def close(self) -> None:
        """End the processes; what is under way is lost."""
        while self._idle:
            self._idle.pop().end()
        for process in list(self._busy):
            process.end()

    def _give_back(self, process: _Process, done: bool) -> None:
        self._busy.discard(process)
        if done and len(self._idle) < self._keep:
            self._idle.append(process)
        else:
            process.end()

    def _take(self) -> _Process:
        process = None
        while process is None or not process.alive:
            if process is not None:
                process.end()
            try:
                process = self._idle.pop()
            except IndexError:
                process = _Process(self.seconds, self.memory, self._niceness)
                break
        self._busy.add(process)
        return process


def _up_to(most: int, tasks: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """The first tasks, whose files hold no more bytes together, or one task."""
    total = 0
    for number, task in enumerate(tasks):
        total += _held(task)
        if total > most:
            return tasks[: max(1, number)]
    return tasks


def _held(task: Any) -> int:
    if isinstance(task, tuple):
        return sum(map(_held, task))
    return len(task) if isinstance(task, bytes) else 0


def import_path() -> str:
    """This process's import path for another, which is started with ``-P``: without it Python would
    also load modules that lie in the current folder, such as one of a stranger's images.
    """
    return os.pathsep.join(one or str(Path.cwd()) for one in sys.path)


class _Process:
    """One process and the way to it.

    Not multiprocessing's own: that would run the caller's main script again, which in the app is
    all of the app.
    """

    def __init__(self, seconds: float, memory: int, niceness: int) -> None:
        self._wait = WAIT * seconds
        self._begun = False
        self.answered = False
        self._connection, theirs = Pipe()
        limits = [str(theirs.fileno()), repr(seconds), str(memory), str(niceness)]
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, *limits],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the caller's
            env=os.environ | {"PYTHONPATH": import_path()} | _ENVIRONMENT,
        )
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def run(
        self,
        function: Callable[..., Result],
        tasks: Sequence[tuple[Any, ...]],
        waiting: Callable[[], object] | None = None,
        *,
        together: bool = False,
    ) -> Any:
        """Results in order; EOFError or ConnectionError where the process is gone.

        Args:
            waiting: called several times a second until a result is there.
            together: the process may hand over several results at once, which all are lost where a
                later one kills it.
        """
        self.answered = False
        self._connection.send((function, list(tasks), TOGETHER if together else 1))
        got = 0
        while got < len(tasks):
            end = time.monotonic() + self._wait + (0 if self._begun else STARTING)
            while not self._connection.poll(BETWEEN if waiting else end - time.monotonic()):
                if time.monotonic() > end:
                    raise EOFError
                if waiting:
                    waiting()
            answers = self._connection.recv()
            self._begun = True
            got += len(answers)
            self.answered = got == len(tasks)
            for result, error in answers:
                if error is not None:
                    raise error
                yield result

    def end(self) -> None:
        self._connection.close()
        self._popen.kill()
        self._popen.wait()


@cache
def shared() -> LimitedProcesses:
    """The processes of everything in this process that reads one file or a few."""
    processes = LimitedProcesses(4)
    atexit.register(processes.close)
    return processes


def call(
    function: Callable[..., Result], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Result, float]:
    """What a process is given to call a function by keywords, too, and to say how many seconds of
    the processor it took; it keeps none of the memory."""
    began = time.process_time()
    try:
        return function(*args, **kwargs), time.process_time() - began
    finally:
        give_back_memory()


def give_back_memory() -> None:
    """Return this process's free memory to the system, where the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def load(modules: Sequence[str]) -> None:
    """Let a process load modules before somebody waits for it."""
    for module in modules:
        importlib.import_module(module)


def read_images(
    function: Callable[..., Result],
    tasks: Sequence[tuple[Any, ...]],
    processes: LimitedProcesses | None = None,
) -> Iterator[Result | ImageError]:
    """Results of ``function(*task)``, each of which decodes one image, in order; an ImageError, as
    a value, for an image that cannot be used or exceeds a limit. Whatever decodes images that
    others may have made or replaced does it here.

    Args:
        processes: by default the ones that all share.
    """
    calls = [(function, task) for task in tasks]
    for result in (processes or shared()).map(_result_or_error, calls):
        if isinstance(result, LimitExceeded):
            yield ImageError("too large", str(result))
        else:
            yield result


def _result_or_error(function: Callable[..., Result], task: tuple[Any, ...]) -> Result | ImageError:
    try:
        return function(*task)
    except ImageError as error:
        return error


def serve() -> None:
    """The life of a limited process: batches of tasks until its caller is gone."""
    descriptor = int(sys.argv[1])
    seconds = float(sys.argv[2])
    memory = int(sys.argv[3])
    if niceness := int(sys.argv[4]):
        os.nice(niceness)
    warnings.simplefilter("ignore")  # of decoders
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process
    connection = Connection(descriptor)
    limited = False
    while True:
        try:
            function, tasks, most = connection.recv()
        except (EOFError, ConnectionError):
            return
        if not limited:  # not before: the function's modules are loaded by now
            _limit_memory(memory)
            limited = True
        if not _answer(connection, function, tasks, most, seconds):
            return
        large = _held(tuple(tasks)) > BYTES / 2
        del function, tasks  # not kept until the next come, perhaps hours later
        if large:
            give_back_memory()


def _answer(
    connection: Connection,
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    most: int,
    seconds: float,
) -> bool:
    """Do tasks and hand over their results, so many at a time; False where the caller is gone."""
    ready: list[tuple[Any, BaseException | None]] = []
    since = time.monotonic()
    for number, task in enumerate(tasks, 1):
        answer: tuple[Any, BaseException | None]
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = function(*task), None
        except MemoryError:
            os._exit(1)
        except Exception as error:
            answer = None, error
        signal.setitimer(signal.ITIMER_PROF, 0)
        ready.append(answer)
        now = time.monotonic()
        if len(ready) < most and number < len(tasks) and now - since < SOON:
            continue
        try:
            connection.send(ready)
        except ConnectionError:
            return False
        ready, since = [], now
    return True


def _limit_memory(more: int) -> None:
    """Let this process have so many bytes more than it has; nothing where the system has no such
    limit."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = Path("/proc/self/statm").read_text("ascii").split()[0]
        now = int(pages) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = now + more if hard == resource.RLIM_INFINITY else min(hard, now + more)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
