"""Which workspace this session looks at."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import streamlit as st

from aigi_core.assets import asset
from aigi_core.commands import WITHOUT_HUB, build_command
from aigi_core.encodings import encodings, folders_of, home_of, outdated_encodings
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.workspace import MANIFEST, Workspace
from ui.toolkit import access

DEMO = asset("demo")
PARAMETER = "workspace"
"""Query parameter that names a workspace by its digest, so that a link means the same data on every
machine.
"""
_PATH, _TYPED, _UNKNOWN = "workspace_path", "_workspace_typed", "_workspace_unknown"
_NEWS, _SEEN = "_workspace_news", "_workspace_seen"
"""What a page is to say of a change of the workspace, with whether one has said it; path -> digest
of each workspace as this session last saw it.
"""
_REFUSED = "_workspace_refused"

Stamp = tuple[int, int, int]
"""What changes when a manifest is written again."""


def offered() -> list[str]:
    """Workspaces that every session begins with: ``AIGI_WORKSPACE`` (one path or several, separated
    as in PATH), the demo.
    """
    named = [p for p in os.environ.get("AIGI_WORKSPACE", "").split(os.pathsep) if p]
    return [*named, *([str(DEMO)] if DEMO.is_dir() else [])]


def known_paths() -> list[str]:
    """Workspaces on offer: those of :func:`offered` and those typed in by this session."""
    return list(dict.fromkeys([*offered(), *st.session_state.get(_TYPED, [])]))


def current() -> Workspace:
    """The session's workspace; raises WorkspaceError in one sentence where it cannot be opened."""
    if refused := st.session_state.get(_REFUSED):
        raise WorkspaceError(refused)
    if unknown := st.session_state.get(_UNKNOWN):
        raise WorkspaceError(
            f"This link was made with the workspace {unknown}, which is not known here: type the"
            " path of its folder into the field 'Workspace' in the sidebar, or choose another"
            " workspace there."
        )
    path = st.session_state.get(_PATH) or next(iter(known_paths()), None)
    if not path:
        raise WorkspaceError(
            "No workspace is open: type the path of one into the field 'Workspace' in the sidebar,"
            f" or make one with '{build_command('WORKSPACE')}' ({WITHOUT_HUB})."
        )
    return open_path(path)


def open_path(path: str) -> Workspace:
    """Open a workspace, once a state of its manifest; the gate that every path to one passes."""
    if path not in offered() and not access.on_this_machine():
        raise WorkspaceError("Only the workspaces that this server's operator named can be opened.")
    workspace = _open(path, _stamp(path))
    _by_digest()[workspace.digest] = path
    return workspace


def current_encodings(workspace: Workspace) -> dict[str, Path]:
    """Name -> folder of every encoding of a workspace's images, its own first, but for outdated
    ones. Where one's manifest is damaged, the workspace alone: the page Encoders says why.

    Read once a state of their manifests: every page asks, and shares the result.
    """
    path = workspace.path
    folders = (home_of(path), *folders_of(path))
    return _encodings(path, workspace.name, [(str(folder), _stamp(folder)) for folder in folders])


@st.cache_resource(max_entries=32, show_spinner=False)
def _encodings(path: Path, name: str, stamps: list[tuple[str, Stamp]]) -> dict[str, Path]:
    del stamps  # part of the key
    try:
        folders = encodings(path)
        outdated = outdated_encodings(path) if len(folders) > 1 else []
    except WorkspaceError:
        return {name: path}
    return {name: folder for name, folder in folders.items() if name not in outdated}


def open_encoding(folder: Path) -> Workspace:
    """Open one of :func:`current_encodings`, once a state of its manifest."""
    return _open(str(folder), _stamp(folder))


def _stamp(path: str | Path) -> Stamp:
    try:
        about = (Path(path) / MANIFEST).stat()
    except (OSError, ValueError):
        return 0, 0, 0
    return about.st_mtime_ns, about.st_ino, about.st_size


@st.cache_resource(max_entries=32, show_spinner=False)
def _open(path: str, stamp: Stamp) -> Workspace:
    del stamp  # part of the key: a workspace that was rebuilt is opened anew
    return Workspace.open(path)


@st.cache_resource(show_spinner=False)
def _by_digest() -> dict[str, str]:
    """Digest -> path of every workspace that was opened since the server started."""
    return {}


def parameter() -> dict[str, str]:
    """The query parameter that names the workspace, the server's default one too: elsewhere
    another may be the default. Empty where none is open.
    """
    try:
        return {PARAMETER: current().digest}
    except WorkspaceError:
        return {}


