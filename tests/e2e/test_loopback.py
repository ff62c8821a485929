"""The first page of a fresh server, and that neither it nor the browser calls anything but the
server itself.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aigi_core.workspace import Workspace
from benchmarks._app_in_browser import App
from benchmarks._server import Server

pytestmark = pytest.mark.browser
HOOK = """
import sys

LOOPBACK = {"127.0.0.1", "::1", "localhost", "0.0.0.0", "", None}


def forbid(event, args):
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto"):
        host = args[1][0] if isinstance(args[1], tuple) else ""
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in LOOPBACK:
        with open(%r, "a") as log:
            log.write(f"{event} {host}\\n")
        raise OSError("only loopback may be called")


sys.addaudithook(forbid)
"""
"""What every Python process of the server runs first."""


def test_nothing_but_the_server_is_called(
    browser: Any,
    serve: Callable[..., Server],
    synthetic_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = tmp_path / "calls.txt"
    (tmp_path / "sitecustomize.py").write_text(HOOK % str(calls))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = serve(synthetic_path)
    app = App(browser, server.url)
    asked: list[str] = []
    app.page.on("request", lambda request: asked.append(request.url))
    app.page.on("websocket", lambda socket: asked.append(socket.url))
    app.open("overview")
    images = Workspace.open(synthetic_path).images
    assert app.stats["Fakes"] == (str((images["label"] == 1).sum()), "4 generators")
    for page in ("Overview", "Transfer", "Inspect", "New generator", "Encoders"):
        if page != "Overview":
            app.navigate(page)
        assert app.errors == [] and app.violations() == [] and app.fits, page
    app.close()
    assert "lifespan" not in server.log.read_text()  # what a server does as it starts was done
    schemes = {"http", "https", "ws", "wss"}
    hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme in schemes}
    assert hosts == {urlsplit(server.url).netloc}
    assert not calls.exists(), calls.read_text()


def test_the_hook_forbids(tmp_path: Path) -> None:
    calls = tmp_path / "calls.txt"
    (tmp_path / "sitecustomize.py").write_text(HOOK % str(calls))
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1 and "192.0.2.1" in calls.read_text()
