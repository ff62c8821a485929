"""Files that are uploaded: how many are held, for whom, and when they go.

They stay in the server's memory. Limits are checked before a file's body is read, and what a
session held is given back some time after its tab has gone.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import streamlit as st
from starlette.formparsers import MultiPartParser
from streamlit.runtime import Runtime

from ui.toolkit.access import ASGI, Message
from ui.toolkit.controls import acted

MiB = 2**20
SESSION_FILES, SESSION_BYTES = 1000, 256 * MiB
SERVER_FILES, SERVER_BYTES = 4000, 1024 * MiB
"""Most that one session's uploads, and those of all sessions together, may hold."""
EVERY_SECONDS = 10.0
"""Between two looks for sessions that have gone."""
_PATH = "/_stcore/upload_file/"

# Streamlit's server spools upload bodies above 1 MiB to a temporary file: here they stay in memory,
# up to its own limit.
MultiPartParser.spool_max_size = (int(st.get_option("server.maxUploadSize")) + 1) * MiB


class Upload(Protocol):
    """What ``st.file_uploader`` gives."""

    name: str
    file_id: str

    def getvalue(self) -> bytes: ...


def upload_field(label: str, key: str) -> list[Upload]:
    """A field for any number of files, with what is held of them and how long."""
    uploads: list[Any] = st.file_uploader(
        label,
        accept_multiple_files=True,
        key=key,
        on_change=acted,
        help=(
            "Any image file: what it holds decides, not its name. They stay in this server's"
            " memory, are never written to disk, and go when you remove them or leave."
        ),
    )
    minutes = int(st.get_option("server.disconnectedSessionTTL")) / 60
    st.caption(
        f"At most {SESSION_FILES:,} files and {SESSION_BYTES // MiB:,} MiB are held for you"
        f" ({SERVER_BYTES // MiB:,} MiB for all users together); what is beyond is refused, and all"
        f" goes {minutes:.0f} minutes after you leave."
    )
    return uploads


class UploadLimits:
    """A layer of the server that refuses uploads beyond the limits, by 413 and before their body
    is read.
    """

    def __init__(self, app: ASGI) -> None:
        self.app = app
        self.coming: dict[str, list[int]] = {}
        """Session -> bytes of each upload whose body is being read."""

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer or pass on one request."""
        at = str(scope.get("path", "")).find(_PATH)
        if scope["type"] != "http" or scope.get("method") != "PUT" or at < 0:
            await self.app(scope, receive, send)
            return
        session = str(scope["path"])[at + len(_PATH) :].partition("/")[0]
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        if not length.isdecimal():
            await _refuse(send, 411, "An upload must say how long it is (Content-Length).")
            return
        if why := self.refusal(session, int(length)):
            await _refuse(send, 413, why)
            return
        self.coming.setdefault(session, []).append(int(length))
        try:
            await self.app(scope, receive, send)
        finally:
            self.coming[session].remove(int(length))
            if not self.coming[session]:
                del self.coming[session]

    def refusal(self, session: str, size: int) -> str:
        """Why an upload of so many bytes is refused; empty where it is not."""
        held = {name: list(sizes) for name, sizes in self.coming.items()}
        for name, sizes in held_sizes().items():
            held.setdefault(name, []).extend(sizes)
        own = held.get(session, [])
        if len(own) >= SESSION_FILES or sum(own) + size > SESSION_BYTES:
            return (
                f"At most {SESSION_FILES:,} files and {SESSION_BYTES // MiB:,} MiB are held for a"
                " session: remove some first."
            )
        total = [one for sizes in held.values() for one in sizes]
        if len(total) >= SERVER_FILES or sum(total) + size > SERVER_BYTES:
            return (
                f"At most {SERVER_FILES:,} files and {SERVER_BYTES // MiB:,} MiB are held for all"
                " sessions together: try again later."
            )
        return ""


def held_sizes() -> dict[str, list[int]]:
    """Session -> bytes of each of its files."""
    if not Runtime.exists():
        return {}
    storage: dict[str, dict[str, Any]] = getattr(
        Runtime.instance().uploaded_file_mgr, "file_storage", {}
    )
    return {
        session: [len(file.data) for file in list(files.values())]
        for session, files in list(storage.items())
    }


async def release_uploads() -> None:
    """As long as the server lives: close sessions that hold uploads and whose tab has gone for
    longer than Streamlit keeps sessions, and give their memory back to the system.

    Streamlit forgets such a session only when some other one comes or goes.
    """
    gone: dict[str, float] = {}
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        if release(gone, time.monotonic()):
            gc.collect()
            _trim()


def release(gone: dict[str, float], now: float) -> int:
    """Close what has gone for long enough; returns how many sessions.

    Args:
        gone: session -> when it was first seen without its tab; kept between calls.
    """
    kept_for = float(st.get_option("server.disconnectedSessionTTL"))
    away = [one for one in held_sizes() if not Runtime.instance().is_active_session(one)]
    for session in set(gone) - set(away):
        del gone[session]
    over = [one for one in away if now - gone.setdefault(one, now) >= kept_for]
    for session in over:
        Runtime.instance().close_session(session)
        Runtime.instance().uploaded_file_mgr.remove_session_files(session)
        del gone[session]
    return len(over)


def _trim() -> None:
    """Return free memory to the system, where the C library can (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return


async def _refuse(send: Callable[[Message], Awaitable[None]], status: int, why: str) -> None:
    kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": f"{why}\n".encode()})
