"""Streamlit's own scripts in the browser, sooner at hand."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import streamlit
from starlette.responses import Response

from ui.toolkit.access import ASGI, Message

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
    that it will need. Streamlit hands a script from thread to thread for every 64 kB, and at each
    waits behind whoever computes.
    """

    def __init__(self, app: ASGI) -> None:
        self.app = app

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer or pass on one request."""

        async def sent(message: Message) -> None:
            headers = message.get("headers", ())
            if message["type"] == "http.response.start" and any(
                name == b"content-type" and kind.startswith(b"text/html") for name, kind in headers
            ):
                message = {**message, "headers": [*headers, (b"link", _AHEAD)]}
            await send(message)

        file = _FILES.get(scope["path"]) if scope["type"] == "http" else None
        if file is None or scope["method"] != "GET":
            await self.app(scope, receive, sent)
            return
        hint = _COMPILE_ALL if file.stem.startswith(f"{PLOTLY}.") else b""
        answer = Response(hint + file.read_bytes(), media_type="text/javascript", headers=_KEPT)
        await answer(scope, receive, send)
