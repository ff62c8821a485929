"""What the server does before its first visitor comes, and what its messages do not wait for."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods import METHODS
from aigi_core.detectors.methods.neighbours import PAIR_SECONDS
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from precompute.detectors import keep_detectors
from tests.conftest import ROOT
from tests.factory import make_workspace
from tests.stress.factory import EVERY, add_copies
from ui import beginnings, preparation, results
from ui.bodies import stress
from ui.preparation import prepare
from ui.results import attention, encodings, explanations, inspection, trained
from ui.toolkit import costly, workspaces


def test_what_is_prepared_is_not_computed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make_workspace(tmp_path / "w", seed=11)
    monkeypatch.setenv("AIGI_WORKSPACE", str(path))
    prepare()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(type(METHODS["logistic"]), "train", refuse)
    for name in ("transfer_matrix", "examples"):
        monkeypatch.setattr(trained, name, refuse)
    workspace = workspaces.open_path(str(path))
    assert results.default_matrix(workspace).test == workspace.domains.generators
    assert results.fact_matrix(workspace).test == workspace.domains.generators
    assert len(results.example_tiles(workspace)) == 2 * 4 + 6
    with pytest.raises(AssertionError, match="computed again"):
        results.fact_matrix(workspace, "auc")


def test_of_a_large_workspace_no_detectors_of_file_facts_are_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_app: Callable[..., AppTest]
) -> None:
    path = make_workspace(tmp_path / "w", seed=12)
    monkeypatch.setenv("AIGI_WORKSPACE", str(path))
    monkeypatch.setattr(trained, "LARGE", 10)

    def refuse(*_: object) -> None:
        raise AssertionError("trained")

    with monkeypatch.context() as patched:
        patched.setattr(trained, "stored_fact_scores", refuse)
        prepare()
        app = open_app(path, "overview")
    assert not app.exception and not app.error
    (notice,) = [one.value for one in app.info if "file facts" in one.value]
    assert f"precompute detectors --workspace {path}" in notice
    keep_detectors(path)
    app = open_app(path, "overview")
    assert not any("file facts" in one.value for one in app.info)
    assert any("A classifier of file facts alone" in one.value for one in app.markdown)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with perturbed copies, of which everything has been prepared."""
    path = make_workspace(tmp_path_factory.mktemp("begun") / "w", seed=13)
    opened = Workspace.open(path)
    add_copies(path, "jpeg:70", np.array(opened.embeddings) + 0.1, EVERY)
    beginnings.compute(workspaces.open_path(str(path)))
    return path


@pytest.mark.parametrize("page", beginnings.BEGINNINGS)
def test_what_a_page_begins_with_is_not_computed_again(
    page: str, monkeypatch: pytest.MonkeyPatch, begun: Path, open_app: Callable[..., AppTest]
) -> None:
    """With every control at its default, nothing is left for the process of heavy work."""
    asked: list[str] = []

    def refuse(function: Callable[..., object], *_: object, **__: object) -> None:
        asked.append(function.__name__)
        raise AssertionError("computed again")

    for module in (trained, attention, encodings, inspection, stress):
        monkeypatch.setattr(module, "apart", refuse)
    for name in ("build_panel", "calls_on_test"):
        monkeypatch.setattr(inspection, name, refuse)
    app = open_app(begun, page)
    # where the bank holds no text of the concept, that is found out anew each time
    assert not app.exception and set(asked) <= {"concept_alignment"}


@pytest.mark.parametrize("what", ["nothing", "damaged"])
def test_a_server_starts_without_a_workspace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str
) -> None:
    if what == "damaged":
        (make_workspace(tmp_path / "w") / "embeddings.npy").write_bytes(b"short")
    monkeypatch.setenv("AIGI_WORKSPACE", str(tmp_path / "w"))
    prepare()
    with pytest.raises(AigiError):
        workspaces.open_path(str(tmp_path / "w"))


