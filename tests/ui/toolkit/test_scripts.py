"""Streamlit's scripts, sent by the app's own layer of the server."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import streamlit

from ui.toolkit.scripts import Scripts

FOLDER = Path(streamlit.__file__).parent / "static" / "static"
INDEX = next((FOLDER / "js").glob("index.*.js"))


def ask(path: str, method: str = "GET", kind: str = "http") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; status 0 where the layer passed the request on."""
    sent: list[dict[str, Any]] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        sent.append({"status": 0, "headers": [], "body": b""})

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": kind} | ({"path": path, "method": method} if kind == "http" else {})
    with ThreadPoolExecutor(1) as alone:  # a browser test may have left its loop in this thread
        alone.submit(asyncio.run, Scripts(behind)(scope, receive, send)).result()
    headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(one.get("body", b"") for one in sent)


def test_a_script_comes_whole_and_is_kept_by_the_browser() -> None:
    status, headers, body = ask(f"/static/js/{INDEX.name}")
    assert status == 200 and body == INDEX.read_bytes()
    assert headers["content-type"].startswith("text/javascript")
    assert "immutable" in headers["cache-control"]


@pytest.mark.parametrize(
    ("path", "method", "kind"),
    [
        (f"/static/js/{INDEX.name}", "POST", "http"),
        ("/static/js/none.js", "GET", "http"),
        (f"/static/js/../js/{INDEX.name}", "GET", "http"),
        ("/overview", "GET", "http"),
        ("", "", "lifespan"),
    ],
)
def test_all_else_is_streamlits(path: str, method: str, kind: str) -> None:
    assert ask(path, method, kind)[0] == 0


def test_the_page_names_scripts_that_are_there() -> None:
    assert f"./static/js/{INDEX.name}" in (FOLDER.parent / "index.html").read_text("utf-8")
