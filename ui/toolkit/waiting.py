"""What a page is computing, said in one line at the foot of the window: in sight wherever the page
is scrolled to, and nothing moves when it comes and goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

_NOW: ContextVar[Waiting | None] = ContextVar("waiting", default=None)


class Waiting:
    """The line of one run of a page; shown once the run has taken half a second."""

    def __init__(self) -> None:
        self._place = st.container(key="waits")
        # Streamlit refuses, inside a cached function, what is drawn outside of it
        self._outside = copy_context()
        self._open = ExitStack()
        _NOW.set(self)
        self._say("Computing")

    def _say(self, what: str) -> None:
        self._outside.run(self._spin, what)

    def _spin(self, what: str) -> None:
        self._open.close()
        with self._place:
            self._open.enter_context(st.spinner(f"{what} …"))

    def _bar(self) -> DeltaGenerator:
        with self._place:
            return st.empty()

    def close(self) -> None:
        """The run has ended."""
        _NOW.set(None)
        self._outside.run(self._open.close)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """While something else on the page says it."""
        self._outside.run(self._open.close)
        yield
        self._say("Computing")

    @contextmanager
    def saying(self, what: str) -> Iterator[DeltaGenerator]:
        """Gives the place of a progress bar."""
        bar = self._outside.run(self._bar)
        self._say(what)
        try:
            yield bar
        finally:
            self._outside.run(bar.empty)
            self._say("Computing")


@contextmanager
def saying(what: str, *, here: bool = False) -> Iterator[DeltaGenerator]:
    """Say what is computed inside; gives the place of a progress bar.

    Args:
        here: where the page now draws, not at the foot of the window.
    """
    now = _NOW.get()
    if now and not here:
        with now.saying(what) as bar:
            yield bar
        return
    bar = st.empty()
    with ExitStack() as shown:
        if now:
            shown.enter_context(now.silent())
        shown.enter_context(st.spinner(f"{what} …"))
        shown.callback(bar.empty)
        yield bar
