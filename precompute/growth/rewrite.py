"""Make a workspace's table of images and arrays anew from features that are there, and move them
into place so that a reader, and a job that was killed, see one state or the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from jaxtyping import Int

from aigi_core import stored_features
from aigi_core.errors import WorkspaceError
from aigi_core.soundness import rows_record
from aigi_core.statements import counted
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
from precompute.growth.copies import Copies, Source, whole
from precompute.perturb import FOLDER

WORKING = ".grow"
NEXT = "next"
IMAGES = "images.parquet"
MAPS = (DECOMPOSITION, f"{STREAM_MAPS}.npy")
"""Files of the encoder, the same for all images."""
BLOCK = 65536
"""Rows of an array that are in memory at once."""


def rewrite(
    out: Path,
    images: pd.DataFrame,
    sources: Sequence[Source],
    manifest: Mapping[str, Any],
    copies: Mapping[str, Copies],
) -> None:
    """Publish a table of images with the features of its kept rows.

    Args:
        out: the workspace that changes; the caller holds it for writing.
        images: validated, those left out included.
        sources: every kept row's content hash stands in one of them; the first counts.
        manifest: what ``workspace.json`` shall say; the entries of the files made here are filled
            in, other files (text banks) are named as they stand in it.
        copies: perturbed copies; an operation is kept where every image has one.

    Raises:
        WorkspaceError: a kept image has no features in any source.
    """
    folder = out / WORKING / NEXT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images.to_parquet(folder / IMAGES, index=False)
    hashes = images.loc[images["left_out"] == "", "content_hash"].tolist()
    recorded = manifest["files"]
    axes = array_axes(recorded)
    _write_arrays(folder, axes, sources, hashes)
    maps = [name for name in MAPS if name in recorded]
    for name in maps:
        shutil.copyfile(sources[0].folder / name, folder / name)
    made = [name for name in (IMAGES, *axes, *maps) if name in recorded]
    files = {name: entry for name, entry in recorded.items() if name not in made}
    files |= {name: describe_file(folder, name) for name in made}
    digest = digest_of({name: files[name]["sha256"] for name in CORE_FILES if name in files})
    entries = {}
    for slug, one in whole(copies, images):
        wanted = one.wanted(images)
        inside = f"{FOLDER}/{slug}"
        _write_arrays(folder / inside, array_axes(one.files), one.sources, wanted)
        files |= {
            f"{inside}/{name}": describe_file(folder, f"{inside}/{name}") for name in one.files
        }
        entries[slug] = one.entry | {"images": len(wanted), "workspace_digest": digest}
    perturbed = {FOLDER: entries} if entries else {}
    rows = {"rows": rows_record(images, files)} if manifest.get("encoder") else {}
    write_manifest(
        folder, dict(manifest) | perturbed | rows | {"files": files, "tools": tool_versions()}
    )
    finish(out)


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
    made += [name for name in new["files"] if name.startswith(f"{FOLDER}/")]
    moved = [name for name in made if (folder / name).is_file()]
    if not moved and not read_manifest(out).get("unfinished"):
        shutil.rmtree(out / WORKING, ignore_errors=True)  # of a job that was killed after its end
        return False
    if moved:
        others = {k: v for k, v in new["files"].items() if k not in made}
        now = new | {"encoder": None, "files": others, "unfinished": True}
        write_manifest(out, {name: about for name, about in now.items() if name != FOLDER})
        for name in moved:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(out / name)
    write_manifest(out, new)
    shutil.rmtree(out / WORKING, ignore_errors=True)
    remove_perturbed(out)
    return True


def _write_arrays(
    folder: Path, axes: Mapping[str, int], sources: Sequence[Source], hashes: Sequence[str]
) -> None:
    """Arrays of a folder by name, with the images' axis of each; their rows from the sources."""
    source_of, row_of = _located(hashes, sources)
    for name, axis in axes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        arrays = [np.load(s.folder / name, mmap_mode="r", allow_pickle=False) for s in sources]
        with (folder / name).open("wb") as stream:
            _gather(stream, arrays, source_of, row_of, axis)
            stream.flush()
            os.fsync(stream.fileno())


def _located(
    hashes: Sequence[str], sources: Sequence[Source]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Which source has each image's features, and in which row."""
    place: dict[str, tuple[int, int]] = {}
    for number, source in reversed(list(enumerate(sources))):
        place |= {digest: (number, row) for row, digest in enumerate(source.hashes)}
    lacking = [digest for digest in hashes if digest not in place]
    if lacking:
        raise WorkspaceError(
            f"{counted(len(lacking), 'image', 'have')} no features in any source, such as the one"
            " whose content"
            f" has the SHA-256 {lacking[0][:12]}...: encode them first."
        )
    places = np.array([place[digest] for digest in hashes], dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _gather(
    stream: BinaryIO,
    arrays: Sequence[np.ndarray],
    source_of: Int[np.ndarray, " n"],
    row_of: Int[np.ndarray, " n"],
    axis: int,
) -> None:
    """Write an array whose rows come from several, in blocks: as large as the workspace may be.

    Written as a stream, not through a memory map, where a full disk kills the process.
    """
    first = arrays[0]
    n = len(source_of)
    shape = (*first.shape[:axis], n, *first.shape[axis + 1 :])
    np.lib.format.write_array_header_1_0(
        stream,
        {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": shape,
        },
    )
    for run in np.ndindex(*first.shape[:axis]):
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            block = np.empty((stop - start, *first.shape[axis + 1 :]), first.dtype)
            for number, array in enumerate(arrays):
                mine = source_of[start:stop] == number
                if mine.any():
                    block[mine] = array[run][row_of[start:stop][mine]]
            stream.write(block.tobytes())


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


def source(workspace: Workspace) -> Source:
    """A workspace's own arrays."""
    return Source(workspace.path, workspace.images["content_hash"].tolist())


def without_outdated(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without what rests on the old images."""
    files = {k: v for k, v in manifest["files"].items() if not k.startswith(f"{FOLDER}/")}
    kept = {k: v for k, v in manifest.items() if k not in (FOLDER, "unfinished", "card")}
    return kept | {"files": files}


def remove_perturbed(out: Path) -> None:
    """Delete copies that no manifest names any more."""
    named = read_manifest(out)["files"]
    for folder in (out / FOLDER).glob("*"):
        if not any(name.startswith(f"{FOLDER}/{folder.name}/") for name in named):
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # not there, or not empty
        (out / FOLDER).rmdir()


def copy_texts(source_path: Path, out: Path, manifest: Mapping[str, Any]) -> None:
    """Copy the text banks that a manifest names."""
    for name in manifest["files"]:
        if name.startswith("text/"):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(out / name, (source_path / name).read_bytes())
