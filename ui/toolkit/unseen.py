"""A part of a page that runs for nobody's eyes: what it finds out goes into a file, nothing to the
browser, and the session stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from copy import copy
from dataclasses import replace
from threading import Thread
from typing import Any

import streamlit as st
from streamlit.runtime.fragment import MemoryFragmentStorage
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.shared_run_state import SharedRunState
from streamlit.runtime.state import SafeSessionState, SessionState


class Unseen:
    """The session as it is now, for what runs later; made while a page runs."""

    def __init__(self) -> None:
        self._session = get_script_run_ctx(suppress_warning=True)
        self._values = {
            # what widgets report is of types of Streamlit's own, which is not changed here
            str(key): copy(value) if type(value) in (dict, list, set) else value
            for key, value in st.session_state.items()
        }

    def run(self, work: Callable[[], Any]) -> None:
        """Do ``work``, which calls Streamlit, on a thread of its own; what it raises is raised."""
        failed = list[BaseException]()

        def do() -> None:
            if self._session:
                state = SessionState(_old_state=dict(self._values))
                state.query_params.populate_from_query_string(self._session.query_string)
                nobody = replace(
                    self._session,
                    session_id=f"{self._session.session_id}-unseen",
                    _enqueue=lambda message: None,
                    session_state=SafeSessionState(state, lambda: None),
                    fragment_storage=MemoryFragmentStorage(),
                    shared=SharedRunState(),
                    cursors={},
                )
                add_script_run_ctx(ctx=nobody)
            try:
                work()
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=copy_context().run, args=(do,), name="unseen", daemon=True)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
