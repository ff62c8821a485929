"""The app as a process of its own on a free port, and the Chromium to look at it with."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from urllib.request import urlopen

import psutil

from ui.toolkit.router import ROOT

NOT_NEEDED = (
    "WebUIOmniboxPopup",  # the address bar's own pages, a process of half a second a window
    "WebUIOmniboxAimPopup",
    "HttpsFirstBalancedModeAutoEnable",  # these Playwright turns off too: the last list counts
    "HttpsUpgrades",
    "MediaRouter",
    "OptimizationHints",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
)
"""Features of Chromium that no page of the app has a use for."""
FLAGS = [
    f"--disable-features={','.join(NOT_NEEDED)}",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""One more flag, for pictures and measurements: no images from afar."""


def chromium() -> str | None:
    """Path of a Chromium: ``AIGI_CHROMIUM``, else one on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("AIGI_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Server:
    """One running app."""

    def __init__(
        self, workspace: Path | None, log: Path, images: str = "", command: Sequence[str] = ()
    ) -> None:
        """Args:
        command: what starts it on ``$PORT``, where that is not Streamlit itself.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        environment = os.environ | {"AIGI_IMAGES": images, "PORT": str(self.port)}
        environment.pop("AIGI_WORKSPACE", None)
        if workspace:
            environment["AIGI_WORKSPACE"] = str(workspace)
        # To a file: a full pipe would stop the server.
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command
                or [
                    sys.executable,
                    "-m",
                    "streamlit",
                    "run",
                    "app.py",
                    "--server.port",
                    str(self.port),
                ],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> None:
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                with urlopen(f"{self.url}/_stcore/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                self._pause()

    def _pause(self) -> None:
        """Until the process ends or a moment has passed, whichever is first."""
        try:
            self.process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            return

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


class Memory:
    """The peak of a server's memory, its processes' included, in MB since its start.

    Attributes:
        rss: the plain sum; what several processes share (libraries, arrays of the workspace, which
            are mapped) counts once for each.
        pss: the sum with what is shared divided among those who share it; 0 where the system does
            not tell.
    """

    def __init__(self, pid: int) -> None:
        self.rss = self.pss = 0
        self._server = psutil.Process(pid)
        self._line = self._server.cmdline()

    def look(self) -> None:
        try:
            children = self._server.children(recursive=True)
            # Until it runs its own program, a new process is shown with all memory of its parent,
            # which it borrows.
            begun = [child for child in children if child.cmdline() != self._line]
            tree = [self._server, *begun]
            self.rss = max(self.rss, _mb(one.memory_info().rss for one in tree))
        except psutil.NoSuchProcess:
            return  # a child that has just ended; the server itself ends after the last look

    def look_closely(self) -> None:
        """Also at what is shared, which takes hundredths of a second a process."""
        self.look()
        with suppress(psutil.Error, AttributeError):
            tree = [self._server, *self._server.children(recursive=True)]
            self.pss = max(self.pss, _mb(one.memory_full_info().pss for one in tree))


def _mb(sizes: Iterable[int]) -> int:
    return round(sum(sizes) / 2**20)


@contextmanager
def serving(workspace: Path | None, folder: Path) -> Iterator[tuple[Server, Memory]]:
    """A fresh server, and its memory, looked at ten times a second, closely every two."""
    server = Server(workspace, folder / f"{time.monotonic_ns()}.txt")
    memory, stop = Memory(server.process.pid), Event()

    def watch() -> None:
        looks = 0
        while not stop.wait(0.1):
            looks += 1
            (memory.look if looks % 20 else memory.look_closely)()

    watcher = Thread(target=watch)
    watcher.start()
    try:
        server.wait()
        yield server, memory
    finally:
        stop.set()
        watcher.join()
        server.stop()