def test_the_server_loads_what_pages_load_before_it_is_up() -> None:
    """In a fresh process, as ``streamlit run`` does it: ``app.py`` imported as a module."""
    code = (
        "import app, sys; print(type(app.app).__module__.split('.')[0], {'ui.results', 'pandas',"
        " 'plotly'} <= set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.split() == ["streamlit", "True"], done.stderr


def test_a_deep_link_is_one_run_from_the_first_visit_on() -> None:
    """Once the server lives Streamlit's older kind of pages is off and threads take short turns;
    nothing was said on the way but that the workspace named is none.
    """
    code = (
        "import asyncio, sys, app\nfrom ui.preparation import prepared\nfrom"
        " streamlit.runtime.pages_manager import PagesManager\nasync def live():\n    async with"
        " prepared(app.app): print(PagesManager.uses_pages_directory,"
        " sys.getswitchinterval())\nasyncio.run(live())"
    )
    environment = os.environ | {"AIGI_WORKSPACE": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.stdout.strip() == "False 0.0005"
    [said] = done.stderr.splitlines()
    assert said.startswith("There is no workspace at nowhere: make one with")


def test_the_layers_of_the_server_let_its_life_begin() -> None:
    """A layer that fails at what is no request makes uvicorn leave out all that
    :func:`ui.preparation.prepared` does, with one line in the log.
    """
    code = (
        "import asyncio, app\n"
        "app.app._user_lifespan = None\n"
        "said = []\n"
        "async def receive():\n"
        "    return {'type': f'lifespan.{\"shutdown\" if said else \"startup\"}'}\n"
        "async def send(message):\n"
        "    said.append(message['type'])\n"
        "asyncio.run(app.app({'type': 'lifespan', 'state': {}}, receive, send))\n"
        "print(said)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    expected = "['lifespan.startup.complete', 'lifespan.shutdown.complete']"
    assert done.stdout.strip() == expected, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not run on Windows")
def test_small_messages_are_sent_at_once() -> None:
    """The server's event loop turns Nagle's algorithm off on a socket bound as Streamlit binds it;
    asyncio's does not.
    """
    seen: list[int] = []

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            peer: socket.socket = transport.get_extra_info("socket")
            seen.append(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def visit() -> None:
        bound = socket.socket(socket.AF_INET)
        bound.bind(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(Peer, sock=bound)
        async with server:
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            await reader.read()
            writer.close()

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvicorn.Config("app:app").get_loop_factory()) as runner:
            runner.run(visit())

    with ThreadPoolExecutor(1) as elsewhere:  # the browser tests keep a loop running on this thread
        elsewhere.submit(serve).result()
    assert len(seen) == 1 and seen[0]


def test_garbage_is_collected_in_the_background_and_not_after_every_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
    assert config["runner"]["postScriptGC"] is False
    collected, given_back = [], []
    monkeypatch.setattr(preparation, "give_back_memory", lambda: given_back.append(True))
    monkeypatch.setattr(gc, "get_stats", lambda: 2 * [{"collections": len(collected) + 1}])
    monkeypatch.setattr(preparation, "COLLECT_SECONDS", 0.0)
    done: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(True))
    for name in ("freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, partial(done.append, name))

    async def serve() -> None:
        task = asyncio.create_task(preparation.collect_garbage())
        while len(given_back) < preparation.WHOLE:
            await asyncio.sleep(0)
        task.cancel()

    with ThreadPoolExecutor(1) as pool:  # the browser tests of the same run hold an event loop here
        pool.submit(asyncio.run, serve()).result()
    assert collected
    # what lasts is looked at once in so many times, and then too what had been set aside
    set_aside = preparation.WHOLE - 1
    assert done[: preparation.WHOLE + 1] == [*set_aside * ["freeze"], "unfreeze", "freeze"]


def test_training_of_minutes_waits_for_a_yes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_app: Callable[..., AppTest]
) -> None:
    path = make_workspace(tmp_path / "w", seed=14)
    keep_detectors(path)
    monkeypatch.setattr(costly, "ASKED", 0.0)
    asked: list[object] = []
    train = trained.apart
    monkeypatch.setattr(trained, "apart", lambda *a, **k: asked.append(a) or train(*a, **k))
    app = open_app(path, "transfer")
    assert not app.exception and not app.error and not app.info and not asked
    app = open_app(path, "transfer", view="Embedding, unnormalised")
    assert not app.exception and not app.error and not asked
    (note,) = {one.value for one in app.info}
    assert "Training 4 detectors" in note and "about 1 second of one core" in note
    app.button(key="begin-costly").click().run()
    assert not app.exception and asked and not app.info
    assert any("Balanced accuracy" in str(one.proto) for one in app.html)


def test_shuffled_labels_wait_for_a_yes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_app: Callable[..., AppTest]
) -> None:
    path = make_workspace(tmp_path / "w", seed=15)
    keep_detectors(path)
    monkeypatch.setattr(costly, "ASKED", 0.0)
    drawn: list[object] = []
    draw = explanations.null_directions
    monkeypatch.setattr(
        explanations, "null_directions", lambda *a, **k: drawn.append(a) or draw(*a, **k)
    )
    app = open_app(path, "words")
    assert not app.exception and not app.error and not drawn
    (note,) = {one.value for one in app.info}
    assert "300 times on shuffled labels" in note and "about 1 second of one core" in note
    app.button(key="begin-costly").click().run()
    assert not app.exception and len(drawn) == 1
    assert "Nearest text" in "".join(block.proto.body for block in app.get("html"))


def test_neighbours_of_many_images_wait_for_a_yes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_app: Callable[..., AppTest]
) -> None:
    """They compare every validation image with every training image: hours where there are a
    million, which the time of logistic regression does not tell."""
    path = make_workspace(tmp_path / "w", seed=16)
    keep_detectors(path)
    workspace = Workspace.open(path)
    names = workspace.domains.generators
    pairs = np.prod([len(workspace.domains.rows(names, split)) for split in ("train", "val")])
    knn = METHODS["knn"]
    seconds = knn.seconds(workspace, [names], EmbeddingView(), Protocol())
    assert seconds == pytest.approx(pairs * PAIR_SECONDS)
    monkeypatch.setattr(costly, "ASKED", 0.0)
    monkeypatch.setattr(type(knn), "seconds", lambda *_: 7200.0)
    trained: list[object] = []
    monkeypatch.setattr(type(knn), "train", lambda *_: trained.append(1))
    app = open_app(path, "inspect", part="Like what")
    assert not app.exception and not trained
    (note,) = {one.value for one in app.info if "not stored yet" in one.value}
    assert "Training 1 detector" in note and "about 120 minutes of one core" in note
    assert "logistic" not in note
    assert any("most similar" in str(one.proto) for one in app.main)
