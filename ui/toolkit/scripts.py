"""Streamlit's own scripts in the browser, sooner at hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import streamlit
from starlette.responses import Response

from ui.toolkit.access import ASGI, Message

_FILES = {
    f"/static/js/{file.name}": file
    for file in (Path(streamlit.__file__).parent / "static" / "static" / "js").glob("*.js")
}
"""Address -> file; a name holds a digest of its content."""
_KEPT = {"Cache-Control": f"public, immutable, max-age={365 * 24 * 3600}"}
"""As Streamlit says of them."""


class Scripts:
    """A layer of the server that sends each script in one piece. Streamlit hands it from thread to
    thread for every 64 kB, and at each waits behind whoever computes.
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
        file = _FILES.get(scope["path"]) if scope["type"] == "http" else None
        if file is None or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        answer = Response(file.read_bytes(), media_type="text/javascript", headers=_KEPT)
        await answer(scope, receive, send)
