"""Write an ingest into a workspace: atomically, and never over features that belong to another
table.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from aigi_core import SCHEMA_VERSION
from aigi_core.commands import command
from aigi_core.errors import WorkspaceError
from aigi_core.manifest import folders_above
from aigi_core.soundness import read_parquet
from aigi_core.statements import counted
from aigi_core.workspace import (
    MANIFEST,
    describe_file,
    exclusive,
    read_manifest,
    tool_versions,
    write_atomic,
    write_manifest,
)
from precompute.ingest.pipeline import Ingested
from precompute.ingest.walk import quoted, shown

IMAGES = "images.parquet"


@contextmanager
def check_destination(out: Path, images: Sequence[Path], *, held: bool = True) -> Iterator[None]:
    """Hold the workspace for writing, once it is sure that the place is one; where it is not
    ``held``, others may write units of work into it at the same time.

    Raises:
        WorkspaceError: as :func:`refuse_place`, or the place is held by another.
    """
    refuse_place(out, images)
    new = not _is_folder(out)
    try:
        with exclusive(out, "ingest") if held else nullcontext():
            yield
    finally:
        if (
            new
            and _is_folder(out)
            and all(entry.name.startswith(".lock") for entry in out.iterdir())
        ):
            for entry in out.iterdir():
                entry.unlink()
            out.rmdir()


def refuse_place(out: Path, images: Sequence[Path]) -> None:
    """Refuse a place that no workspace can be written to.

    Args:
        images: the folders that are read.

    Raises:
        WorkspaceError: the place is a file, another folder full of things, or inside the images.
    """
    above = next(one for one in (out, *out.absolute().parents) if os.path.lexists(one))
    if not above.is_dir():
        raise WorkspaceError(
            f"Expected a folder for the workspace, but {above} is a file: choose another --out."
        )
    if within := lies_inside(out, images):
        raise WorkspaceError(
            f"The workspace {out} would lie inside the images {within}: choose another --out."
        )
    if _is_folder(out) and not (out / MANIFEST).is_file():
        other = sorted(
            entry.name
            for entry in out.iterdir()
            if entry.name != IMAGES and not entry.name.startswith(".")
        )
        if other:
            raise WorkspaceError(
                f"{out} holds other things ({shown(other[0])}, ...) and is no workspace: choose a"
                " new folder for --out."
            )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, which making it says
        return False


def lies_inside(out: Path, images: Sequence[Path]) -> Path | None:
    """The folder of images that a workspace would lie in; None for none."""
    place = out.resolve()
    return next((one for one in images if place.is_relative_to(one.resolve())), None)


def publish(
    result: Ingested,
    out: Path,
    *,
    name: str | None,
    image_root: Path | None,
    hint: str,
    named: Mapping[str, Any],
) -> str:
    """Write ``images.parquet`` and ``workspace.json``; returns a sentence on what was done.

    The same images leave an encoded workspace as it is; its record, name and image root may change.

    Args:
        image_root: what is recorded of where the images lie.
        named: options by which the images were named, for advice.

    Raises:
        WorkspaceError: the workspace is encoded, and for other images; the difference is shown.
    """
    buffer = io.BytesIO()
    result.images.to_parquet(buffer, index=False)
    content = buffer.getvalue()
    old = read_manifest(out) if (out / MANIFEST).is_file() else None
    same = (
        old is not None
        and old["files"].get(IMAGES, {}).get("sha256") == sha256(content).hexdigest()
    )
    if old is not None and old.get("encoder") and not same:
        raise WorkspaceError(
            f"The workspace {out} is encoded, and this ingest would change its images"
            f" ({_difference(out, result.images)}): {_instead(out, named)}."
        )
    base: dict[str, Any] = (
        old
        if old is not None and same
        else {
            "schema_version": SCHEMA_VERSION,
            "encoder": None,
            "text": {},
            "tools": tool_versions(),
        }
    )
    write_needed = (
        not same or not (out / IMAGES).is_file() or (out / IMAGES).read_bytes() != content
    )
    if write_needed:
        write_atomic(out / IMAGES, content)
    manifest = base | {
        "name": name or (old or {}).get("name") or out.resolve().name,
        "ingest": result.record,
        "files": base.get("files", {}) | {IMAGES: describe_file(out, IMAGES)},
        "image_root_hint": hint,
    }
    manifest.pop("image_root", None)
    if image_root is not None:
        manifest["image_root"] = str(image_root)
    if manifest == old and not write_needed:
        return (
            f"Nothing changed: {out} already holds exactly these"
            f" {counted(result.record['kept'], 'image')}."
        )
    write_manifest(out, manifest)
    if same:
        return f"The images of {out} are unchanged; its record was brought up to date."
    return f"Listed {counted(result.record['kept'], 'image')} in {out}."


def refuse_other_paths(out: Path, offered: pd.DataFrame, named: Mapping[str, Any]) -> None:
    """Refuse, before any image is opened, what :func:`publish` would refuse after all of them:
    other images for a workspace that is encoded.

    Args:
        offered: the files that would be read, column ``path``.
        named: as in :func:`publish`.

    Raises:
        WorkspaceError: the workspace is encoded, and for other paths.
    """
    if not (out / MANIFEST).is_file() or not read_manifest(out).get("encoder"):
        return
    try:
        old = set(read_parquet(out / IMAGES, columns=["path"])["path"])
    except (OSError, ValueError):
        return
    now = set(offered["path"])
    above = folders_above(old, now)
    if above and not now <= old:
        raise WorkspaceError(
            f"The workspace {out} holds all of these images, under names that begin with {above}"
            " since 'add' has named old and new ones from one folder: nothing is to be done; for a"
            " workspace of exactly these images choose another --out."
        )
    if parts := _other_paths(old, now):
        raise WorkspaceError(
            f"The workspace {out} is encoded, and for other images ({'; '.join(parts)}):"
            f" {_instead(out, named)}."
        )


def _instead(out: Path, named: Mapping[str, Any]) -> str:
    """What to do where an encoded workspace would get other images."""
    add = command("add", workspace=out, **named)
    return (
        f"'{add}' adds what is new and keeps the rest; for a workspace of exactly these images"
        " choose another --out"
    )


def _other_paths(old: set[str], now: set[str]) -> list[str]:
    """How many paths are new and how many gone, with the first of each."""
    return [
        f"{len(paths):,} {what}, such as {quoted(min(paths))}"
        for what, paths in (("new", now - old), ("gone", old - now))
        if paths
    ]


def _difference(out: Path, new: pd.DataFrame) -> str:
    """How the kept images differ, in words."""
    try:
        before = read_parquet(out / IMAGES)
    except (OSError, ValueError):
        return f"its {IMAGES} cannot be read"
    old, now = (table[table["left_out"] == ""].set_index("path") for table in (before, new))
    both = now.index.intersection(old.index)
    parts = _other_paths(set(old.index), set(now.index))
    for column in new.columns.drop("path"):
        if column not in old.columns:
            parts.append(f"a new column {column!r}")
        else:
            ours, theirs = now.loc[both, column], old.loc[both, column]
            changed = int((~((ours == theirs) | (ours.isna() & theirs.isna()))).sum())
            parts += [f"{changed:,} with another {column}"] if changed else []
    parts += [f"the column {column!r} is gone" for column in old.columns.difference(new.columns)]
    return "; ".join(parts) or "only in images that are left out"
