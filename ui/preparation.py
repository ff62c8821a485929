"""What a server does once, as it starts, so that its first visitor does not wait for it.

Importing this module loads what the pages load, before the server says that it is up. What the
first page shows of the default workspace follows on a thread of its own, beside the browser loading
Streamlit's files: a visitor who is there before it has ended waits for the rest of it, as for
anything that is computed once for all sessions. Whatever else a server begins comes later, so that
the first visitor's browser has the processor: the check of its files, the process for heavy work,
and what the other pages begin with (:mod:`ui.beginnings`), unless ``AIGI_PREPARE=first``.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from time import sleep

import streamlit as st

from aigi_core import figures
from aigi_core.errors import AigiError
from aigi_core.processes import give_back_memory
from aigi_core.terminal import printable
from aigi_core.transfer import DEFAULT_METRIC
from aigi_core.workspace import read_manifest
from ui import beginnings, results
from ui.toolkit import apart, drawings, router, verification, workspaces
from ui.toolkit.images import grid_html
from ui.toolkit.uploads import end_sessions

log = logging.getLogger("aigi.ui")
LATER_SECONDS = 8.0
"""After which whoever came as the server started has the first page."""
COLLECT_SECONDS = 10.0
"""Between two collections of garbage."""
WHOLE = 6
"""Of so many collections one looks at all objects, the others at what came since the last one:
looking at all that is kept for the sessions takes .2 to .4 s, during which nobody is served."""


@asynccontextmanager
async def prepared(app: st.App) -> AsyncIterator[None]:
    """The server's life."""
    del app
    register_pages()
    say_what_fails()
    gc.freeze()  # modules: a collection need not look at them
    # A file or message is handed between threads several times: each time it would wait 5 ms for
    # one that computes.
    sys.setswitchinterval(0.0005)
    Thread(target=prepare_all, name="prepare", daemon=True).start()
    tasks = [asyncio.create_task(work()) for work in (end_sessions, collect_garbage)]
    yield
    for task in tasks:
        task.cancel()


async def collect_garbage() -> None:
    """As long as the server lives: what runs of the script leave behind.

    Streamlit would do it after every run (``runner.postScriptGC``), and each time look at all
    objects of the process, kept results included: .1 s of a click's .16 s. What lasts is set
    aside, so that Python's own collections need not look at it either.
    """
    before, since = 0, 0
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        if (now := gc.get_stats()[1]["collections"]) > before:  # something was made meanwhile
            since = (since + 1) % WHOLE
            if not since:
                gc.unfreeze()
            gc.collect()
            gc.freeze()
            before = now
            await asyncio.to_thread(give_back_memory)


def register_pages() -> None:
    """Let Streamlit know of ``st.navigation`` before the first visit.

    Until it was called once, a folder named ``pages`` means another way of making pages, and a
    visitor by a deep link gets three runs of the script instead of one (see
    :func:`ui.toolkit.router.guard`).
    """
    outside = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context")
    outside.disabled = True  # it warns that this is not a session's run
    try:
        st.navigation(router.navigation())
    finally:
        outside.disabled = False


def say_what_fails() -> None:
    """A sentence in the terminal for each workspace named there that cannot be opened: the pages
    say it only to whoever opens them."""
    for path in workspaces.offered():
        try:
            read_manifest(Path(path))
        except AigiError as error:
            print(printable(str(error)), file=sys.stderr, flush=True)


def prepare_all() -> None:
    """What the first page shows; later, with nobody waiting for it, all else."""
    prepare()
    apart.begin()
    sleep(LATER_SECONDS)
    apart.load_ahead()
    verification.begin()
    try:
        workspace = workspaces.open_path(workspaces.offered()[0])
        verification.verification(workspace)
        if os.environ.get("AIGI_PREPARE") != "first":
            beginnings.compute(workspace)
    except Exception as error:
        log.info("Pages could not be prepared: %s", error)


def prepare() -> None:
    """Compute what the first page shows; where that fails, the page says why."""
    # Streamlit asks for it once, at a process's first command: it looks up every module's file
    inspect.stack()
    try:
        workspace = workspaces.open_path(workspaces.offered()[0])
        results.contents(workspace)
        grid_html(workspace, results.example_tiles(workspace), results.EXAMPLE_WIDTH)
        workspaces.current_encodings(workspace)
        matrix, domains = results.default_matrix(workspace), workspace.domains
        for find in (matrix.gap, matrix.hardest, matrix.best_detector):
            find(DEFAULT_METRIC)
        intervals = partial(figures.generator_intervals, matrix, DEFAULT_METRIC)
        drawings.drawn(drawings.Styled.of(intervals, domains), figures.LIGHT)
        results.facts_against_detectors(workspace)
    except Exception as error:
        log.info("The first page could not be prepared: %s", error)
