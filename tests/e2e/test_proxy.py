"""The worked examples of docs/security.md: a proxy that asks for a password, on loopback, in front
of a server that the container's own steps started.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from benchmarks._app_in_browser import App
from benchmarks._server import Server

pytestmark = pytest.mark.browser
NAME = "explorer.localhost"  # browsers take names below localhost for this machine
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"


STEPS = ROOT / ".ci" / "container" / "steps"


def headers_of_the_example() -> dict[str, str]:
    """What the document's nginx sets for each request it passes on."""
    return dict(re.findall(r"proxy_set_header (\S+) \"?([^\";]+)\"?;", DOCUMENT.read_text("utf-8")))


class Proxy:
    """Does what the document's nginx does: asks for a password, keeps Host, adds its headers, and
    passes sockets on.
    """

    def __init__(self, target: int, *, host: str = "$host") -> None:
        self.target, self.host = target, host
        self.wanted = "Basic " + base64.b64encode(b"reader:secret").decode()
        self.sockets = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        first, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        given = {name.lower(): value for name, value in headers.items()}
        if given.get("authorization") != self.wanted and "upgrade" not in given:
            writer.write(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            writer.close()
            return
        known = {
            "$host": given["host"] if self.host == "$host" else self.host,
            "$http_upgrade": given.get("upgrade", ""),
            "$proxy_add_x_forwarded_for": "10.0.0.7",
            "$scheme": "http",
        }
        upgrade = "upgrade" in given
        self.sockets += upgrade
        for name, value in headers_of_the_example().items():
            shown = known.get(value, value)
            for old in [one for one in headers if one.lower() == name.lower()]:
                del headers[old]
            if shown and (upgrade or name not in ("Upgrade", "Connection")):
                headers[name] = shown
        if not upgrade:
            headers["Connection"] = "close"
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.target)
        lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
        inner_writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        await asyncio.gather(
            pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True
        )


async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while part := await source.read(65_536):
            target.write(part)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


@contextmanager
def running(proxy: Proxy) -> Iterator[int]:
    """The proxy on a free port, in a loop and thread of its own (Playwright's runs in this one)."""
    ready: Queue[tuple[int, Callable[[], object]]] = Queue()

    async def serve() -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        stop = partial(loop.call_soon_threadsafe, done.set)
        ready.put((int(server.sockets[0].getsockname()[1]), stop))
        await done.wait()  # what is open then is cancelled

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, stop = ready.get(timeout=20)
    try:
        yield port
    finally:
        stop()
        thread.join(20)


def status(url: str, **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def behind(serve: Callable[..., Server], synthetic_path: Path) -> Server:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGI_HOSTS", NAME)
        patch.setenv("PYTHON", sys.executable)
        return serve(synthetic_path, command=[str(STEPS), "serve"])


def test_the_example_serves_those_with_a_password_as_remote_ones(
    behind: Server, browser: Any
) -> None:
    proxy = Proxy(behind.port)
    with running(proxy) as port:
        address = f"http://127.0.0.1:{port}/_stcore/health"
        password = {"Authorization": proxy.wanted}
        assert status(address, Host=NAME) == 401
        assert status(address, Host=NAME, **password) == 200
        assert status(address, Host="evil.example", **password) == 403
        assert status(address, Host=NAME, Origin="http://evil.example", **password) == 403
        app = App(browser, f"http://{NAME}:{port}")
        app.page.set_extra_http_headers(password)
        app.open("new_generator")
        body = app.page.inner_text("body")
        assert (proxy.sockets and "Bring" in body) or "generated" in body
        assert "on this machine" not in body  # no field for paths
        app.close()


def test_a_proxy_that_rewrites_host_is_refused_by_the_browsers_origin(behind: Server) -> None:
    proxy = Proxy(behind.port, host="127.0.0.1")
    with running(proxy) as port:
        address = f"http://127.0.0.1:{port}/_stcore/health"
        password = {"Authorization": proxy.wanted}
        assert status(address, Host=NAME, Origin=f"http://{NAME}", **password) == 403


def test_the_example_names_every_header_that_a_proxy_must_send() -> None:
    needed = {"Host", "Upgrade", "Connection", "X-Forwarded-For", "X-Forwarded-Proto"}
    assert set(headers_of_the_example()) == needed, json.dumps(headers_of_the_example())


def test_the_steps_of_the_container_say_whether_the_server_is_well(behind: Server) -> None:
    environment = os.environ | {"PYTHON": sys.executable}
    health = [str(STEPS), "health"]
    for port, well in ((behind.port, True), (1, False)):
        done = subprocess.run(health, env=environment | {"PORT": str(port)}, capture_output=True)
        assert (done.returncode == 0) is well


def test_the_containers_file_runs_the_steps_that_are_there() -> None:
    lines = (STEPS.parent / "Containerfile").read_text("utf-8").splitlines()
    wanted = {word for line in lines for word in re.findall(r"steps\"?,? \"?(\w+)", line)}
    assert wanted == {"install", "health", "serve"}
    script = STEPS.read_text("utf-8")
    assert all(f"\n{step})\n" in script for step in wanted) and os.access(STEPS, os.X_OK)
    assert "--require-hashes -r requirements.lock" in script
    for lacking in ("AIGI_HOSTS", "AIGI_WORKSPACE"):
        given = {"AIGI_HOSTS": NAME, "AIGI_WORKSPACE": "/w", "PATH": os.environ["PATH"]}
        del given[lacking]
        done = subprocess.run([str(STEPS), "serve"], env=given, capture_output=True, text=True)
        assert done.returncode and lacking in done.stderr
