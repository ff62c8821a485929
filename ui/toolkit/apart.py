"""Heavy work of the library in processes of their own, so that clicks of all sessions do not share
one interpreter with it, and have the processor first.

There are as many as processors, up to two: each holds a third of a gigabyte. Whoever finds all at
work waits, and what takes long lets shorter work pass. Where both have been at work on the same for
long, it is computed in the session's own thread: nobody waits for another's very long work.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from aigi_core.errors import AigiError
from aigi_core.processes import LimitedProcesses, call, load
from aigi_core.workspace import with_looked_for
from ui.toolkit.kept import note, state, workspaces_among

SECONDS = 900.0
"""Processor time for one computation, beyond which it is made in the session's thread."""
MEMORY = 16 * 2**30
MOST = min(2, os.cpu_count() or 1)
PATIENCE = 20.0
"""Seconds without a process that becomes free for anybody, after which nobody waits for one. What
is computed in the sessions' threads slows all clicks, so that most work is done sooner in turn."""
UNKNOWN = 1.0
"""Seconds that work is taken to last before it was done once."""
NICENESS = 5
LOADED = ("aigi_core.explain.heads", "aigi_core.inspection.unseen", "aigi_core.stress")
T = TypeVar("T")
_processes: list[LimitedProcesses] = []
"""None before the server has begun: tests and scripts compute where they are."""
_lasted: dict[str, float] = {}
"""Function -> seconds of the processor that it took the last time, where nobody knew before."""


def begin() -> None:
    """From now on heavy work is done in processes; each is started when it is first needed."""
    processes = LimitedProcesses(MOST, MOST, seconds=SECONDS, memory=MEMORY, niceness=NICENESS)
    atexit.register(processes.close)
    _processes.append(processes)


def load_ahead() -> None:
    """Let a process load what it needs before somebody waits for it."""
    for processes in _processes:
        processes.now(load, (LOADED,), lambda: None)


def apart(
    function: Callable[..., T],
    *args: Any,
    here: Mapping[str, Any] | None = None,
    lasting: float | None = None,
    **kwargs: Any,
) -> T:
    """``function(*args, **kwargs)``, in another process where there are some.

    Any click or leaving the page stops it, as it stops a run of the script.

    Args:
        function: one of a module of the library; its arguments and its result are workspaces and
            plain values.
        here: further arguments for where it runs in this thread, such as ``progress``.
        lasting: seconds of the processor that it takes, where somebody knows; by default as long as
            the function's last call.
    """
    task: tuple[Any, ...] = (with_looked_for, (function, args, kwargs), {})
    name = str(getattr(function, "__qualname__", function))
    expected = _lasted.get(name, UNKNOWN) if lasting is None else lasting
    for processes in _processes:
        for workspace in workspaces_among([*args, *kwargs.values()]):
            state(workspace.path)  # as it is before: what changes meanwhile counts as changed
        if answer := processes.now(call, task, _still_wanted, PATIENCE, expected):
            (result, kinds), took = answer[0]
            if lasting is None:
                _lasted[name] = took
            for on in kinds:
                note(*on)
            if isinstance(result, AigiError):
                raise result
            return cast(T, result)
    return function(*args, **kwargs, **(here or {}))


def _still_wanted() -> None:
    """Streamlit looks at every access whether this run of the script goes on, and ends it here."""
    if get_script_run_ctx(suppress_warning=True):  # not where a server prepares its pages
        st.session_state.get("_")
