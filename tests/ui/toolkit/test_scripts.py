"""Streamlit's scripts, sent by the app's own layer of the server."""

import asyncio
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import streamlit

from ui.toolkit.router import ONE_STEP, PAGES
from ui.toolkit.scripts import ELEMENTS, Scripts, scripts_of

FOLDER = Path(streamlit.__file__).parent / "static" / "static"
INDEX = next((FOLDER / "js").glob("index.*.js"))


def ask(
    path: str,
    method: str = "GET",
    kind: str = "http",
    kind_behind: bytes = b"text/plain",
    parts: Sequence[bytes] = (b"",),
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; status 0 where the layer passed the request on."""
    sent: list[dict[str, Any]] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        compressed = b"accept-encoding" in dict(scope.get("headers", ()))
        if kind == "http" and method == "GET":
            assert kind_behind.startswith(b"text/html") != compressed, "a page comes as it is"
        length = str(sum(map(len, parts))).encode()
        headers = [(b"content-type", kind_behind), (b"content-length", length), (b"etag", b"x")]
        await send({"type": "http.response.start", "status": 0, "headers": headers})
        for at, part in enumerate(parts, 1):
            more = at < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def receive() -> Any:
        return {"type": "http.request"}

    accepted = [(b"accept", b"text/html,*/*"), (b"accept-encoding", b"gzip")]
    if not kind_behind.startswith(b"text/html"):
        accepted[0] = (b"accept", b"*/*")
    of_http = {"path": path, "method": method, "headers": accepted}
    scope = {"type": kind} | (of_http if kind == "http" else {})
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


def test_a_page_names_the_scripts_of_elements_that_every_page_shows() -> None:
    """All that Streamlit's page does not name itself, with what they import, and no other."""
    link = ask("/overview", kind_behind=b"text/html; charset=utf-8")[1]["link"]
    named = re.findall(r"<\./static/js/([^>]+)>; rel=modulepreload; crossorigin", link)
    assert len(named) == link.count("<")
    for element in ELEMENTS:
        assert sum(script.startswith(f"{element}.") for script in named) == 1, element
    page = (FOLDER.parent / "index.html").read_text("utf-8")
    imported = {
        one
        for script in named
        for one in re.findall(r'(?:from|import)"\./([^"/]+)"', (FOLDER / "js" / script).read_text())
    }
    assert all(one in named or one in page for one in imported)
    assert not [one for one in named if one in page]
    assert "link" not in ask("/media/x.png", kind_behind=b"image/png")[1]
    assert scripts_of(["NoSuchElement"]) == []


def test_plotly_comes_with_the_hint_to_compile_it_while_it_arrives() -> None:
    file = next((FOLDER / "js").glob("PlotlyChart.*.js"))
    body = ask(f"/static/js/{file.name}")[2]
    first, rest = body.split(b"\n", 1)
    assert first == b"//# allFunctionsCalledOnLoad" and rest == file.read_bytes()


def test_a_page_comes_with_the_rule_for_its_history_before_all_other_scripts() -> None:
    parts = [b"<html><he", b"ad><script src=a></script>", b"</head></html>"]
    headers, body = ask("/overview", kind_behind=b"text/html", parts=parts)[1:]
    assert body.decode() == f"<html><head>{ONE_STEP}<script src=a></script></head></html>"
    assert int(headers["content-length"]) == len(body) and "etag" not in headers
    assert all(f'"{stem}"' in ONE_STEP for stem in PAGES)
    headers, body = ask("/media/x.svg", kind_behind=b"image/svg+xml", parts=parts)[1:]
    assert body == b"".join(parts) and headers["etag"] == "x"
    assert ask("/overview", "HEAD", kind_behind=b"text/html", parts=[b""])[1]["etag"] == "x"
