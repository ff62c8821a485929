"""How much is held of what users upload, and when it goes."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import DeletedFile, UploadedFileRec
from streamlit.testing.v1 import AppTest
from websockets.sync.client import connect

from aigi_core.workspace import Workspace
from benchmarks._server import Server
from ui.toolkit import uploads
from ui.toolkit.uploads import UploadLimits, end_forgotten

Open = Callable[..., AppTest]


class FakeRuntime:
    """What the limits ask of Streamlit's runtime."""

    def __init__(self) -> None:
        self.uploaded_file_mgr = MemoryUploadedFileManager("/_stcore/upload_file")
        self.active: set[str] = set()
        self.away: set[str] = set()
        self.ended: list[str] = []
        self._session_mgr = SimpleNamespace(list_sessions=self._sessions)

    def is_active_session(self, session: str) -> bool:
        return session in self.active

    def _sessions(self) -> list[SimpleNamespace]:
        """Those with a tab, and those that Streamlit keeps without one."""
        made = [
            SimpleNamespace(id=one, shutdown=partial(self._shut_down, one))
            for one in self.active | self.away
        ]
        return [SimpleNamespace(session=one) for one in made]

    def _shut_down(self, session: str) -> None:
        self.ended.append(session)
        self.uploaded_file_mgr.remove_session_files(session)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()

    class Known:
        exists = staticmethod(lambda: True)
        instance = staticmethod(lambda: fake)

    monkeypatch.setattr(uploads, "Runtime", Known)
    monkeypatch.setattr(uploads, "SESSION_BYTES", 100)
    monkeypatch.setattr(uploads, "SESSION_FILES", 3)
    monkeypatch.setattr(uploads, "SERVER_BYTES", 250)
    monkeypatch.setattr(uploads, "SERVER_FILES", 6)
    monkeypatch.setattr(uploads, "_refused", {})
    return fake


def put(
    runtime: FakeRuntime,
    session: str,
    name: str,
    size: int,
    length: str | None = None,
    method: str = "PUT",
    *,
    lost: bool = False,
) -> int:
    """One upload through the limits, held where they let it pass; the status.

    Args:
        lost: the server does not know the session.
    """
    status = 0
    before = set(runtime.active)
    runtime.active = before - {session} if lost else before | {session}
    body = (
        b'--x\r\nContent-Disposition: form-data; name="a"; filename="%22' + name.encode() + b'"\r\n'
    )
    parts = [body, b"x" * size]

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def server(scope: Any, receive: Any, send: Any) -> None:
        if method == "PUT":
            runtime.uploaded_file_mgr.add_file(
                session, UploadedFileRec(name, name, "", b"x" * size)
            )
        await send({"type": "http.response.start", "status": 204})

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    said = str(size) if length is None else length
    scope = {
        "type": "http",
        "method": method,
        "path": f"/base/_stcore/upload_file/{session}/{name}",
        "headers": [(b"content-length", said.encode())] if said else [],
    }
    # No event loop: the browser tests of the same run hold one. Nothing here waits for anything.
    with suppress(StopIteration):
        UploadLimits(server)(scope, receive, send).send(None)  # type: ignore[attr-defined]
    runtime.active = before
    return status


def held(runtime: FakeRuntime, session: str, name: str, size: int) -> bool:
    """Whether an upload is held; what is refused is answered as a success, too."""
    assert put(runtime, session, name, size) == 204
    return bool(runtime.uploaded_file_mgr.get_files(session, [name]))


def test_a_session_holds_so_many_bytes_and_files(runtime: FakeRuntime) -> None:
    assert [held(runtime, "s", *one) for one in (("a", 60), ("b", 41), ("c", 40))] == [1, 0, 1]
    runtime.uploaded_file_mgr.remove_file("s", "a")
    assert held(runtime, "s", "d", 41)
    assert [held(runtime, "t", str(i), 1) for i in range(4)] == [1, 1, 1, 0]


def test_all_sessions_together_hold_so_many_bytes_and_files(runtime: FakeRuntime) -> None:
    assert [held(runtime, f"s{i}", "a", 80) for i in range(4)] == [1, 1, 1, 0]
    assert [held(runtime, f"t{i}", "a", 1) for i in range(4)] == [1, 1, 1, 0]


