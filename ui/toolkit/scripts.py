"""Scripts in the browser: Streamlit's own sooner at hand, and the app's before all of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import streamlit
from starlette.responses import Response

from ui.toolkit.access import ASGI, Message
from ui.toolkit.router import ONE_STEP

Send = Callable[[Message], Awaitable[None]]
_STATIC = Path(streamlit.__file__).parent / "static"
_FILES = {f"/static/js/{file.name}": file for file in (_STATIC / "static" / "js").glob("*.js")}
"""Address -> file; a name holds a digest of its content."""
_KEPT = {"Cache-Control": f"public, immutable, max-age={365 * 24 * 3600}"}
"""As Streamlit says of them."""
PLOTLY = "PlotlyChart"
ELEMENTS = (PLOTLY, "Html", "Selectbox", "PageLink", "ButtonGroup")
"""Names of the elements that every page shows, as Streamlit's scripts are called."""
_COMPILE_ALL = b"//# allFunctionsCalledOnLoad\n"
"""Tells a browser (Chrome from 136 on; to others it is a comment) to compile the whole script while
it arrives, beside the main thread, instead of each function on the main thread when it is called.
Plotly calls most of its functions as it is loaded. https://v8.dev/blog/explicit-compile-hints"""


def scripts_of(elements: Iterable[str]) -> list[str]:
    """File names of the scripts that show these elements and that Streamlit's page does not name:
    the browser would ask for each once an element comes, and for what it imports after that.
    """
    named = (_STATIC / "index.html").read_text("utf-8")
    waiting = [
        file.name
        for name in elements
        for file in _FILES.values()
        if file.stem.startswith(f"{name}.")
    ]
    found: list[str] = []
    while waiting:
        script = waiting.pop()
        if script in found or script in named:
            continue
        found.append(script)
        with _FILES[f"/static/js/{script}"].open(encoding="utf-8") as file:
            waiting += re.findall(r'(?:from|import)"\./([^"/]+\.js)"', file.read(16_384))
    return sorted(found)


_AHEAD = ", ".join(
    f"<./static/js/{script}>; rel=modulepreload; crossorigin" for script in scripts_of(ELEMENTS)
).encode()


class Scripts:
    """A layer of the server that sends each script in one piece, and with a page the names of those
    that it will need, and :data:`~ui.toolkit.router.ONE_STEP`, which must be there before Streamlit
    writes its first address. Streamlit hands a script from thread to thread for every 64 kB, and at
    each waits behind whoever computes.
    """

    def __init__(self, app: ASGI) -> None:
        self.app = app

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Send,
    ) -> None:
        """Answer or pass on one request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        if (file := _FILES.get(scope["path"])) is None:
            # what is to be completed must come as it is
            headers = [one for one in scope["headers"] if one[0] != b"accept-encoding"]
            page = b"text/html" in dict(scope["headers"]).get(b"accept", b"")
            asked = {**scope, "headers": headers} if page else scope
            await self.app(asked, receive, _completed(send) if page else send)
            return
        hint = _COMPILE_ALL if file.stem.startswith(f"{PLOTLY}.") else b""
        answer = Response(hint + file.read_bytes(), media_type="text/javascript", headers=_KEPT)
        await answer(scope, receive, send)


def _completed(send: Send) -> Send:
    """Passes an answer on; a page, once it is whole, with what :class:`Scripts` adds to it."""
    page: Message = {}
    body = bytearray()

    async def sent(message: Message) -> None:
        nonlocal page
        if message["type"] == "http.response.start" and _is_page(message):
            page = message
            return
        if not page:
            await send(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        whole = bytes(body).replace(b"<head>", b"<head>" + ONE_STEP.encode(), 1)
        headers = [one for one in page["headers"] if one[0].lower() not in _OF_THE_FILE]
        headers += [(b"link", _AHEAD), (b"content-length", str(len(whole)).encode())]
        await send({**page, "headers": headers})
        await send({"type": "http.response.body", "body": whole})

    return sent


_OF_THE_FILE = (b"content-length", b"etag", b"last-modified", b"accept-ranges")
"""Headers that describe Streamlit's file, not what is sent."""


def _is_page(start: Message) -> bool:
    return any(
        name == b"content-type" and kind.startswith(b"text/html")
        for name, kind in start.get("headers", ())
    )
