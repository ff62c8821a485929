"""The same search by two local processes and by two of Ray's workers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, rmtree
from threading import Event, Thread
from time import perf_counter
from typing import Any

import psutil

from aigi_core.transfer.atlas import AtlasKey
from aigi_core.workspace import Workspace
from benchmarks._small_workspace import make_workspace
from precompute.engine import Engine, LocalEngine
from precompute.search.job import search

WORKERS = 2
PAIRS = 3
"""Of runs, one by each."""


def compare_engines(folder: Path, *, images: int, draws: int, pairs: int = PAIRS) -> dict[str, Any]:
    """All six pairs of four generators searched by both in turn, Ray running before the clock
    starts.

    Args:
        folder: where the workspaces are written.
        images: of each class; 0 compares nothing.
        draws: random removals that each pair is held against.
        pairs: of runs, local first and Ray first in turn; their least times are compared.

    Returns:
        ``ray_identical`` (1 where all arrays are equal to the byte), ``ray_overhead_ratio`` by the
        clock and ``ray_core_ratio`` by seconds of the processors of all processes, Ray's own
        included, with the seconds of every run; null where Ray is not installed or no images are
        wanted.
    """
    figures = dict.fromkeys(("ray_identical", "ray_overhead_ratio", "ray_core_ratio"))
    if not images or find_spec("ray") is None:
        return figures
    import ray

    from precompute.on_ray import RayEngine

    key = AtlasKey(draws=draws, controls=draws)
    searched = make_workspace(folder / "searched", per_class=images, d=96)
    engines: dict[str, Engine] = {"local": LocalEngine(WORKERS), "ray": RayEngine(WORKERS)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    same = True
    try:
        list(engines["ray"].map(abs, [(number,) for number in range(WORKERS)]))
        for turn in range(pairs):
            for name in sorted(engines, reverse=bool(turn % 2)):
                rmtree(folder / name, ignore_errors=True)
                copytree(searched, folder / name)
                seconds[name].append(_search(folder / name, key, engines[name]))
            same = same and _same_arrays(key, folder / "local", folder / "ray")
    finally:
        ray.shutdown()
    (local, own), (other, theirs) = (map(min, zip(*seconds[name], strict=True)) for name in engines)
    runs = {
        f"search_{name}_{what}": [round(run[at], 1) for run in taken]
        for name, taken in seconds.items()
        for at, what in enumerate(("seconds", "core_seconds"))
    }
    return {
        "ray_identical": int(same),
        "ray_overhead_ratio": round(other / local, 2),
        "ray_core_ratio": round(theirs / own, 2),
        **runs,
    }


def _same_arrays(key: AtlasKey, one: Path, other: Path) -> bool:
    """Whether both searches wrote the same arrays, to the byte."""
    first, second = (key.folder(Workspace.open(path)) for path in (one, other))
    arrays = sorted(file.name for file in first.glob("*.np*"))
    same = [(first / name).read_bytes() == (second / name).read_bytes() for name in arrays]
    return bool(same) and all(same)


def _search(workspace: Path, key: AtlasKey, engine: Engine) -> tuple[float, float]:
    """Seconds by the clock, and of the processors."""
    with _Processors() as processors:
        start = perf_counter()
        search(workspace, key=key, engine=engine)
        took = perf_counter() - start
    return took, processors.seconds


class _Processors:
    """Seconds of the processors that this process and all below it spend meanwhile, looked at
    several times a second: those of Ray do not end with their work, or are killed."""

    def __enter__(self) -> _Processors:
        self._before, self._last = _spent(), dict[int, float]()
        self._ended = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._last |= _spent()
        self.seconds = sum(
            seconds - self._before.get(pid, 0.0) for pid, seconds in self._last.items()
        )

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            self._last |= _spent()


def _spent() -> dict[int, float]:
    """Process -> seconds, of this one and all below it."""
    here, seconds = psutil.Process(), {}
    for process in (here, *here.children(recursive=True)):
        try:
            seconds[process.pid] = sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return seconds
