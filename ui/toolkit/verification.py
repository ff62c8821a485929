"""Whether the files of a workspace are what was recorded: asked in the background when a server
first opens it, and said on every page.

Opening reads sizes, columns and shapes; a changed number in a file of the same size is found by its
hash alone. The job ``verify`` does that in a process of its own, so that no page waits for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import aigi_core
from aigi_core.statements import counted
from aigi_core.workspace import MANIFEST, Workspace

MOST_BYTES = 8 << 30
"""Larger workspaces are not read unasked."""
NICENESS = 15
"""Hashing gigabytes has time: visitors and what is prepared for them go first."""


@dataclass(frozen=True)
class Verification:
    """How far the check of a workspace has come: ``in_words`` for the foot of a page, and what is
    wrong.
    """

    in_words: str
    problems: tuple[str, ...] = ()


class Verifier:
    """Checks workspaces one after the other, each once a state of its manifest."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Verification] = {}
        self._lock = Lock()
        self._line = ThreadPoolExecutor(1, "verify")

    def ask(self, workspace: Workspace) -> Verification:
        """What is known of a workspace now; begins the check where nobody has asked before."""
        try:
            key = (str(workspace.path), (workspace.path / MANIFEST).stat().st_mtime_ns)
        except OSError:
            return Verification("")
        with self._lock:
            if key not in self._known:
                size = sum(int(entry["bytes"]) for entry in workspace.manifest["files"].values())
                if size > MOST_BYTES:
                    about = f"files not verified ({size / (1 << 30):.0f} GiB): run verify"
                    self._known[key] = Verification(about)
                else:
                    self._known[key] = Verification("files being verified")
                    self._line.submit(self._check, key, workspace.path)
            return self._known[key]

    def wait(self) -> None:
        """Until nothing is being checked."""
        self._line.submit(lambda: None).result()

    def _check(self, key: tuple[str, int], path: Path) -> None:
        rooms = str(Path(aigi_core.__file__).parents[1])
        paths = [rooms, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        check = subprocess.Popen(
            [sys.executable, "-P", "-m", "precompute", "verify", "--workspace", str(path)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, check.pid, NICENESS)
        said = check.communicate()[0]
        when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        lines = tuple(filter(None, said.splitlines()))
        if check.returncode == 0:
            outcome = Verification(f"files verified {when}")
        elif check.returncode == 1 and len(lines) > 1:  # its last line counts them
            count = counted(len(lines) - 1, "problem")
            outcome = Verification(f"{count} in its files, {when}", lines[:-1])
        else:
            outcome = Verification(f"files could not be verified, {when}")
        with self._lock:
            self._known[key] = outcome


_verifiers: list[Verifier] = []


def begin() -> None:
    """Let a server check what it opens; called once as it starts."""
    _verifiers[:] = [Verifier()]


def verification(workspace: Workspace) -> Verification:
    """What is known of a workspace; nothing where no server runs (tests of single pages)."""
    return _verifiers[0].ask(workspace) if _verifiers else Verification("")
