"""Several encoders' features of the same images, beside each other.

Each further encoding is a workspace of its own inside the first, ``WORKSPACE/encoders/NAME``, with
the same table of images. So every page, job and check serves it as it serves any workspace, each is
verified and resumed by itself, and the first one's digest (with its results and links) stays.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from aigi_core.commands import command, encoder_options
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.record import read_json
from aigi_core.statements import counted
from aigi_core.workspace import MANIFEST, Workspace, read_manifest, write_atomic, write_manifest

FOLDER = "encoders"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
OF_ENCODING = ("encoder", "encoding", "text", "tools", "perturbed", "held", "rows")
"""Entries of a manifest that belong to an encoding and not to the images."""
IMAGES = "images.parquet"
OF_CARD = ("encoder", "alignment", "licences")
"""Entries of a workspace's card, likewise."""
SPEED = "speed.json"
"""How fast the images were encoded: beside the manifest and no part of it, for two runs give the
same workspace at different speeds.
"""


def home_of(path: Path) -> Path:
    """The workspace that an encoding belongs to: itself, where it is not one inside another."""
    above = path.parent.parent
    inside = path.parent.name == FOLDER and (above / MANIFEST).is_file()
    return above if inside else path


def encodings(path: Path) -> dict[str, Path]:
    """Name -> folder of every finished encoding of a workspace's images, its own first."""
    home = home_of(path)
    folders = {read_manifest(home).get("name") or home.name: home}
    for folder in folders_of(home):
        if read_manifest(folder).get("encoder"):
            folders[folder.name] = folder
    return folders


def folders_of(path: Path) -> list[Path]:
    """Folders of a workspace's further encodings, finished or not; nothing is read."""
    return [file.parent for file in sorted((home_of(path) / FOLDER).glob(f"*/{MANIFEST}"))]


def open_encodings(path: Path) -> dict[str, Workspace]:
    """The encodings, opened, but for :func:`outdated_encodings`.

    Example:
        >>> list(open_encodings(Path("assets/demo")))  # doctest: +SKIP
        ['demo']
    """
    outdated = outdated_encodings(path)
    return {n: Workspace.open(f) for n, f in encodings(path).items() if n not in outdated}


def outdated_encodings(path: Path) -> list[str]:
    """Names of the encodings whose images are no longer the first one's.

    Example:
        >>> outdated_encodings(Path("assets/demo"))  # doctest: +SKIP
        []
    """
    images = {n: read_manifest(f)["files"].get(IMAGES) for n, f in encodings(path).items()}
    first = next(iter(images.values()))
    return [name for name, entry in images.items() if entry != first]


def update_commands(path: Path) -> dict[str, str]:
    """Name -> the command that encodes an outdated encoding's images anew, of each of
    :func:`outdated_encodings`.
    """
    folders = encodings(path)
    return {
        name: command(
            "encode",
            workspace=home_of(path),
            **{"as": name},
            **encoder_options(read_manifest(folders[name])["encoder"]),
        )
        for name in outdated_encodings(path)
    }


def canonical_command(workspace: Workspace) -> str:
    """The command that encodes the same images beside these, all after one common re-encoding."""
    options = encoder_options(workspace.encoder) | {"canonicalize": "short:256,jpeg:90"}
    return command("encode", workspace=home_of(workspace.path), **{"as": "canonical"}, **options)


def encoding_folder(path: Path, name: str) -> Path:
    """Where an encoding of a workspace's images lies, made or not; AigiError for a name that cannot
    be a folder's.
    """
    if not NAME.fullmatch(name):
        raise AigiError(
            f"{name!r} cannot name an encoding: use letters, digits, '.', '-' and '_', such as"
            " dinov2."
        )
    return path / FOLDER / name


def add_encoding(path: Path, name: str, weights_sha256: str = "") -> Path:
    """The folder of one more encoding, ready to be encoded; made on first call.

    Where the workspace's images have changed since, it is made ready again for the same weights:
    its text banks stay.

    Raises:
        AigiError: a name that cannot be a folder's.
        WorkspaceError: the images have changed, and the encoding is of another encoder.
    """
    folder = encoding_folder(path, name)
    manifest = read_manifest(path)
    if name == (manifest.get("name") or path.name):
        raise AigiError(f"{name!r} is the workspace's own name: choose another, such as dinov2.")
    texts: dict[str, Any] = {}
    banks: dict[str, Any] = {}
    if (folder / MANIFEST).is_file():
        before = read_manifest(folder)
        if before["files"].get(IMAGES) == manifest["files"][IMAGES]:
            return folder
        encoder = before.get("encoder") or {}
        if encoder and encoder.get("weights_sha256") != weights_sha256:
            raise WorkspaceError(
                f"The images of {path} have changed since {folder} was encoded by"
                f" {encoder.get('model')}: give that encoder again, or choose another name."
            )
        texts = {n: entry for n, entry in before["files"].items() if n.startswith("text/")}
        banks = before.get("text", {})
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path / IMAGES, folder / IMAGES)
    kept = {key: value for key, value in manifest.items() if key not in OF_ENCODING}
    if isinstance(kept.get("card"), dict):
        kept["card"] = {k: v for k, v in kept["card"].items() if k not in OF_CARD}
    label = f"{manifest.get('name') or path.name} by {name}"
    write_manifest(
        folder,
        kept
        | {
            "name": label,
            "encoder": None,
            "text": banks,
            "files": {IMAGES: manifest["files"][IMAGES], **texts},
        },
    )
    return folder


def write_speed(path: Path, measured: Mapping[str, Any]) -> None:
    """Keep how fast a workspace's images were encoded.

    Args:
        measured: ``seconds`` by the clock and ``core_seconds`` of the encoding process for
            ``images``; and ``device``, ``machine``, ``threads``, ``precision``, ``batch_size``.
    """
    write_atomic(path / SPEED, (json.dumps(measured, indent=1, sort_keys=True) + "\n").encode())


def speed_of(path: Path) -> dict[str, Any]:
    """Cost of encoding an image, for tables: ``seconds``, ``core_seconds`` and ``measured``, what
    they were measured on; NaN and "not measured" where the workspace holds no measurement.
    """
    try:
        kept = read_json(path / SPEED)
        images = int(kept["images"])
        on = (
            f"{counted(images, 'image')}, {kept['device']} ({kept['machine']}),"
            f" {counted(kept['threads'], 'thread')}, {kept['precision']}, batches of"
            f" {kept['batch_size']}"
        )
        return {
            "seconds": float(kept["seconds"]) / images,
            "core_seconds": float(kept["core_seconds"]) / images,
            "measured": on,
        }
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return {"seconds": nan, "core_seconds": nan, "measured": "not measured"}
