"""A job of ``precompute`` that the app starts: a process of its own, which goes on while pages are
left, changes the workspace as the same line in a terminal would, and can be stopped at any moment.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Hashable, Sequence
from pathlib import Path
from threading import Lock, Thread
from typing import IO

from aigi_core.errors import AigiError
from aigi_core.processes import import_path
from ui.toolkit import access, threads
from ui.toolkit.workspaces import DEMO

SECONDS = 1
"""Between two lines of progress that a job is asked for."""
MOST_LINES = 1000
"""Lines of a job that are kept, the newest."""
NICENESS = 5
"""How far a job stands back for clicks."""
_CODE = f"""import os, sys
getattr(os, "nice", int)({NICENESS})
from aigi_core import terminal
terminal.SECONDS_A_LINE = {SECONDS}
from precompute.__main__ import main
sys.exit(main())"""
_STEP = re.compile(r"([^%|]+): +\d+%\|[^|]*\| (\d+)/(\d+)")
"""What ``tqdm`` writes of a step: its name, how many are done, how many there are."""
_lock = Lock()
_running: dict[Path, Running] = {}
"""By workspace: the last job that was started on it, until it is forgotten."""


class Running:
    """One job.

    Attributes:
        about: what it is about, for whoever started it.
        stopped: whether it was asked to stop; it may be at its last steps, which it then ends.
    """

    def __init__(self, arguments: Sequence[str], about: Hashable) -> None:
        self.about = about
        self.stopped = False
        self._said: deque[str] = deque(maxlen=MOST_LINES)
        self._errors: deque[str] = deque(maxlen=MOST_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C ends the app, which then stops it
            env=_environment(),
        )
        self._readers = [
            Thread(target=_read, args=(stream, into), daemon=True)
            for stream, into in (
                (self._process.stdout, self._said),
                (self._process.stderr, self._errors),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def ended(self) -> bool:
        """Whether it has, and all that it said is here."""
        over = self._process.poll() is not None
        for reader in self._readers if over else ():
            reader.join(timeout=5)
        return over

    @property
    def succeeded(self) -> bool:
        return self.ended and self._process.returncode == 0

    def said(self) -> str:
        """What it printed."""
        return "\n".join(self._said)

    def progress(self) -> tuple[str, float]:
        """Its newest step in words, and the share of it that is done."""
        steps = [step for line in list(self._errors) if (step := _STEP.match(line))]
        if not steps:
            return "Starting", 0.0
        name, *counts = steps[-1].groups()
        done, of = map(int, counts)
        what = f"{name.strip()}: {done:,} of {of:,}"
        return f"{what}{'' if done < of else '; the next step begins'}", min(1.0, done / max(1, of))

    def fault(self) -> str:
        """Why it failed, in its own sentence."""
        if self.stopped:
            return "It was stopped."
        lines = [line for line in self._errors if line and not _STEP.match(line)]
        if self._process.returncode == 2 and lines:  # a mistake that its reader can mend
            return lines[-1]
        last = f" ({lines[-1]})" if lines else ""
        return f"It ended with the code {self._process.returncode}{last}."

    def stop(self) -> None:
        """Ask it to end; what was published before stays as it was."""
        if not self.ended and not self.stopped:  # a second time would break off its last steps
            self.stopped = True
            self._process.terminate()


def _environment() -> dict[str, str]:
    """As in a terminal: the app's one thread a session is not a job's."""
    kept = {name: value for name, value in os.environ.items() if name not in threads.SET_HERE}
    return kept | {"PYTHONPATH": import_path(), "PYTHONIOENCODING": "utf-8"}


def _read(stream: IO[bytes], into: deque[str]) -> None:
    for line in stream:
        into.append(line.decode("utf-8", "replace").rstrip())


def may_change(workspace: Path) -> str:
    """Why this request may not change a workspace; empty where it may.

    Only somebody at this machine may, as only they may name its folders.
    """
    if not access.on_this_machine():
        return "Only somebody who sits at the machine of this server can change its workspaces."
    if workspace.resolve().is_relative_to(DEMO.resolve()):
        return "The embedded demo is a part of the app, and is not changed."
    try:
        writable = os.access(workspace.resolve(strict=True), os.W_OK | os.X_OK)
    except (OSError, RuntimeError):  # an address is no folder of this machine
        writable = False
    return "" if writable else "This workspace cannot be written by the user who runs this server."


def start(workspace: Path, arguments: Sequence[str], about: Hashable = None) -> Running:
    """Start ``python -m precompute ARGUMENTS``.

    Args:
        workspace: which it changes.

    Raises:
        AigiError: this request may not, or another job of the app is at work on the workspace.
    """
    if why := may_change(workspace):
        raise AigiError(why)
    with _lock:
        before = _running.get(workspace.resolve())
        if before is not None and not before.ended:
            raise AigiError("Another job is at work on this workspace: wait for it, or stop it.")
        running = Running(arguments, about)
        _running[workspace.resolve()] = running
        return running


def on(workspace: Path) -> Running | None:
    """The last job that was started on a workspace, at work or ended."""
    return _running.get(workspace.resolve())


def forget(workspace: Path) -> None:
    """Of a job that has ended, nothing is shown any more."""
    with _lock:
        running = _running.get(workspace.resolve())
        if running is not None and running.ended:
            del _running[workspace.resolve()]


@atexit.register
def _stop_all() -> None:
    for running in _running.values():
        running.stop()
