"""Files that are uploaded: how many are held, for whom, and when they go.

They stay in the server's memory. Limits are checked before a file's body is kept, a refusal is said
on the page, and what a session held, of uploads and else, is given back some time after its tab has
gone.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

import streamlit as st
from starlette.formparsers import MultiPartParser
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import DeletedFile

from aigi_core.processes import give_back_memory
from aigi_core.statements import counted
from ui.toolkit.access import ASGI, Message
from ui.toolkit.controls import acted
from ui.toolkit.page import inert, name

MiB = 2**20
SESSION_FILES, SESSION_BYTES = 1000, 256 * MiB
SERVER_FILES, SERVER_BYTES = 4000, 1024 * MiB
"""Most that one session's uploads, and those of all sessions together, may hold."""
EVERY_SECONDS = 10.0
"""Between two looks for sessions that have gone."""
LISTED = 10
"""Most refused files that the page names."""
_PATH = "/_stcore/upload_file/"
_FILE_NAME = re.compile(rb'filename="([^"\r\n]*)"')
_refused: dict[str, dict[str, tuple[str, str]]] = {}
"""Session -> identifier of a file that was refused -> its name and why."""

# Streamlit's server spools upload bodies above 1 MiB to a temporary file: here they stay in memory,
# up to its own limit.
MultiPartParser.spool_max_size = (int(st.get_option("server.maxUploadSize")) + 1) * MiB


class Upload(Protocol):
    """What ``st.file_uploader`` gives."""

    name: str
    file_id: str

    def getvalue(self) -> bytes: ...


def upload_field(label: str, key: str, unless: str = "") -> list[Upload]:
    """A field for any number of files, with what is held of them and how long.

    Args:
        unless: when they are written to disk after all.
    """
    uploads: list[Any] = st.file_uploader(
        label,
        accept_multiple_files=True,
        key=key,
        on_change=acted,
        help=(
            "Any image file: what it holds decides, not its name. They stay in this server's"
            f" memory, are never written to disk{unless}, and go when you remove them or leave."
        ),
    )
    minutes = int(st.get_option("server.disconnectedSessionTTL")) / 60
    st.caption(
        f"At most {st.get_option('server.maxUploadSize')} MiB a file; at most {SESSION_FILES:,}"
        f" files and {SESSION_BYTES // MiB:,} MiB are held for you ({SERVER_BYTES // MiB:,} MiB for"
        f" all users together); what is beyond is refused, and all goes {minutes:.0f} minutes after"
        " you leave."
    )
    kept = st.session_state[key] or []
    for one in uploads or ():
        one.name = own_name(one.name)
    missing = {one.file_id for one in kept if isinstance(one, DeletedFile)}
    if said := refusals(missing):
        st.warning(said, icon=":material/block:")
    if missing - _refused_here().keys() or (not kept and _session_was_lost()):
        st.warning(
            "The server was restarted, or out of reach for too long. Files uploaded before that are"
            " no longer there: add them again.",
            icon=":material/cloud_off:",
        )
    return uploads


def _session_was_lost() -> bool:
    """Whether this session stands for one that the server no longer knows: the page names that one
    as it connects again, third among its protocols, and begins anew without what was uploaded.
    """
    context = get_script_run_ctx(suppress_warning=True)
    named = str(st.context.headers.get("sec-websocket-protocol") or "").split(",")
    return context is not None and len(named) > 2 and named[2].strip() != context.session_id


def _refused_here() -> dict[str, tuple[str, str]]:
    """Identifier of each file that this session was refused -> its name and why."""
    context = get_script_run_ctx(suppress_warning=True)
    return _refused.get(context.session_id, {}) if context else {}


def refusals(files: Collection[str]) -> str:
    """Which of this session's files were refused and why, as markdown; empty where none was.

    Args:
        files: identifiers of what stands in a field without being held.
    """
    refused = _refused_here()
    reasons: dict[str, list[str]] = {}
    for file in [file for file in refused if file in files]:
        called, why = refused[file]
        reasons.setdefault(why, []).append(called)
    return "\n\n".join(
        f"{counted(len(names), 'file', 'were')} refused:"
        f" {', '.join(map(name, names[:LISTED]))}{', …' if len(names) > LISTED else ''}."
        f" {inert(why)}"
        for why, names in reasons.items()
    )


