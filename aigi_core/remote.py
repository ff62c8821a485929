"""Folders of images that no operating system mounts: addresses such as ``s3://bucket/images``, read
through fsspec's file systems.

An address is a :class:`RemotePath`, a path like any other: what reads images joins, lists and
opens it without knowing. Only reading works, and only images lie there: a workspace needs locks and
renames.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PosixPath
from typing import Any
from urllib.parse import unquote

from aigi_core.errors import AigiError

ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://")
EXTRA = "requirements-remote.txt"
"""Packages that fsspec's file systems need beside fsspec itself."""
LOCAL = ("file:", "local:")
"""First parts of addresses of this machine."""
_KINDS = {"directory": stat.S_IFDIR, "file": stat.S_IFREG}


def as_path(place: str | os.PathLike[str]) -> Path:
    """A path, or the :class:`RemotePath` of an address.

    Raises:
        AigiError: fsspec knows no such file system, or its package is not installed.

    Example:
        >>> as_path("file:///data/images") / "a.png"
        RemotePath('file:///data/images/a.png')
    """
    if isinstance(place, Path):
        return place
    if not ADDRESS.match(text := os.fspath(place)):
        return Path(text)
    path = RemotePath(text)
    path.system  # noqa: B018  # says what is missing, before anything is begun
    return path


class RemotePath(PosixPath):
    """A file or folder of one of fsspec's file systems.

    Paths keep one slash of two, so its text is made anew.
    """

    def __str__(self) -> str:
        protocol, slash, rest = super().__str__().partition(":/")
        if not slash:  # a part of an address
            return protocol
        # file:///data has a place of its own for a machine, which is empty
        return f"{protocol}://{'/' if f'{protocol}:' in LOCAL else ''}{rest}"

    def __fspath__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    @cached_property
    def system(self) -> Any:
        """Its file system, one for all paths of a protocol."""
        import fsspec  # a third of a second, which only addresses pay

        protocol = self.parts[0].rstrip(":")
        try:
            return fsspec.filesystem(protocol)
        # some need a machine's name or an account besides, and say so by errors of their own
        except Exception as error:
            raise AigiError(
                f"{protocol}:// cannot be read ({error}): install what it needs with"
                f" 'pip install -r {EXTRA}', or the package that is named; or mount it, and name"
                " the folder."
            ) from error

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        del follow_symlinks
        with _as_os_errors(self):
            return _status(self.system.info(str(self)))

    def is_dir(self, **_: Any) -> bool:
        with _as_os_errors(self):
            return bool(self.system.isdir(str(self)))

    def is_file(self, **_: Any) -> bool:
        with _as_os_errors(self):
            return bool(self.system.isfile(str(self)))

    def exists(self, **_: Any) -> bool:
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_symlink(self) -> bool:
        return False

    def resolve(self, strict: bool = False) -> RemotePath:
        """The same file without ``..``, whichever way it is written, and without symbolic links
        where the address is one of this machine; what is compared with the folders that may be
        seen."""
        del strict
        protocol, *rest = self.parts
        kept: list[str] = []
        for part in rest:
            if unquote(part) != "..":  # servers of https:// read %2e as a dot
                kept.append(part)
            elif kept[protocol not in LOCAL :]:  # a machine or bucket stays
                kept.pop()
        if protocol in LOCAL:
            kept = os.path.realpath("/".join(("", *kept))).split("/")[1:]
        return RemotePath("/".join((f"{protocol}/", *kept)))

    def absolute(self) -> RemotePath:
        return self

    def open(self, mode: str = "rb", *_: Any, **__: Any) -> Any:
        with _as_os_errors(self):
            return self.system.open(str(self), mode)

    def read_bytes(self) -> bytes:
        with _as_os_errors(self):
            return bytes(self.system.cat_file(str(self)))

    def iterdir(self) -> Generator[RemotePath, None, None]:
        return (self / entry.name for entry in self.entries())

    def entries(self) -> list[Entry]:
        """What a folder holds, as :func:`os.scandir` tells it."""
        with _as_os_errors(self):
            listed = self.system.ls(str(self), detail=True)
        here = self.system._strip_protocol(str(self)).rstrip("/")
        named = [(about["name"].rstrip("/"), about) for about in listed]
        return [Entry(name.rsplit("/", 1)[-1], about) for name, about in named if name != here]


class Entry:
    """One file or folder in a folder, as :func:`os.scandir` gives it."""

    def __init__(self, name: str, about: dict[str, Any]) -> None:
        self.name, self._is_dir = name, bool(about["type"] == "directory")

    def is_dir(self) -> bool:
        return self._is_dir

    def is_file(self) -> bool:
        return not self._is_dir


def scan(folder: Path) -> list[Any]:
    """What a folder holds: entries with ``name``, ``is_dir()`` and ``is_file()``."""
    return folder.entries() if isinstance(folder, RemotePath) else list(os.scandir(folder))


def stands(path: Path) -> bool:
    """Whether there is anything of this name, be it a link to nothing."""
    return path.exists() if isinstance(path, RemotePath) else os.path.lexists(path)


def common_folder(paths: list[Path]) -> Path:
    """The deepest folder that holds all of these, which are resolved.

    Raises:
        AigiError: they lie on different file systems.
    """
    first, *others = paths
    for folder in (first, *first.parents):
        if folder.name and all(path.is_relative_to(folder) for path in others):
            return folder
    if any(isinstance(path, RemotePath) for path in paths):
        raise AigiError(
            f"{' and '.join(map(str, paths))} lie in no common folder: name folders of one bucket."
        )
    return Path(first.anchor)


@contextmanager
def _as_os_errors(path: RemotePath) -> Iterator[None]:
    """What any file system raises, as the operating system's errors; libraries of stores have
    exceptions of their own."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except (OSError, AigiError):
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", str(path)) from error


def _status(about: dict[str, Any]) -> os.stat_result:
    """Kind and size, and instead of the time of change a number that a change changes, as each
    store tells of it in words of its own."""
    told = repr(sorted((name, str(value)) for name, value in about.items()))
    state = int.from_bytes(hashlib.sha256(told.encode()).digest()[:7], "big")
    mode = _KINDS.get(about["type"], stat.S_IFLNK)
    node = int.from_bytes(hashlib.sha256(about["name"].encode()).digest()[:7], "big")
    numbers = (mode, node, 0, 1, 0, 0, int(about.get("size") or 0), 0, 0, 0)
    return os.stat_result(numbers, {"st_mtime_ns": state})
