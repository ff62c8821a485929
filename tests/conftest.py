"""Shared fixtures. Threads are capped before any numerical library loads: oversubscription makes
small boxes crawl.
"""

import os
import sys
import tempfile

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ["HF_HUB_OFFLINE"] = "1"
# What is agreed to in a test is not remembered for the user.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="aigi-state-")

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from aigi_core.workspace import Workspace
from tests.factory import make_workspace

# The test runner looks through all installed packages at each run, a third of a second.
manifest_scanner.scan_component_manifests = cache(  # type: ignore[assignment]
    manifest_scanner.scan_component_manifests
)

ROOT = Path(__file__).parent.parent
IMAGES = Path(os.environ.get("AIGI_IMAGES", ROOT.parent / "shared" / "images"))


LONG = ("e2e", "benchmarks", "precompute", "pages")
"""Folders of tests whose files take longest, and a few of which would be left to the end: one of
two processes would then have nothing to do for a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first."""
    places = {folder: place for place, folder in enumerate(LONG)}

    def place(item: pytest.Item) -> int:
        room = item.path.relative_to(ROOT / "tests").parts[0]
        return places.get(room, len(places))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's test runner puts its script in the place of the main module, which each process
    that a later test starts would run again, and end at."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def synthetic_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic workspace on disk; read only."""
    return make_workspace(tmp_path_factory.mktemp("workspaces") / "synthetic")


@pytest.fixture(scope="session")
def synthetic(synthetic_path: Path) -> Workspace:
    return Workspace.open(synthetic_path)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small workspace of real pictures, and where its tiny encoder is; read only."""
    from tests.tiny_workspace import make_tiny_workspace  # brings torch

    return make_tiny_workspace(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The collection of real images beside the checkout; tests that need it are skipped where it is
    not.
    """
    if not (IMAGES / "manifest.csv").is_file():
        pytest.skip(f"needs the image collection at {IMAGES} (set AIGI_IMAGES)")
    return IMAGES


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Open a page of the app as a fresh session, on a workspace: ``open_app(path, "transfer",
    train="sd-1.4")``.

    The first run starts in the page itself, as Streamlit does for a deep link on a fresh server.
    """

    def run(path: Path | str, page: str, /, **query: str | list[str]) -> AppTest:
        monkeypatch.setenv("AIGI_WORKSPACE", str(path))
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        for name, value in query.items():
            app.query_params[name] = value
        return app.switch_page(f"pages/{page}.py").run()

    return run
