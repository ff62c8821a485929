"""Where a job's units of work are computed: in processes of this machine, or by Ray.

A unit of work is an idempotent function from a description to a result or to files. An engine maps
such a function over descriptions and yields results as they come. ``local`` needs nothing; ``ray``
is the module :mod:`precompute.on_ray` (``requirements-ray.txt``).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from aigi_core.errors import AigiError
from precompute.pool import end, submit, worker_pool

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Maps a function over descriptions of work."""

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        *,
        start: Callable[..., None] | None = None,
        args: tuple[Any, ...] = (),
    ) -> Iterator[tuple[int, Any]]:
        """Call ``function(*task)`` for each task and yield ``(number of the task, result)`` as
        they end, in any order.

        Args:
            function: a module's function; idempotent, since a lost worker's task is done again.
            start: what each worker does first, with ``args``.

        Raises:
            AigiError: raised by a task, or a worker was lost and cannot be replaced.
        """


def _as_completed(jobs: Iterable[Future[Any]]) -> Iterator[Future[Any]]:
    """Futures as they end, woken every second: a Ctrl-C that the system hands to another thread is
    only obeyed once the main thread runs.
    """
    waiting = set(jobs)
    while waiting:
        try:
            for job in as_completed(waiting, timeout=1):
                waiting.discard(job)
                yield job
        except TimeoutError:
            continue


@dataclass(frozen=True)
class LocalEngine:
    """Processes on this machine.

    Example:
        >>> LocalEngine(2).workers
        2
    """

    workers: int

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        *,
        start: Callable[..., None] | None = None,
        args: tuple[Any, ...] = (),
    ) -> Iterator[tuple[int, Any]]:
        if not tasks:
            return
        with worker_pool(min(self.workers, len(tasks)), start, *args) as pool:
            jobs = {submit(pool, function, *task): number for number, task in enumerate(tasks)}
            try:
                for job in _as_completed(jobs):
                    yield jobs[job], job.result()
            except BrokenProcessPool as error:
                raise AigiError(
                    "A process was killed, perhaps because memory ran out: run the same command"
                    " again, it goes on where it stopped; with '--workers 1' it needs least."
                ) from error
            except BaseException:
                end(pool)
                raise


@dataclass(frozen=True)
class InlineEngine:
    """Every task in this process, one after the other: for one worker, or for tasks that use all
    processors themselves."""

    workers: int = 1

    def map(
        self,
        function: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        *,
        start: Callable[..., None] | None = None,
        args: tuple[Any, ...] = (),
    ) -> Iterator[tuple[int, Any]]:
        if tasks and start is not None:
            start(*args)
        for number, task in enumerate(tasks):
            yield number, function(*task)


def seconds_left(start: float, done: int, of: int) -> float:
    """From the units that have ended since ``start`` (perf_counter), where all take about as
    long."""
    return (perf_counter() - start) / done * (of - done)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """The options by which a job chooses its engine."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where the work is computed (default local; ray needs requirements-ray.txt)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="with --engine ray: a running cluster, or 'auto' (default: start Ray here)",
    )


def engine_from(args: argparse.Namespace, gpus: float = 0.0) -> Engine:
    """The engine that a command's options name.

    Args:
        gpus: how many each worker of Ray claims.

    Raises:
        AigiError: Ray is wanted and not installed, an address without Ray, or fewer than one
            worker.
    """
    workers = args.workers if args.workers is not None else cores()
    if workers < 1:
        raise AigiError(f"--workers must be at least 1, got {workers}.")
    if args.engine == "local":
        if args.ray_address:
            raise AigiError("--ray-address names a Ray cluster: give '--engine ray' with it.")
        return LocalEngine(workers) if workers > 1 else InlineEngine()
    from precompute.on_ray import RayEngine

    return RayEngine(workers, args.ray_address, gpus)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
