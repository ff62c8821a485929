"""Heavy work of the library in a process of its own, so that clicks of all sessions do not share
one interpreter with it.

There is one such process. While it is at work for somebody, whoever needs something else computes
it in the session's own thread: nobody waits for another's long work.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from aigi_core.processes import LimitedProcesses, call, load

SECONDS = 900.0
"""Processor time for one computation, beyond which it is made in the session's thread."""
MEMORY = 16 * 2**30
LOADED = ("aigi_core.explain.heads", "aigi_core.stress")
T = TypeVar("T")
_processes: list[LimitedProcesses] = []
"""None before the server has begun: tests and scripts compute where they are."""


def begin() -> None:
    """Start the process, which loads what it needs before somebody waits for it."""
    processes = LimitedProcesses(1, seconds=SECONDS, memory=MEMORY)
    atexit.register(processes.close)
    processes.now(load, (LOADED,), lambda: None)
    _processes.append(processes)


def apart(
    function: Callable[..., T], *args: Any, here: Mapping[str, Any] | None = None, **kwargs: Any
) -> T:
    """``function(*args, **kwargs)``, in the other process where that is there and free.

    Any click or leaving the page stops it, as it stops a run of the script.

    Args:
        function: one of a module of the library; its arguments and its result are workspaces and
            plain values.
        here: further arguments for where it runs in this thread, such as ``progress``.
    """
    for processes in _processes:
        if answer := processes.now(call, (function, args, kwargs), _still_wanted):
            result: T = answer[0]
            return result
    return function(*args, **kwargs, **(here or {}))


def _still_wanted() -> None:
    """Streamlit looks at every access whether this run of the script goes on, and ends it here."""
    if get_script_run_ctx(suppress_warning=True):  # not where a server prepares its pages
        st.session_state.get("_")
