"""What the page New generator does for good: what was brought becomes part of the workspace, by the
job ``add`` in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from aigi_core.clip.workspace_encoder import given_weights
from aigi_core.commands import PLACEHOLDER, arguments
from aigi_core.errors import AigiError
from aigi_core.workspace import write_atomic
from ui.toolkit import access, running, workspaces
from ui.toolkit.controls import acted
from ui.toolkit.page import Page, inert, name, show_error

OLD_IMAGES = "DIR_OF_OLD_IMAGES"
SECONDS = 1.0
"""Between two looks at how far the job is."""
_CLOSED = "_adding_closed"
_FAULT = "_new_generator_fault"


@dataclass(frozen=True)
class Adding:
    """What a job adds, and the digest of the workspace before."""

    sources: tuple[Hashable, ...]
    digest: str


def options(folder: str, called: str, pool: str) -> dict[str, Any]:
    """Options of ``add`` that add a folder to the session's workspace.

    What is not known is held by a word that stands for it: see :func:`fill_in`.
    """
    called = called or PLACEHOLDER
    told = {"images": folder or "DIR", "generator": called, "pool": f"{called}={pool}"}
    if not workspaces.current().manifest.get("image_root"):
        # `add` names old and new ones from one folder
        told["old_images"] = os.environ.get(access.IMAGES) or OLD_IMAGES
    model, pretrained = given_weights()
    return told | {
        name: value for name, value in (("model", model), ("pretrained", pretrained)) if value
    }


def command(folder: str, called: str, pool: str) -> str:
    """The same as a line for a terminal."""
    return workspaces.current().command("add", **options(folder, called, pool))


def fill_in(folder: str, called: str) -> str:
    """What stands for something in :func:`command`, as a sentence; empty for nothing."""
    stands = [] if called else [f"{PLACEHOLDER} for the generator's name"]
    stands += [] if folder else ["DIR for the folder of the images"]
    if OLD_IMAGES in command(folder, called, ""):
        stands.append(f"{OLD_IMAGES} for the folder of the images that are there")
    return f" Fill it in first: {', '.join(stands)}." if stands else ""


def was_added(sources: tuple[Hashable, ...]) -> bool:
    """Whether this is what the last job has added to the session's workspace."""
    if st.session_state.get(_CLOSED) == (sources, workspaces.current().digest):
        return True
    job = running.on(workspaces.current().path)
    about = job.about if job is not None and job.ended else None
    if not isinstance(about, Adding) or about.sources != sources:
        return False
    return about.digest != workspaces.current().digest


def keep(page: Page, folder: str, called: str, pool: str, sources: tuple[Hashable, ...]) -> None:
    """The button that adds what was brought, where that may be, and the command.

    Args:
        folder: where the images lie on this machine; empty for uploads.
        sources: names what was brought.
    """
    workspace = workspaces.current()
    why_not = running.may_change(workspace.path)
    if not why_not and OLD_IMAGES in command(folder, called, pool):
        why_not = "This workspace does not record the folder of its images: use the command."
    job = running.on(workspace.path)
    if why_not:
        st.caption(why_not)
    elif job is None or job.ended:
        with st.popover(
            "Add to the workspace",
            icon=":material/library_add:",
            disabled=not called,
            help=None if called else "First enter the generator's name in the field above.",
        ):
            st.markdown(
                f"The images become fakes by {name(called)} in {name(str(workspace.path))},"
                f" compared with the real images of {name(pool)}. Old images are neither"
                " moved nor encoded again; results of all images (searches, words, the"
                " audit) must be computed again. All images of the folder are read,"
                " including those that this page left out. 'precompute remove' removes a"
                " generator again."
            )
            saved = folder
            if not folder:
                saved = st.text_input(
                    "New folder for the files you uploaded",
                    key="_new_generator_saved",
                    placeholder="/path/of/a/new/folder",
                    help="A workspace shows its images from their folder: uploads are"
                    " written there when you press the button. Until then they are in"
                    " no folder.",
                )
            st.button(
                "Add them now",
                type="primary",
                disabled=not saved,
                on_click=_start,
                args=(saved, called, pool, sources, not folder),
            )
    if fault := st.session_state.pop(_FAULT, None):
        show_error(fault)
    st.markdown(f"Or by a command, from a terminal:{fill_in(folder, called)}")
    page.command(command(folder, called, pool))


