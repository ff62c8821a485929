"""Make a workspace's table of images and arrays anew from features that are there, and move them
into place so that a reader, and a job that was killed, see one state or the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigi_core import stored_features
from aigi_core.errors import WorkspaceError
from aigi_core.soundness import rows_record
from aigi_core.stored_features import DECOMPOSITION, array_axes
from aigi_core.workspace import (
    CORE_FILES,
    STREAM_MAPS,
    Workspace,
    describe_file,
    digest_of,
    read_manifest,
    tool_versions,
    write_atomic,
    write_manifest,
)
from precompute.growth.carry import Before, carry
from precompute.growth.copies import FOLDER, HELD, ROWS, Copies, copies_of
from precompute.growth.gather import Source, write_arrays

WORKING = ".grow"
NEXT = "next"
IMAGES = "images.parquet"
OF_COPIES = (f"{FOLDER}/", f"{HELD}/")
STATES = 100
"""Earlier states of a workspace that are remembered, the newest."""
MAPS = (DECOMPOSITION, f"{STREAM_MAPS}.npy")
"""Files of the encoder, the same for all images."""


def rewrite(
    out: Path,
    images: pd.DataFrame,
    manifest: Mapping[str, Any],
    of: Sequence[Workspace],
    *,
    encoded: Source | None = None,
    copies: Mapping[str, Copies] | None = None,
    prefixes: Sequence[str] = (),
) -> str:
    """Publish a table of images with the features of its kept rows, and keep what still holds of
    the results before.

    Args:
        out: the workspace that changes; the caller holds it for writing.
        images: validated, those left out included.
        manifest: what ``workspace.json`` shall say; the entries of the files made here are filled
            in, other files (text banks) are named as they stand in it.
        of: workspaces whose images these are; the first counts, and its results may be kept.
        encoded: features of images that none of them holds.
        copies: perturbed copies, where not those of ``of``; pages get an operation where every
            image has one, and what is there of the others is held for the next ``perturb``.
        prefixes: for each of ``of``, what now stands before the names of its images, so that names
            of before are still found; by default nothing does where ``out`` is that workspace,
            and a new workspace knows no names of before.

    Returns:
        Sentences on what was kept, and what has to be computed again.

    Raises:
        WorkspaceError: a kept image has no features in any source.
    """
    before = Before.of(of[0])
    in_place = out.resolve() == of[0].path.resolve()
    named = zip(of, prefixes or ("",) * in_place, strict=False)
    states = [state for one, prefix in named for state in _states_before(one, prefix)]
    manifest = dict(manifest) | {"before": dict(states[-STATES:])}
    sources = [*map(_source, of), *([encoded] if encoded else [])]
    copies = copies_of(of) if copies is None else copies
    folder = out / WORKING / NEXT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images.to_parquet(folder / IMAGES, index=False)
    hashes = images.loc[images["left_out"] == "", "content_hash"].tolist()
    recorded = manifest["files"]
    axes = array_axes(recorded)
    write_arrays(folder, axes, sources, hashes)
    maps = [name for name in MAPS if name in recorded]
    for name in maps:
        shutil.copyfile(sources[0].folder / name, folder / name)
    made = [name for name in (IMAGES, *axes, *maps) if name in recorded]
    files = {name: entry for name, entry in recorded.items() if name not in made}
    files |= {name: describe_file(folder, name) for name in made}
    digest = digest_of({name: files[name]["sha256"] for name in CORE_FILES if name in files})
    perturbed = _write_copies(folder, images, copies, digest)
    for where in perturbed:
        inside = [f.relative_to(folder).as_posix() for f in sorted(folder.glob(f"{where}/*/*"))]
        files |= {name: describe_file(folder, name) for name in inside}
    rows = {"rows": rows_record(images, files)} if manifest.get("encoder") else {}
    write_manifest(
        folder, dict(manifest) | perturbed | rows | {"files": files, "tools": tool_versions()}
    )
    with _whole():
        finish(out)
        return carry(before, Workspace.open(out), *of[1:])


def _states_before(workspace: Workspace, prefix: str) -> list[tuple[str, str]]:
    """Digest of each state so far, the present one last, with what now stands before the names that
    images had in it: so a link to an image of then, or a table of scores, finds it.
    """
    earlier = workspace.manifest.get("before", {}).items()
    return [*((digest, prefix + above) for digest, above in earlier), (workspace.digest, prefix)]


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """What is done inside ends before Ctrl-C, or a request to end, is obeyed, which then has come
    too late: half of it would be of no use. A second one is obeyed at once.
    """
    if threading.current_thread() is not threading.main_thread():  # gets no signals
        yield
        return
    asked: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in asked}

    def later(number: int, frame: object) -> None:
        os.write(2, b"The change is made already: its last steps are finished first.\n")
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, later)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_copies(
    folder: Path, images: pd.DataFrame, copies: Mapping[str, Copies], digest: str
) -> dict[str, dict[str, Any]]:
    """Write perturbed copies: those of all images that should have one, for pages, and the rest of
    what is there, for later; returns what the manifest says of both.

    Args:
        digest: of the workspace as it will be.
    """
    hashes = images.loc[images["left_out"] == "", "content_hash"].tolist()
    row_of = {content: row for row, content in reversed(list(enumerate(hashes)))}
    records: dict[str, dict[str, Any]] = {}
    for slug, one in sorted(copies.items()):
        wanted, there = one.wanted(images), set(one.there(images))
        complete = bool(wanted) and set(wanted) <= there
        rest = sorted(there.difference(wanted) if complete else there, key=row_of.__getitem__)
        for where, part in ((FOLDER, wanted if complete else []), (HELD, rest)):
            if not part:
                continue
            write_arrays(folder / where / slug, array_axes(one.files), one.sources, part)
            if where == HELD:
                rows = np.array([row_of[content] for content in part], dtype=np.int64)
                np.save(folder / where / slug / ROWS, rows)
            entry = one.entry | {"images": len(part), "workspace_digest": digest}
            records.setdefault(where, {})[slug] = entry
    return records


def finish(out: Path) -> bool:
    """Move a state that is ready into place; True where there was one.

    While files are moved the workspace counts as not encoded, and its manifest names none of them:
    whatever moment a job is killed at, ``verify`` holds, and the next call goes on from there.
    """
    folder = out / WORKING / NEXT
    try:
        new = read_manifest(folder)
    except WorkspaceError:
        shutil.rmtree(folder, ignore_errors=True)  # of a job that was killed before it was ready
        return False
    made = [IMAGES, *array_axes(new["files"]), *MAPS]
    made += [name for name in new["files"] if name.startswith(OF_COPIES)]
    moved = [name for name in made if (folder / name).is_file()]
    if not moved and not read_manifest(out).get("unfinished"):
        shutil.rmtree(out / WORKING, ignore_errors=True)  # of a job that was killed after its end
        return False
    if moved:
        others = {k: v for k, v in new["files"].items() if k not in made}
        now = new | {"encoder": None, "files": others, "unfinished": True}
        kept = {name: about for name, about in now.items() if name not in (FOLDER, HELD)}
        write_manifest(out, kept)
        for name in moved:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(out / name)
    write_manifest(out, new)
    shutil.rmtree(out / WORKING, ignore_errors=True)
    remove_perturbed(out)
    return True


def keep_common(manifest: dict[str, Any], other: Workspace) -> str:
    """Take out of a manifest what another workspace does not hold of its images, and say so.

    Returns:
        A sentence; empty where both hold the same.
    """
    mine, theirs = stored_features.stored(manifest["files"]), other.stored_features
    lacking = [name for name in mine if name not in theirs]
    only = [name for name in theirs if name not in mine]
    gone = stored_features.files(lacking)
    manifest["files"] = {k: v for k, v in manifest["files"].items() if k not in gone}
    common = [name for name in mine if name not in lacking]
    manifest["encoder"] = {**manifest["encoder"], "features": common}
    left = ", ".join([*lacking, *only])
    return f"Only what both hold of each image is kept; left out: {left}." if left else ""


def take_texts(manifest: dict[str, Any], other: Workspace) -> str:
    """Put the text banks into a manifest that it lacks and another workspace of the same encoder
    has: they rest on no image. Banks that the encoder was lent (``align``) do, and stay away.

    Returns:
        A sentence on those that stay away; empty where none does.
    """
    files, banks = manifest["files"], dict(manifest.get("text", {}))
    away = []
    for name in other.text_banks:
        theirs = {f: e for f, e in other.manifest["files"].items() if f in _of_bank(name)}
        mine = {f: e for f, e in files.items() if f in _of_bank(name)}
        if not mine and other.gives.has("texts"):
            manifest["files"] = files = files | theirs
            banks[name] = other.manifest["text"][name]
        elif {f: e["sha256"] for f, e in mine.items()} != {
            f: e["sha256"] for f, e in theirs.items()
        }:
            away.append(name)
    if banks:
        manifest["text"] = banks
    return f" Text banks of {other.path} that stay there alone: {', '.join(away)}." if away else ""


def _of_bank(name: str) -> tuple[str, str]:
    return f"text/{name}.npy", f"text/{name}.parquet"


def _source(workspace: Workspace) -> Source:
    """A workspace's own arrays."""
    return Source(workspace.path, workspace.images["content_hash"].tolist())


def without_outdated(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without what rests on the old images."""
    files = {k: v for k, v in manifest["files"].items() if not k.startswith(OF_COPIES)}
    outdated = (FOLDER, HELD, "unfinished", "card")
    kept = {k: v for k, v in manifest.items() if k not in outdated}
    return kept | {"files": files}


def remove_perturbed(out: Path) -> None:
    """Delete copies that no manifest names any more."""
    named = read_manifest(out)["files"]
    for where in (FOLDER, HELD):
        for folder in (out / where).glob("*"):
            if not any(name.startswith(f"{where}/{folder.name}/") for name in named):
                shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or not empty
            (out / where).rmdir()


def copy_texts(source_path: Path, out: Path, manifest: Mapping[str, Any]) -> None:
    """Copy the text banks that a manifest names."""
    for name in manifest["files"]:
        if name.startswith("text/"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(out / name, (source_path / name).read_bytes())