def test_an_upload_to_a_lost_session_is_dropped_and_said_on_the_page(
    runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the page still shows its files: their bytes went with the old server."""
    assert put(runtime, "old", "a", 60, lost=True) == 204 and uploads.held_sizes() == {}
    assert put(runtime, "old", "b", 22 * 2**20, lost=True) == 413 and uploads._refused == {}
    monkeypatch.setattr(uploads, "_refused", {"new": {"c": ("c.png", "Why.")}})
    monkeypatch.setattr(
        uploads, "get_script_run_ctx", lambda **_: SimpleNamespace(session_id="new")
    )
    held: list[Any] = [DeletedFile(file) for file in "abc"]
    monkeypatch.setattr(
        st, "file_uploader", lambda *_, **__: st.session_state.update({"images": held})
    )
    header = {"sec-websocket-protocol": "streamlit, token, new"}
    monkeypatch.setattr(uploads.st, "context", SimpleNamespace(headers=header))

    def page() -> None:
        from ui.toolkit.uploads import upload_field

        upload_field("Images", "images")

    app = AppTest.from_function(page).run(timeout=60)
    assert app.warning[0].value.startswith("1 file was refused")
    assert app.warning[1].value.startswith("The server was restarted, or out of reach")
    held.clear()
    assert not app.run().warning, "the same session, connected again"
    header["sec-websocket-protocol"] = "streamlit, token, old"
    assert app.run().warning[0].value.startswith("The server was restarted")


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣"])
def test_an_upload_says_how_long_it_is(runtime: FakeRuntime, length: str) -> None:
    assert put(runtime, "s", "a", 1, length) == 411
    assert uploads.held_sizes() == {}


def test_a_refusal_is_answered_as_a_success_and_said_on_the_page(
    runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.active = {"s", "t"}
    monkeypatch.setattr(uploads, "get_script_run_ctx", lambda **_: SimpleNamespace(session_id="s"))
    assert [put(runtime, "s", name, 60) for name in "abc"] == [204, 204, 204]
    assert put(runtime, "t", "a", 101) == 204 and put(runtime, "s", "d", 22 * 2**20) == 413
    assert uploads.held_sizes() == {"s": [60]}
    assert uploads.refusals({"b"}) == (
        '1 file was refused: `"b`. At most 3 files and 0 MiB are held for you\\: remove some, then'
        " add these again\\."
    )
    assert uploads.refusals(["b", "c", "gone"]).startswith(
        '2 files were refused: `"b`, `"c`. At most'
    )
    assert uploads.refusals([]) == ""
    put(runtime, "s", "b", 0, method="DELETE")
    assert uploads.refusals({"b"}) == "" and uploads.refusals({"c"})
    runtime.active = {"t"}
    end_forgotten({})
    assert uploads.refusals({"c"}) == ""


def test_uploads_on_their_way_count(runtime: FakeRuntime) -> None:
    limits = UploadLimits(None)  # type: ignore[arg-type]
    limits.coming["s"] = [60]
    assert limits.refusal("s", 41) and not limits.refusal("s", 40)


def test_what_a_tab_held_goes_once_its_session_is_forgotten(runtime: FakeRuntime) -> None:
    for session in ("here", "gone", "back"):
        put(runtime, session, "a", 80)
    known: dict[str, Any] = {}
    runtime.active, runtime.away = {"here"}, {"gone", "back"}
    assert end_forgotten(known) == 0
    runtime.active, runtime.away = {"here", "back"}, set()
    assert end_forgotten(known) == 1
    assert runtime.ended == ["gone"] and set(uploads.held_sizes()) == {"here", "back"}
    runtime.active = {"here"}
    assert end_forgotten(known) == 1 and set(uploads.held_sizes()) == {"here"}
    put(runtime, "over", "a", 60)
    assert end_forgotten(known) == 0 and set(uploads.held_sizes()) == {"here"}
    assert put(runtime, "next", "a", 100) == 204


def test_of_a_session_that_streamlit_forgets_nothing_stays(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables, and its report, which knows its state, stayed with the server for ever."""
    monkeypatch.setenv("STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL", "1")
    monkeypatch.setenv("AIGI_PREPARE", "first")
    server = Server(synthetic_path, tmp_path / "log.txt")
    own = f"127.0.0.1:{server.port}"

    def status(path: str) -> int:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", path)
        return connection.getresponse().status

    try:
        server.wait()
        ask = BackMsg(rerun_script={"page_name": "transfer"})
        with connect(f"ws://{own}/_stcore/stream", origin=f"http://{own}") as socket:  # type: ignore[arg-type]
            socket.send(ask.SerializeToString())
            files, over = set[str](), False
            while not over:
                content = bytes(socket.recv(60, decode=False))
                files |= set(re.findall(r"/media/[0-9a-f]{8,}\.\w+", content.decode("latin-1")))
                over = ForwardMsg.FromString(content).WhichOneof("type") == "script_finished"
            assert files and {status(file) for file in files} == {200}
        end = time.monotonic() + 60
        while {status(file) for file in files} != {404} and time.monotonic() < end:
            time.sleep(0.1)
        assert {status(file) for file in files} == {404}
    finally:
        server.stop()


@pytest.mark.parametrize("page", ["inspect", "new_generator"])
def test_pages_say_how_much_is_held(open_app: Open, synthetic: Workspace, page: str) -> None:
    said = " ".join(caption.value for caption in open_app(synthetic.path, page).caption)
    assert "1,000 files and 256 MiB are held for you (1,024 MiB for all users" in said
    assert "2 minutes after you leave" in said