def choose() -> None:
    """The workspace field of the sidebar: what is on offer, or a path typed in."""
    _follow_link()
    paths = known_paths()
    here = st.session_state.get(_PATH)
    options = list(dict.fromkeys([*paths, *([here] if here else [])]))
    st.selectbox(
        "Workspace",
        options,
        index=options.index(here) if here else (0 if options else None),
        format_func=_describe,
        key="_workspace_choice",
        accept_new_options=access.on_this_machine(),
        on_change=_chosen,
        placeholder="A workspace's folder, such as /data/workspace",
        help=(
            "A folder made by 'python -m precompute build'. Type a path and press Enter to open"
            " another one; the environment variable AIGI_WORKSPACE names those offered at the"
            " start."
            if access.on_this_machine()
            else "The workspaces that this server's operator named (AIGI_WORKSPACE)."
        ),
    )


def news(moved_on: bool) -> str:
    """That the workspace is not what a link or this session knew, for the page to say once; empty
    where it is.

    Args:
        moved_on: the user has acted since the last run, or opened another page: what one has said
            is not repeated.
    """
    _notice_change()
    text, told = st.session_state.get(_NEWS, ("", False))
    if told and moved_on:
        st.session_state.pop(_NEWS)
        return ""
    if text:
        st.session_state[_NEWS] = text, True
    return str(text)


def _notice_change() -> None:
    """Compare the workspace at hand with what this session last saw of it."""
    try:
        workspace = current()
    except WorkspaceError:
        return
    seen = st.session_state.setdefault(_SEEN, {})
    before = seen.get(str(workspace.path), workspace.digest)
    if before != workspace.digest:
        st.session_state[_NEWS] = (
            f"This workspace was changed while it was open here (digest {before} before,"
            f" {workspace.digest} now): the numbers are new.",
            False,
        )
    seen[str(workspace.path)] = workspace.digest


def elsewhere() -> bool:
    """Whether the session looks at another workspace than the demo, or at none."""
    here = st.session_state.get(_PATH) or next(iter(known_paths()), None)
    return DEMO.is_dir() and (here != str(DEMO) or bool(st.session_state.get(_UNKNOWN)))


def back_to_demo() -> None:
    """From a button: open the demo."""
    st.session_state[_PATH] = str(DEMO)
    st.session_state.pop(_UNKNOWN, None)
    st.session_state["_workspace_left"] = st.query_params.get(PARAMETER)


def _chosen() -> None:
    path = st.session_state.get("_workspace_choice")
    if not path:
        return
    st.session_state.pop(_REFUSED, None)
    try:
        path = str(access.typed_path(path))
        if path not in offered() and not access.on_this_machine():
            raise AigiError("Only the workspaces that this server's operator named can be opened.")
    except AigiError as error:
        st.session_state[_REFUSED] = str(error)
        return
    st.session_state[_PATH] = path
    st.session_state.pop(_UNKNOWN, None)
    st.session_state["_workspace_left"] = st.query_params.get(PARAMETER)
    if path not in known_paths():
        st.session_state.setdefault(_TYPED, []).append(path)


def _follow_link() -> None:
    """Open what the link names by digest, unless the user has just chosen something else in this
    session.
    """
    wanted = st.query_params.get(PARAMETER)
    if not wanted or wanted == st.session_state.get("_workspace_left"):
        return
    if wanted == parameter().get(PARAMETER):  # also where a copy elsewhere has the same digest
        return
    opened: dict[str, Workspace] = {}
    for path in known_paths():
        with suppress(WorkspaceError):
            opened[path] = open_path(path)
    matching = _by_digest().get(wanted)
    if matching is not None:  # it may have changed since
        with suppress(WorkspaceError):
            opened[matching] = open_path(matching)
    if matching is None or matching not in opened or opened[matching].digest != wanted:
        matching = _changed_since(wanted, opened)
    if matching is None:
        st.session_state[_UNKNOWN] = wanted[:64]
        return
    st.session_state.pop(_UNKNOWN, None)
    st.session_state[_PATH] = matching


def _changed_since(digest: str, opened: Mapping[str, Workspace]) -> str | None:
    """The path of the workspace that had this digest before it changed; the link then asks for its
    image by the name that this has now, for another may bear the old one. One that this session
    itself has seen before need not be recorded.
    """
    seen = st.session_state.get(_SEEN, {})
    for path, workspace in opened.items():
        open_here = seen.get(str(workspace.path)) == digest
        prefix = workspace.manifest.get("before", {}).get(digest, "" if open_here else None)
        if prefix is None:
            continue
        if image := st.query_params.get("image"):
            st.query_params["image"] = f"{prefix}{image}"
        st.query_params[PARAMETER] = workspace.digest
        if not open_here:  # of what was open here, the session is told in any case
            st.session_state[_NEWS] = (
                f"This link was made before the workspace was changed (digest {digest} then,"
                f" {workspace.digest} now): numbers may differ from those that it showed.",
                False,
            )
        return path
    return None


def _describe(path: str) -> str:
    try:
        name = open_path(path).name
    except WorkspaceError:
        return path
    return "Embedded demo" if Path(path) == DEMO else f"{name} ({path})"
