"""The processes that read images, for every job that does."""

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
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def reading_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that leave Ctrl-C to their parent and end with it, even when it is killed; fed by :func:`submit`.

    Spawned, not forked: a forked worker would inherit, and outlive its killed parent with, the workspace's lock.
    """
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


def submit(
    pool: ProcessPoolExecutor,
    function: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Future[Result]:
    """Hand over a task. A process that this starts never sees Ctrl-C: the parent ends it in order."""
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(function, *args, **kwargs)
    resource_tracker.ensure_running()  # starting it would unblock the signal, so it goes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(function, *args, **kwargs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """In a worker: end when the parent is gone, and keep decoders' warnings off the screen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    if (parent := multiprocessing.parent_process()) is not None:
        sentinel = parent.sentinel

        def follow() -> None:
            wait([sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
