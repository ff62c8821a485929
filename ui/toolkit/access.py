"""Who may name a file or folder of the server's machine: one decision a request, one gate a path.

A request comes from this machine where the server is bound to a loopback address, answers to no
other names, and the request names this machine (``Host``), comes from the app's own page
(``Origin``) and passed no proxy. Only then may any path be typed in. All others choose among the
workspaces that the operator named (``AIGI_WORKSPACE``), and see files only below the folders that
the operator declared (``AIGI_ROOTS``, ``AIGI_IMAGES``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from aigi_core.errors import AigiError
from aigi_core.remote import RemotePath, as_path

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FORWARDING = ("forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip", "true-client-ip")
"""Headers that a proxy adds, beside all that begin with ``x-forwarded-``."""
HOSTS, ROOTS, IMAGES = "AIGI_HOSTS", "AIGI_ROOTS", "AIGI_IMAGES"
"""Environment variables: names that the server answers to beside loopback ones, separated by
commas; folders whose images may be shown, and the images' folder, separated as in PATH."""
MOST_CHARACTERS = 1024
"""Of a path that is typed in."""

HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""No other page shows the app inside itself, where clicks meant for that page would fall on it; no
file is taken for another kind than it is sent as; no address of a view goes to other servers; no
page elsewhere, on another port included, shows the app's pictures."""

Message = MutableMapping[str, Any]
ASGI = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


def hosts() -> list[str]:
    """Names that the server answers to; ``*`` for any."""
    named = [name.strip() for name in os.environ.get(HOSTS, "").split(",")]
    configured = [str(name) for name in st.get_option("server.allowedHosts") or []]
    return [*LOOPBACK, *(name.lower() for name in (*named, *configured) if name)]


def is_allowed(host: str | None, origin: str | None) -> bool:
    """Whether a request is answered at all: it names the server by one of :func:`hosts`, and its
    page is the server's own.

    A page elsewhere whose name was bound to this address (DNS rebinding), or one on another port
    of this machine, is refused.
    """
    name = _host_name(host)
    known = hosts()
    if name is None or not ("*" in known or any(_matches(name, one) for one in known)):
        return False
    if origin is None:
        return True
    try:
        from_page = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    trusted = {str(one).rstrip("/") for one in st.get_option("server.corsAllowedOrigins") or []}
    return from_page == (host or "").lower() or origin in trusted


def is_local(
    address: str | None, host: str | None, origin: str | None, headers: Mapping[str, str]
) -> bool:
    """Whether a request surely comes from somebody who sits at this machine.

    Args:
        address: what the server is bound to.
        headers: all of the request's, names in any case.
    """
    names = {name.lower() for name in headers}
    proxied = any(name in FORWARDING or name.startswith("x-forwarded-") for name in names)
    alone = all(name in LOOPBACK for name in hosts())
    return (
        address in LOOPBACK
        and alone
        and not proxied
        and _host_name(host) in LOOPBACK
        and is_allowed(host, origin)
    )


def on_this_machine() -> bool:
    """The decision for the session's request."""
    address = st.get_option("server.address")
    context = get_script_run_ctx(suppress_warning=True)
    headers = {} if context is None else {k.lower(): v for k, v in st.context.headers.items()}
    if not headers:  # what the server does by itself, and tests without a browser
        return address in LOOPBACK and all(name in LOOPBACK for name in hosts())
    return is_local(address, headers.get("host"), headers.get("origin"), headers)


def typed_path(text: str) -> Path:
    """A path that was typed in; AigiError where it cannot be one."""
    if len(text) > MOST_CHARACTERS or "\0" in text:
        raise AigiError(
            f"A path has at most {MOST_CHARACTERS:,} characters, none of them NUL: check it."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise AigiError(f"{text[:80]!r} names a user that is not known: check it.") from error


def roots() -> list[Path]:
    """The folders that the operator declared."""
    return [as_path(part).resolve() for name in (ROOTS, IMAGES) for part in named_folders(name)]


def named_folders(variable: str) -> list[str]:
    """The folders that an environment variable names, separated as in PATH."""
    # the colon of an address separates nothing
    parts = re.split(rf"{os.pathsep}(?!//)", os.environ.get(variable, ""))
    return [part for part in parts if part]


def may_see(path: Path) -> bool:
    """Whether this request may be shown files of this folder, or this file.

    An address that a workspace records is its maker's word: the server asks only those stores that
    the operator declared, whoever looks.
    """
    if on_this_machine() and not isinstance(path, RemotePath):
        return True
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return any(resolved.is_relative_to(root) for root in roots())


class Gate:
    """The outermost layer of the server: what :func:`is_allowed` refuses is answered by 403 and
    reaches nothing behind it, Streamlit's look-ups of its own outside address included.
    """

    def __init__(self, app: ASGI) -> None:
        self.app = app

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer or pass on one request; every answer carries :data:`HEADERS`."""
        headers = {
            k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope.get("headers", ())
        }
        secure = "https" in (scope.get("scheme"), headers.get("x-forwarded-proto"))

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [_secured(*one) if secure else one for one in message.get("headers", ())]
                message = {**message, "headers": [*own, *HEADERS]}
            await send(message)

        named = headers.get("host"), headers.get("origin")
        if scope["type"] not in ("http", "websocket") or is_allowed(*named):
            await self.app(scope, receive, sent)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = (
                b"This server does not answer to this name, or not to pages of another address."
                b" Its operator can allow a name: AIGI_HOSTS (see docs/security.md).\n"
            )
            kind = [(b"content-type", b"text/plain; charset=utf-8")]
            await sent({"type": "http.response.start", "status": 403, "headers": kind})
            await sent({"type": "http.response.body", "body": body})


def _secured(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header of an answer that goes out by TLS: Streamlit knows only of TLS of its own."""
    cookie = name.lower() == b"set-cookie" and b"; secure" not in value.lower()
    return name, value + b"; Secure" if cookie else value


def _host_name(host: str | None) -> str | None:
    """The name in a Host header, without port; None where it is none."""
    try:
        parts = urlsplit(f"//{host or ''}")
        _ = parts.port
    except ValueError:
        return None
    odd = parts.username or parts.password or parts.path or parts.query or parts.fragment
    return None if odd or not parts.hostname else parts.hostname.lower().rstrip(".")


def _matches(name: str, pattern: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern
