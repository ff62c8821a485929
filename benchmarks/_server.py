"""The app as a process of its own on a free port, and the Chromium to look at it with."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.request import urlopen

import psutil

from ui.toolkit.router import ROOT

FLAGS = [
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


@contextmanager
def serving(workspace: Path | None, folder: Path) -> Iterator[tuple[Server, Callable[[], int]]]:
    """A fresh server, and a function that tells the peak of its memory in MB since its start."""
    server = Server(workspace, folder / f"{time.monotonic_ns()}.txt")
    peak, stop = [0], Event()

    def watch() -> None:
        process = psutil.Process(server.process.pid)
        while not stop.wait(0.1):
            try:
                tree = [process, *process.children(recursive=True)]
                peak[0] = max(peak[0], sum(one.memory_info().rss for one in tree))
            except psutil.NoSuchProcess:
                continue  # a child that has just ended; the server itself ends after this thread

    watcher = Thread(target=watch)
    watcher.start()
    try:
        server.wait()
        yield server, lambda: round(peak[0] / 2**20)
    finally:
        stop.set()
        watcher.join()
        server.stop()
