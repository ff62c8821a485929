"""A fresh server on a free port and Debian's chromium; both skip with a reason where they cannot be had."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.conftest import ROOT
from tests.e2e.objects import App

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


def chromium() -> str | None:
    """Path of a Chromium: ``AIGI_CHROMIUM``, else one on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("AIGI_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not (found := chromium()):
        pytest.skip("needs a Chromium browser: install Debian's chromium or set AIGI_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Server:
    """One running app."""

    def __init__(self, workspace: Path | None, log: Path, images: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        environment = os.environ | {"AIGI_IMAGES": images}
        environment.pop("AIGI_WORKSPACE", None)
        if workspace:
            environment["AIGI_WORKSPACE"] = str(workspace)
        # To a file: a full pipe would stop the server.
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)],
                cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

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


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a fresh server: ``serve(workspace, images)``; none for the app's own default, and no local images."""
    with ExitStack() as stack:

        def start(workspace: Path | None = None, images: str = "") -> Server:
            server = Server(workspace, tmp_path_factory.mktemp("server") / "log.txt", images)
            stack.callback(server.stop)
            server.wait()
            return server

        yield start


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server], synthetic_path: Path) -> Server:
    """A shared server on the synthetic workspace."""
    return serve(synthetic_path)


@pytest.fixture
def app(browser: Any, server: Server) -> Iterator[App]:
    """A new browser session on the shared server."""
    app = App(browser, server.url)
    yield app
    app.close()