class UploadLimits:
    """A layer of the server that refuses uploads beyond the limits.

    The page of Streamlit 1.67 shows any answer but a success as "AxiosError" and a number, and does
    not run again. A refused upload is therefore answered as a success, its body read and thrown
    away; its field holds an identifier without a file, and :func:`upload_field` says why. So is one
    for a session that this server does not know, as after a restart: the page's next session sends
    that identifier.
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
        path = str(scope.get("path", ""))  # the server's start and end are no requests: without one
        at = path.find(_PATH)
        session, _, file = path[at + len(_PATH) :].partition("/")
        if scope["type"] != "http" or scope.get("method") != "PUT" or at < 0:
            if at >= 0 and scope.get("method") == "DELETE":
                _refused.get(session, {}).pop(file, None)
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
        if not length.isdecimal():
            await _refuse(send, 411, "An upload must say how long it is (Content-Length).")
            return
        known = Runtime.instance().is_active_session(session)
        why = self.refusal(session, int(length))
        if why or not known:
            noted = _refused.get(session, {})
            if len(noted) >= SESSION_FILES or int(length) > _largest() + MiB:
                await _refuse(send, 413, why)
            elif called := await _name_of(receive):
                if known:
                    _refused.setdefault(session, {})[file] = called, why
                await _answer(send, 204, b"")
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
        if size > _largest():
            return f"At most {_largest() // MiB:,} MiB a file are read."
        held = {one: list(sizes) for one, sizes in self.coming.items()}
        for one, sizes in held_sizes().items():
            held.setdefault(one, []).extend(sizes)
        own = held.get(session, [])
        if len(own) >= SESSION_FILES or sum(own) + size > SESSION_BYTES:
            return (
                f"At most {SESSION_FILES:,} files and {SESSION_BYTES // MiB:,} MiB are held for"
                " you: remove some, then add these again."
            )
        total = [one for sizes in held.values() for one in sizes]
        if len(total) >= SERVER_FILES or sum(total) + size > SERVER_BYTES:
            return (
                f"At most {SERVER_FILES:,} files and {SERVER_BYTES // MiB:,} MiB are held for all"
                " users together: remove these and add them again later."
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


async def end_sessions() -> None:
    """As long as the server lives: end sessions that Streamlit has forgotten, and give the memory
    of what they held back to the system.
    """
    known: dict[str, Any] = {}
    while True:
        kept = float(st.get_option("server.disconnectedSessionTTL"))
        await asyncio.sleep(max(1.0, min(EVERY_SECONDS, kept)))
        if end_forgotten(known):
            gc.unfreeze()  # they may have been set aside (ui/preparation.py)
            gc.collect()
            give_back_memory()


def end_forgotten(known: dict[str, Any]) -> int:
    """End the sessions that were there at the last call and are no longer; returns how many.

    Streamlit keeps a session for some time after its tab has gone, and then forgets it without its
    end: uploads, pictures, tables to download and the report, which knows the session's state,
    would stay for ever.

    Args:
        known: name -> session at the last call; brought up to date.
    """
    runtime = Runtime.instance()
    sessions = {one.session.id: one.session for one in runtime._session_mgr.list_sessions()}
    forgotten = [known.pop(one) for one in known.keys() - sessions.keys()]
    for session in forgotten:
        session.shutdown()
    known.update(sessions)
    for one in held_sizes().keys() - sessions.keys():  # came in as their session ended
        runtime.uploaded_file_mgr.remove_session_files(one)
    for one in _refused.keys() - sessions.keys():
        del _refused[one]
    return len(forgotten)


def _largest() -> int:
    return int(st.get_option("server.maxUploadSize")) * MiB


async def _name_of(receive: Callable[[], Awaitable[Message]]) -> str:
    """Read a request's body and keep nothing of it but its file's name; empty where the client
    left."""
    start = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return ""
        start += message.get("body", b"")[: 4096 - len(start)]
        if not message.get("more_body"):
            break
    named = _FILE_NAME.search(start)
    called = own_name(named[1].decode("utf-8", "replace")) if named else ""
    return called[:200] or "a file"


def own_name(sent: str) -> str:
    """A file's name as its owner wrote it: browsers send three of its characters as others."""
    for character, written in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        sent = sent.replace(written, character)
    return sent


async def _refuse(send: Callable[[Message], Awaitable[None]], status: int, why: str) -> None:
    await _answer(send, status, f"{why}\n".encode(), (b"connection", b"close"))


async def _answer(
    send: Callable[[Message], Awaitable[None]],
    status: int,
    body: bytes,
    *headers: tuple[bytes, bytes],
) -> None:
    kind = [(b"content-type", b"text/plain; charset=utf-8")] if body else []
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})
