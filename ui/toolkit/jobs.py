"""Work of seconds to minutes: with progress, left or cancelled at any time, computed once;
:func:`job` asks first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from time import monotonic
from typing import TypeVar, cast

import streamlit as st
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from ui.toolkit.controls import acted
from ui.toolkit.costly import lasting
from ui.toolkit.kept import STORE, Kept
from ui.toolkit.page import Page
from ui.toolkit.waiting import saying

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""
BETWEEN = 0.05
"""Seconds between two reports that are shown: each is a message to the browser, and takes longer
than a small fit."""
TOLD = 5.0
"""Seconds from which on it is said how much of them is left."""
_PROGRESS: ContextVar[Progress | None] = ContextVar("tell", default=None)


@contextmanager
def steps(label: str, waiting: str = "", *, here: bool = False) -> Iterator[Progress]:
    """Show how far cached computations made inside are, as they report to :func:`step`; nothing
    where all is cached. Gives what they report to, for work that may report from other threads.
    ``waiting``: what stands there until the first report, by default the label. ``here``: where the
    page now draws, not at the foot of the window.

    Any click or leaving the page stops them at their next report, and nothing unfinished is cached.
    """
    # Streamlit would record what is drawn inside a cached function, and draw it at each hit
    outside = copy_context()
    session = get_script_run_ctx(suppress_warning=True)

    shown, begun = 0.0, monotonic()

    def show(done: int, of: int) -> None:
        nonlocal shown
        if monotonic() - shown < BETWEEN and done < of:
            return
        shown = monotonic()
        if session:  # the hub's client reports from threads of its own
            add_script_run_ctx(ctx=session)
        left = _time_left(shown - begun, done, of)
        outside.run(lambda: place.progress(min(done / of, 1), f"{label}: {done:,} of {of:,}{left}"))

    with saying(waiting or label, here=here) as place:
        token = _PROGRESS.set(show)
        try:
            yield show
        finally:
            _PROGRESS.reset(token)


def _time_left(spent: float, done: int, of: int) -> str:
    """How long the rest takes if it goes on as it did, and how to stop it; empty where that is
    soon, or nothing is done yet.

    >>> _time_left(30, 2, 8)
    '; about 2 minutes left. Any click stops it.'
    """
    if not 0 < done < of or spent * of / done < TOLD:
        return ""
    return f"; {lasting(spent * (of - done) / done)} left. Any click stops it."


def step(done: int, of: int) -> None:
    """What cached computations take as their :data:`Progress`."""
    if tell := _PROGRESS.get():
        tell(done, of)


def job(
    page: Page,
    name: str,
    label: str,
    compute: Callable[[Progress], T],
    *,
    about: str = "",
    **parameters: Hashable,
) -> T | None:
    """The result of a long computation, or None as long as the user has not asked for it.

    It runs in the session's own thread, so that other sessions go on; any click, "Cancel" or
    leaving the page stops it at its next report of progress. Results are shared between sessions.

    Args:
        name: unique on the page.
        label: of the button that starts it.
        compute: takes a :data:`Progress`; what it calls may report to :func:`step` instead.
        about: how long it takes, said beside the button.
        parameters: all that the result depends on, beside the workspace and what is stored in it.
            It is asked for again once a kind of stored results has changed that it looked for.
    """
    workspace, given = page.workspace, tuple(sorted(parameters.items()))
    key = (str(workspace.path), workspace.identity, name, given)
    if before := STORE.find(key):
        return cast(T, before.given())
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center"):
        wanted = st.button(label, key=f"start-{name}", icon=":material/play_arrow:", on_click=acted)
        if about:
            st.caption(about)
    if not wanted:
        return None
    place.empty()
    working = st.empty()  # in the same place, the button of the start would stay beneath, faded
    with working.container():
        above = st.container()
        st.button("Cancel", key=f"cancel-{name}", icon=":material/stop:", on_click=acted)
        with above, steps(label, here=True) as show:
            made = Kept.of(lambda: compute(show))
    STORE.put(key, made, len(workspace.images))
    working.empty()
    return cast(T, made.given())