def _start(
    folder: str, called: str, pool: str, sources: tuple[Hashable, ...], uploaded: bool
) -> None:
    acted()
    workspace = workspaces.current()
    try:
        if why := running.may_change(workspace.path):  # before anything is written
            raise AigiError(why)
        place = access.typed_path(folder.strip()).absolute()
        if uploaded:
            _save(place)
        told = options(str(place), called, pool)
        line = arguments("add", workspace=workspace.path, **told)
        running.start(workspace.path, line, Adding(sources, workspace.digest))
    except AigiError as error:
        st.session_state[_FAULT] = error


def _save(folder: Path) -> None:
    """Write the session's uploads into a new folder, under their own names as far as these can be
    names of files, numbered. A folder that holds some of them and nothing else is completed: it is
    that of a try which was stopped.
    """
    uploads = st.session_state.get("new_uploads") or []
    if not uploads:
        raise AigiError("The uploads are no longer here: upload them again.")
    files: dict[Path, bytes] = {}
    for number, one in enumerate(uploads):
        own = "".join(c for c in Path(one.name).name if c.isalnum() or c in "._- ")[-100:]
        files[folder / f"{number:04d}-{own}"] = one.getvalue()
    written: list[Path] = []
    try:
        folder.mkdir(exist_ok=True)
        for there in folder.iterdir():
            if not there.is_file() or there.read_bytes() != files.pop(there, None):
                raise AigiError(f"{folder} is there already: name a new folder.")
    except FileExistsError as error:
        raise AigiError(f"{folder} is a file: name a new folder.") from error
    except OSError as error:
        raise AigiError(f"{folder} could not be made: {error.strerror}.") from error
    try:
        for file, content in files.items():
            write_atomic(file, content)
            written.append(file)
    except OSError as error:
        for file in written:
            file.unlink(missing_ok=True)
        with suppress(OSError):  # it holds files of an earlier try
            folder.rmdir()
        raise AigiError(
            f"The files could not be written to {folder}: {error.strerror}. Free some space, or"
            " name another folder."
        ) from error


def report(page: Page) -> None:
    """How far the job on the session's workspace is, or what came of it."""
    path = workspaces.current().path
    job = running.on(path) if access.on_this_machine() else None
    if job is None:
        return
    if not job.ended:
        _follow(path)
        return
    about = job.about
    changed = isinstance(about, Adding) and about.digest != workspaces.current().digest
    if job.succeeded:
        added = job.said()
        st.success(
            "**Added to the workspace.** All pages now include the new generator.",
            icon=":material/check:",
        )
        with st.expander("What was done, and what has to be computed again"):
            st.code(added, language=None, wrap_lines=True)
    elif changed:
        st.warning(
            "**Added to the workspace**, but the job ended before it had kept the stored results"
            f" that still hold. {inert(job.fault())} The Overview names what has to be computed"
            " again.",
            icon=":material/warning:",
        )
    elif job.stopped:
        st.info(
            "**Stopped.** The workspace has not changed. To go on, press *Add them now* again: what"
            " has been encoded is not encoded again.",
            icon=":material/stop:",
        )
    else:
        st.error(
            f"Not added: {inert(job.fault())} The workspace has not changed. The next try"
            " uses what has been encoded already.",
            icon=":material/error:",
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        if job.succeeded or changed:
            page.link("transfer", "Its column, in Transfer")
        st.button("Close this message", on_click=_close, args=(path,))


def _close(path: Path) -> None:
    """What was added stays known as such: it is still what the page's fields name."""
    job, digest = running.on(path), workspaces.current().digest
    about = job.about if job is not None else None
    if isinstance(about, Adding) and about.digest != digest:
        st.session_state[_CLOSED] = about.sources, digest
    running.forget(path)


@st.fragment(run_every=SECONDS)
def _follow(path: Path) -> None:
    """Draws itself again each second, and the whole page once the job has ended."""
    job = running.on(path)
    if job is None or job.ended:
        st.rerun()
    words, share = job.progress()
    said = "Stopping." if job.stopped else f"{words}. You may leave this page."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(share, f"Adding to the workspace. {said}")
        st.button("Stop adding", icon=":material/stop:", on_click=job.stop, disabled=job.stopped)
