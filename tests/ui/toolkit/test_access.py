"""Who may name a file of the server's machine."""

import http.client
import os
import socket
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_app_utils import (
    decode_xsrf_token_string,
    generate_xsrf_token_string,
)
from websockets.sync.client import connect

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.images import image_source
from aigi_core.remote import as_path
from aigi_core.workspace import Workspace, read_manifest, write_manifest
from benchmarks._server import Server
from tests.factory import make_workspace
from ui.toolkit import access, workspaces
from ui.toolkit.images import image_roots

LOCAL = {"host": "127.0.0.1:8501", "origin": "http://127.0.0.1:8501"}
PROXIES = ("X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via", "X-Real-IP")


def decide(address: str = "127.0.0.1", **headers: str) -> bool:
    return access.is_local(address, headers.get("host"), headers.get("origin"), headers)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_this_machine_is_known_by_its_own_names(name: str) -> None:
    assert decide(host=f"{name}:8501", origin=f"http://{name}:8501")
    assert decide(host=f"{name}:8501")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8501", "origin": "http://evil.example:8501"},  # DNS rebinding
        {"host": "127.0.0.1:8501", "origin": "http://evil.example"},  # a page elsewhere
        {"host": "127.0.0.1:8501", "origin": "http://127.0.0.1:9999"},  # another port here
        {"host": "127.0.0.1:8501", "origin": "null"},
        {"host": "127.0.0.1:8501", "origin": "http://[1"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "user@127.0.0.1"},
        {"host": ""},
        {},
    ],
)
def test_a_foreign_page_or_name_is_refused(headers: dict[str, str]) -> None:
    assert not decide(**headers)
    assert not access.is_allowed(headers.get("host"), headers.get("origin"))


@pytest.mark.parametrize("header", PROXIES)
def test_what_passed_a_proxy_is_not_local_though_it_is_answered(header: str) -> None:
    assert not decide(**LOCAL, **{header: "203.0.113.7"})
    assert access.is_allowed(LOCAL["host"], LOCAL["origin"])


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::", None])
def test_a_server_bound_to_other_addresses_has_no_local_request(address: str | None) -> None:
    assert not access.is_local(address, LOCAL["host"], LOCAL["origin"], LOCAL)


def test_a_server_with_other_names_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGI_HOSTS", "explorer.lab.example, *.intern.example")
    assert access.is_allowed("explorer.lab.example", "https://explorer.lab.example")
    assert access.is_allowed("a.intern.example:80", None)
    assert not access.is_allowed("intern.example", None)
    assert not decide(**LOCAL)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "x" * 5000, "a\0b"])
def test_a_path_that_is_none_is_one_sentence(path: str) -> None:
    with pytest.raises(AigiError):
        access.typed_path(path)
    with pytest.raises(WorkspaceError):
        Workspace.open(path)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "on_this_machine", lambda: False)


