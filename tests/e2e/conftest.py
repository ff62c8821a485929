"""A fresh server on a free port and Debian's chromium; both skip with a reason where they cannot be
had.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks._app_in_browser import App
from benchmarks._server import FLAGS, Server, chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not (result := chromium()):
        pytest.skip("needs a Chromium browser: install Debian's chromium or set AIGI_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=result, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """What starts servers, which end together."""
    with ExitStack() as stack:
        # many servers, each of a few pages: what others begin with would be computed for nobody
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("AIGI_PREPARE", "first")

        def start(
            workspace: Path | None = None, images: str = "", command: Sequence[str] = ()
        ) -> Server:
            log = tmp_path_factory.mktemp("server") / "log.txt"
            server = Server(workspace, log, images, command)
            stack.callback(server.stop)
            server.wait()
            return server

        yield start


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start a fresh server: ``serve(workspace, images, command)``; none for the app's own default,
    no local images, and Streamlit's own command. It ends with the file of tests.
    """
    with servers(tmp_path_factory) as start:
        yield start


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, synthetic_path: Path) -> Iterator[Server]:
    """A shared server on the synthetic workspace."""
    with servers(tmp_path_factory) as start:
        yield start(synthetic_path)


@pytest.fixture
def app(browser: Any, server: Server) -> Iterator[App]:
    """A new browser session on the shared server."""
    app = App(browser, server.url)
    yield app
    app.close()


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A shared server on the embedded demo."""
    with servers(tmp_path_factory) as start:
        yield start().url
