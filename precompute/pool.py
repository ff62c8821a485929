"""The processes of every job that works in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def worker_pool(
    workers: int, start: Callable[..., None] | None = None, *args: Any
) -> ProcessPoolExecutor:
    """Processes that leave Ctrl-C to their parent and end with it, even when it is killed; fed by
    :func:`submit`.

    Spawned, not forked: a forked worker would inherit, and outlive its killed parent with, the
    workspace's lock, and forked BLAS threads hang.

    Args:
        start: what each process does first, with these arguments.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(start, args))


def submit(
    pool: ProcessPoolExecutor,
    function: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Future[Result]:
    """Hand over a task. A process that this starts never sees Ctrl-C: the parent ends it in
    order.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(function, *args, **kwargs)
    resource_tracker.ensure_running()  # starting it would unblock the signal, so it goes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, *args, **kwargs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(pool: ProcessPoolExecutor) -> None:
    """End its processes at once, deaf to a further Ctrl-C meanwhile.

    What they were at is lost; what they had published is whole.
    """
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    try:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _begin(start: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    """In a worker: end when the parent is gone, and keep decoders' warnings off the screen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    if (parent := multiprocessing.parent_process()) is not None:
        sentinel = parent.sentinel

        def follow() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    if start is not None:
        start(*args)
