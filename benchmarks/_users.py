"""Many people at the app at once: sessions that open pages and move controls, with pauses and
without.

Each session is a :class:`~benchmarks._visitor.Visitor`: a client of Streamlit's protocol, which
makes the server run the whole script. Half of what a session does is to open another page, half to
move a control of the page that is open (select boxes, radio buttons, toggles, sliders, points of
figures); its first act opens a page by its link. Seeded.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed

from benchmarks._server import serving
from benchmarks._visitor import Visitor
from ui.toolkit.router import PAGES

PATIENCE = 90.0
"""Seconds after which an answer counts as an error."""
LISTED = 12
"""Slowest actions that are named."""


@dataclass
class Actions:
    """What all sessions did: name and seconds of each answered action, and what went wrong."""

    taken: list[tuple[str, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def try_users(
    sessions: int,
    minutes: float,
    seed: int,
    folder: Path,
    *,
    pause: float = 10.0,
    workspace: Path | None = None,
    stems: Sequence[str] = tuple(PAGES),
) -> dict[str, Any]:
    """Let sessions act on a server that has shown nothing, for so many minutes.

    Args:
        pause: mean seconds from one act of a session to its next, drawn from the exponential
            distribution; where an answer takes longer, the next act follows at once. 0: every
            session acts again as soon as it has its answer.

    Returns:
        ``actions``; ``median_seconds`` and ``p95_seconds`` from an act to the end of its last run;
        ``actions_per_second`` answered; ``errors``: exceptions and views that failed, answers
        that did not come within 90 s, lost sockets, tracebacks in the server's log; ``rss_mb``
        and ``pss_mb``: the peak of the server and its processes, memory that several share counted
        for each, or divided among them; ``slowest`` and ``what`` went wrong, named.
    """
    done = Actions()
    with serving(workspace, folder) as (server, memory):
        rngs = np.random.default_rng(seed).spawn(sessions)
        asyncio.run(_everybody(server.port, 60 * minutes, pause, rngs, stems, done))
        tracebacks = server.log.read_text("utf-8", "replace").count("Traceback")
    if tracebacks:
        done.errors.append(f"{tracebacks} tracebacks in the server's log")
    seconds = np.array([took for _, took in done.taken])
    slowest = sorted(done.taken, key=lambda one: -one[1])[:LISTED]
    return {
        "actions": len(seconds),
        "median_seconds": round(float(np.median(seconds)), 3),
        "p95_seconds": round(float(np.quantile(seconds, 0.95)), 3),
        "actions_per_second": round(len(seconds) / (60 * minutes), 2),
        "errors": len(done.errors) + max(0, tracebacks - 1),
        "rss_mb": memory.rss,
        "pss_mb": memory.pss,
        "slowest": [f"{name}: {took:.1f}" for name, took in slowest],
        "what": done.errors[:20],
    }


async def _everybody(
    port: int,
    seconds: float,
    pause: float,
    rngs: Sequence[np.random.Generator],
    stems: Sequence[str],
    done: Actions,
) -> None:
    end = time.perf_counter() + seconds
    await asyncio.gather(*(_somebody(port, end, pause, rng, stems, done) for rng in rngs))


async def _somebody(
    port: int,
    end: float,
    pause: float,
    rng: np.random.Generator,
    stems: Sequence[str],
    done: Actions,
) -> None:
    """One session until the end; an act that is under way then is waited for and not counted."""
    due = time.perf_counter() + rng.exponential(pause)
    visitor = None
    while max(due, time.perf_counter()) < end:
        await asyncio.sleep(due - time.perf_counter())
        began = time.perf_counter()
        due = began + rng.exponential(pause)
        name = "socket"
        try:
            if visitor is None:
                visitor = await Visitor.come(port, PATIENCE)
            name = await _act(visitor, rng, stems)
        except (TimeoutError, ConnectionClosed, OSError) as error:
            at = visitor.page if visitor else ""
            done.errors.append(f"{name} {at}: {type(error).__name__} {error}")
            if visitor:
                await visitor.leave()
            visitor = None
            continue
        if time.perf_counter() < end:
            done.taken.append((name, time.perf_counter() - began))
        done.errors.extend(f"{name}: {error}" for error in visitor.errors)
        print(f"{name}: {time.perf_counter() - began:.2f}", file=sys.stderr, flush=True)
    if visitor:
        await visitor.leave()


async def _act(visitor: Visitor, rng: np.random.Generator, stems: Sequence[str]) -> str:
    """Open a page or move a control; returns what."""
    if visitor.page and rng.random() < 0.5 and (moved := await visitor.act(rng)):
        return f"{visitor.page} {moved}"
    others = [stem for stem in stems if stem != visitor.page] or list(stems)
    stem = others[int(rng.integers(len(others)))]
    await visitor.open(stem)
    return stem
