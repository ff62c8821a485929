"""What pages cost a server, in seconds of the processors, asked by a client that draws nothing.

By the clock a page waits for whatever else runs on the machine; processor time does not. Counted is
the server with the processes that it starts, but for the check of files, which runs beside all.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import psutil

from benchmarks._server import serving
from benchmarks._visitor import Visitor

PATIENCE = 600.0
CONTROLS = 3


@dataclass
class Spent:
    """Seconds of the processors: page -> its first visit, another one, controls moved."""

    first: dict[str, float] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)
    controls: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def visit_pages(
    workspace: Path, folder: Path, stems: Sequence[str], sessions: int, controls: int = CONTROLS
) -> dict[str, Any]:
    """A fresh server on the workspace: one session opens every page twice and moves some controls
    of each, then all sessions open every page.

    Args:
        controls: moved on each page, drawn at random; one may ask for another training, which takes
            minutes where images are many.

    Returns:
        ``page_core_seconds`` (page -> first visit, again), ``warm_core_median_seconds`` (pages
        visited again and controls moved), ``slow_controls`` (those above a second),
        ``sessions_private_mb`` (peak of memory that is no file's, with all sessions),
        ``page_errors``.
    """
    spent = Spent()
    with serving(workspace, folder) as (server, _):
        process = psutil.Process(server.process.pid)
        private = _Peak(process)
        work = _visit(
            server.port, lambda: _core_seconds(process), stems, (sessions, controls), spent
        )
        asyncio.run(work)
        most = private.stop()
        if tracebacks := server.log.read_text("utf-8", "replace").count("Traceback"):
            spent.errors.append(f"{tracebacks} tracebacks in the server's log")
    warm = [*spent.again.values(), *(one for own in spent.controls.values() for one in own)]
    slow = {name: own for name, own in spent.controls.items() if max(own) > 1}
    return {
        "page_core_seconds": {
            stem: [round(took, 2), round(spent.again.get(stem, np.nan), 2)]
            for stem, took in spent.first.items()
        },
        "warm_core_median_seconds": round(float(np.median(warm)), 3) if warm else None,
        "slow_controls": {name: [round(one, 1) for one in own] for name, own in slow.items()},
        "sessions_private_mb": most,
        "page_errors": spent.errors[:20],
    }


async def _visit(
    port: int,
    core: Callable[[], float],
    stems: Sequence[str],
    counts: tuple[int, int],
    spent: Spent,
) -> None:
    sessions, controls = counts
    visitor = await Visitor.come(port, PATIENCE)
    rng = np.random.default_rng(0)
    for stem in stems:
        for into in (spent.first, spent.again):
            before = core()
            visitor = await _opened(visitor, port, stem, spent)
            into[stem] = core() - before
            print(f"{stem}: {into[stem]:.2f} s of a core", file=sys.stderr, flush=True)
        for _ in range(controls):
            before = core()
            try:
                name = await visitor.act(rng)
            except (TimeoutError, OSError) as error:
                spent.errors.append(f"{stem}: {type(error).__name__}")
                visitor = await Visitor.come(port, PATIENCE)
                break
            spent.controls.setdefault(f"{stem} {name}", []).append(core() - before)
            spent.errors += [f"{stem} {name}: {error}" for error in visitor.errors]
    others = [await Visitor.come(port, PATIENCE) for _ in range(sessions - 1)]
    for stem in stems:
        await asyncio.gather(*(_opened(other, port, stem, spent) for other in others))
    for other in (visitor, *others):
        await other.leave()


async def _opened(visitor: Visitor, port: int, stem: str, spent: Spent) -> Visitor:
    """Open a page; a session whose answer does not come is given up for a new one."""
    try:
        await visitor.open(stem)
    except (TimeoutError, OSError) as error:
        spent.errors.append(f"{stem}: {type(error).__name__}")
        return await Visitor.come(port, PATIENCE)
    spent.errors += [f"{stem}: {error}" for error in visitor.errors]
    return visitor


def _tree(process: psutil.Process) -> list[psutil.Process]:
    """The server and its processes, without the check of files."""
    below = process.children(recursive=True)
    return [process, *(one for one in below if not _checks(one))]


def _checks(process: psutil.Process) -> bool:
    try:
        return "verify" in process.cmdline()
    except psutil.Error:
        return True


def _core_seconds(process: psutil.Process) -> float:
    total = 0.0
    for one in _tree(process):
        try:
            total += sum(one.cpu_times()[:2])
        except psutil.Error:
            continue
    return total


class _Peak:
    """The most memory of a server that is not a file's: pages of a memory map can go at any time,
    and are the same for all processes."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._ended = Event()
        self._most = 0
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """In MB."""
        self._ended.set()
        self._thread.join()
        return round(self._most / 2**20)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            try:
                memory = [one.memory_info() for one in _tree(self._process)]
            except psutil.Error:
                continue
            self._most = max(self._most, sum(one.rss - getattr(one, "shared", 0) for one in memory))