@pytest.mark.usefixtures("remote")
def test_others_open_only_what_the_operator_named(
    synthetic_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_workspace(tmp_path / "other")
    monkeypatch.setenv("AIGI_WORKSPACE", str(synthetic_path))
    assert workspaces.open_path(str(synthetic_path)).path == synthetic_path
    for path in (str(other), str(tmp_path), "/", f"{synthetic_path}/../other"):
        with pytest.raises(WorkspaceError, match="operator named"):
            workspaces.open_path(path)


@pytest.mark.usefixtures("remote")
def test_others_see_only_files_below_declared_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_workspace(tmp_path / "w")
    monkeypatch.delenv("AIGI_IMAGES", raising=False)
    declared = tmp_path / "declared"
    (declared / "set").mkdir(parents=True)
    for recorded in (str(declared / "set"), "/etc", "x" * 5000, None):
        write_manifest(path, read_manifest(path) | {"image_root": recorded})
        monkeypatch.delenv("AIGI_ROOTS", raising=False)
        assert not image_roots(Workspace.open(path))
        monkeypatch.setenv("AIGI_ROOTS", str(declared))
        expected = [declared / "set"] if recorded == str(declared / "set") else []
        assert image_roots(Workspace.open(path)) == expected
    (declared / "out").symlink_to(tmp_path)
    assert not access.may_see(declared / "out" / "w")
    assert access.may_see(declared / "set")


@pytest.mark.usefixtures("remote")
def test_pages_for_others_offer_no_path(
    synthetic_path: Path, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIGI_ROOTS", raising=False)
    monkeypatch.setenv("AIGI_IMAGES", "")
    app = open_app(synthetic_path, "inspect")
    assert [field.key for field in app.text_input if field.key == "_inspect_path"] == []


def test_a_link_out_of_the_image_root_is_not_shown(tmp_path: Path) -> None:
    root = tmp_path / "images"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"x")
    (root / "inside" / "a.png").write_bytes(b"x")
    (root / "b.png").symlink_to(root / "inside" / "a.png")
    (root / "c.png").symlink_to(tmp_path / "secret.png")
    (root / "d").symlink_to(tmp_path)
    shown = {
        name: image_source({"path": name}, root).kind
        for name in ("inside/a.png", "b.png", "c.png", "d/secret.png", "../secret.png")
    }
    assert shown == {
        "inside/a.png": "file",
        "b.png": "file",
        "c.png": "none",
        "d/secret.png": "none",
        "../secret.png": "none",
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    workspace = make_workspace(tmp_path_factory.mktemp("access") / "w")
    running = Server(workspace, tmp_path_factory.mktemp("log") / "log")
    try:
        running.wait()
        yield running
    finally:
        running.stop()


def ask(server: Server, path: str, **headers: str) -> int:
    return answer(server, path, **headers).status


def answer(server: Server, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    connection.close()
    return response


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def test_the_server_refuses_foreign_names_on_every_route(server: Server) -> None:
    own = f"127.0.0.1:{server.port}"
    for path in ("/", "/_stcore/health", "/transfer", "/_stcore/host-config"):
        assert ask(server, path, Host=own) == 200
        assert ask(server, path, Host=own, Origin=f"http://{own}") == 200
        for host, origin in (
            ("evil.example", "http://evil.example"),
            (own, "http://evil.example"),
            (own, "http://127.0.0.1:1"),
        ):
            assert ask(server, path, Host=host, Origin=origin) == 403
    stream = "/_stcore/stream"
    assert ask(server, stream, Host=own, Origin=f"http://{own}", **UPGRADE) == 101
    for origin in ("http://evil.example", "http://127.0.0.1:1", "http://localhost:1"):
        assert ask(server, stream, Host=own, Origin=origin, **UPGRADE) == 403


def test_every_answer_keeps_other_pages_from_framing_the_app(server: Server) -> None:
    for host in (f"127.0.0.1:{server.port}", "evil.example"):
        for path in ("/", "/_stcore/health", "/nothing/here.js"):
            headers = answer(server, path, Host=host).headers
            assert headers["content-security-policy"] == "frame-ancestors 'self'"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cross-origin-resource-policy"] == "same-origin"


COOKIE = "_streamlit_xsrf"


def cookies(response: http.client.HTTPResponse) -> list[SimpleCookie]:
    return [SimpleCookie(value) for value in response.headers.get_all("set-cookie") or []]


def test_the_one_cookie_goes_to_this_server_alone_and_names_nobody(server: Server) -> None:
    own = f"127.0.0.1:{server.port}"
    for path in ("/", "/inspect", "/_stcore/health", "/_stcore/host-config"):
        for sent_on, secure in (({}, ""), ({"X-Forwarded-Proto": "https"}, True)):
            for cookie in cookies(answer(server, path, Host=own, **sent_on)):
                assert list(cookie) == [COOKIE], path
                assert cookie[COOKIE]["samesite"] == "Strict" and not cookie[COOKIE]["domain"]
                assert cookie[COOKIE]["secure"] == secure and not cookie[COOKIE]["expires"]
    assert cookies(answer(server, "/_stcore/health", Host=own))


def test_a_cookie_of_another_server_of_this_host_is_understood_or_replaced(server: Server) -> None:
    """Browsers do not tell ports apart: all servers of a host are sent each other's cookies."""
    own = f"127.0.0.1:{server.port}"
    token, _ = decode_xsrf_token_string(theirs := generate_xsrf_token_string())
    for given in (theirs, "of another program", "2|ab|cd|1", "2|", ""):
        response = answer(server, "/_stcore/health", Host=own, Cookie=f"{COOKIE}={given}")
        assert response.status == 200
        [cookie] = cookies(response)
        kept, _ = decode_xsrf_token_string(cookie[COOKIE].value)
        assert kept and (kept == token) == (given == theirs)


def test_an_upload_needs_the_token_of_the_page(server: Server) -> None:
    own = f"127.0.0.1:{server.port}"
    theirs, other = generate_xsrf_token_string(), generate_xsrf_token_string()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\nx\r\n--x--\r\n'
    )
    with connect(f"ws://{own}/_stcore/stream", origin=f"http://{own}") as socket:  # type: ignore[arg-type]
        socket.send(BackMsg(rerun_script={}).SerializeToString())
        message = ForwardMsg()
        while message.WhichOneof("type") != "new_session":
            message = ForwardMsg.FromString(bytes(socket.recv(decode=False)))
        session = message.new_session.initialize.session_id
        for method in ("PUT", "DELETE"):
            for headers, status in (
                ({}, 403),
                ({"Cookie": f"{COOKIE}={theirs}"}, 403),
                ({"X-Xsrftoken": theirs}, 403),
                ({"Cookie": f"{COOKIE}={theirs}", "X-Xsrftoken": other}, 403),
                ({"Cookie": f"{COOKIE}={theirs}", "X-Xsrftoken": theirs}, 204),
            ):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
                kind = {"Content-Type": "multipart/form-data; boundary=x"}
                path = f"/_stcore/upload_file/{session}/a"
                connection.request(method, path, body, headers=kind | headers)
                assert connection.getresponse().status == status, (method, headers)
                connection.close()


def test_no_address_of_the_server_leads_to_files_beside_the_app(server: Server) -> None:
    own = f"127.0.0.1:{server.port}"
    for path in (
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/static/../../../../etc/passwd",
        "/static/..%5c..%5capp.py",
        "/app/static/../app.py",
        "/component/x/../../app.py",
        "/_stcore/bidi-components/..%2f..%2fapp.py",
        "/media/..%2f..%2fapp.py",
        "//etc/passwd",
    ):
        response = answer(server, path, Host=own)
        page = response.status == 200 and response.headers["content-type"].startswith("text/html")
        assert page or response.status in (307, 400, 403, 404), (path, response.status)


def test_the_server_is_bound_to_this_machine_alone(server: Server) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.settimeout(2)
        assert other.connect_ex(("127.0.0.2", server.port)) != 0
    assert os.environ.get("STREAMLIT_SERVER_ADDRESS") is None


def test_an_address_is_asked_only_where_the_operator_declared_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stranger's workspace may record any as its images' folder."""
    for name in (access.ROOTS, access.IMAGES):
        monkeypatch.delenv(name, raising=False)
    address = as_path(f"file://{tmp_path}/set")
    assert access.on_this_machine() and access.may_see(tmp_path)
    assert not access.may_see(address)
    monkeypatch.setenv(access.ROOTS, f"{tmp_path}:file://{tmp_path}")
    assert access.may_see(address)
