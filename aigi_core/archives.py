"""Images inside other files, read in place: members of a tar or zip, image bytes in a Parquet
table. Nothing is unpacked to disk.

Such an image is named by a path that goes through its archive: ``shards/00000.tar/000017.jpg``,
``data.zip/real/a.png``, ``train.parquet/image.bytes/000000017`` (column and row). The path alone
finds it; a recorded offset saves the look through the archive's table of contents.
"""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import threading
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from aigi_core.errors import AigiError
from aigi_core.remote import as_path
from aigi_core.statements import counted

TAR, ZIP, PARQUET = (".tar",), (".zip",), (".parquet", ".pq")
SUFFIXES = TAR + ZIP + PARQUET
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Archives without access to a single member: they are refused with advice."""
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""What a damaged archive or member makes its reader raise."""
ROW_DIGITS = 9
_BATCH = 16
"""Rows of a Parquet file decoded at once while going forward through it."""
_WITHIN = re.compile("(?:" + "|".join(map(re.escape, SUFFIXES)) + ")/", re.IGNORECASE)
"""Where a path goes on behind an archive's name; searched for in the text, since making every
folder of a path a path of its own takes as long as reading a small member."""
_lock = threading.Lock()


class Member(NamedTuple):
    """One file of an archive.

    Attributes:
        name: inside the archive, with '/' between its parts.
        offset: where to read it again: in a tar the byte of its header, in a Parquet table its
            row, in a zip -1 (found by name).
        size: bytes; -1 where that is known only after reading.
    """

    name: str
    offset: int
    size: int


def divide(path: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """The archive on a path and the member's name; None where the path goes through no archive."""
    path = as_path(path)
    text = path.as_posix()
    for found in _WITHIN.finditer(text):
        name = text[found.end() :]
        archive = path.parents[name.count("/")]
        if archive.is_file():
            return archive, name
    return None


def members(archive: Path) -> list[Member]:
    """All regular files in a tar or zip, in stored order.

    Raises:
        AigiError: the archive is damaged, or a member's name leaves it.
    """
    try:
        return list(_contents(archive, *_state(archive)).values())
    except (*DAMAGED, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise AigiError(
            f"The archive {archive} cannot be read ({error}): download or pack it again."
        ) from error


def read_member(archive: Path, name: str, offset: int = -1, *, limit: int) -> bytes:
    """The bytes of one member.

    Args:
        offset: as recorded in :class:`Member`; -1 looks the name up.
        limit: most bytes that are read.

    Raises:
        KeyError: there is no such member.
        ValueError: it has more bytes than the limit.
        OSError: the archive cannot be read, or what stands at the offset is no member.
    """
    suffix = archive.suffix.lower()
    try:
        if suffix in PARQUET:
            return _parquet_value(archive, name, limit)
        if suffix in ZIP:
            return _zip_bytes(archive, name, limit)
        if offset < 0:
            offset = _contents(archive, *_state(archive))[name].offset
        return _tar_bytes(archive, offset, limit)
    except (*DAMAGED, EOFError) as error:
        raise OSError(f"the archive {archive.name} is damaged: {error}") from error


def _state(archive: Path) -> tuple[int, int]:
    about = archive.stat()
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=32)
def _contents(archive: Path, modified: int, size: int) -> dict[str, Member]:
    del modified, size  # with the path they name the state that was read
    by_name: dict[str, Member] = {}
    found = _tar_members if archive.name.lower().endswith(TAR) else _zip_members
    for member in found(archive):
        parts = member.name.split("/")
        if member.name.startswith("/") or ".." in parts:
            raise AigiError(f"The archive {archive} names {member.name!r}, a path that leaves it.")
        if member.name in by_name:
            raise AigiError(f"The archive {archive} holds {member.name!r} more than once.")
        by_name[member.name] = member
    return by_name


def _tar_members(archive: Path) -> Iterator[Member]:
    found: dict[str, Member] = {}
    with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for info in tar:
            name = info.name.removeprefix("./")
            if info.isreg():
                found[name] = Member(name, info.offset_data - tarfile.BLOCKSIZE, info.size)
                yield found[name]
            elif info.islnk() and (other := found.get(info.linkname.removeprefix("./"))):
                yield other._replace(name=name)  # a file that stands in the tar once
            tar.members = []  # type: ignore[attr-defined]  # else it keeps every header


def _zip_members(archive: Path) -> Iterator[Member]:
    with archive.open("rb") as stream, zipfile.ZipFile(stream) as opened:
        for info in opened.infolist():
            name = info.filename if "/" in info.filename else info.filename.replace("\\", "/")
            if not name.endswith("/"):  # some programs on Windows write backslashes
                yield Member(name, -1, info.file_size)


def _tar_bytes(archive: Path, offset: int, limit: int) -> bytes:
    with archive.open("rb") as stream:
        stream.seek(offset)
        size = _size_in(stream.read(tarfile.BLOCKSIZE))
        if size > limit:
            raise ValueError(f"{counted(size, 'byte')}, at most {limit:,} are read")
        content = stream.read(size)
    if len(content) < size:
        raise EOFError("it ends early")
    return content


def _size_in(header: bytes) -> int:
    """The size that a tar's header tells; of the other fields only the checksum counts here, and
    reading all of them takes as long as reading a small member."""
    whole = len(header) == tarfile.BLOCKSIZE
    size: int = tarfile.nti(header[124:136]) if whole else -1  # type: ignore[attr-defined]
    if size < 0 or tarfile.nti(header[148:156]) not in tarfile.calc_chksums(header):  # type: ignore[attr-defined]
        raise tarfile.ReadError("no member begins there")
    return size


@lru_cache(maxsize=32)
def _zip(archive: Path, modified: int, size: int) -> zipfile.ZipFile:
    del modified, size
    return zipfile.ZipFile(archive.open("rb"))


def _zip_bytes(archive: Path, name: str, limit: int) -> bytes:
    opened = _zip(archive, *_state(archive))
    try:
        size = opened.getinfo(name).file_size
    except KeyError:
        name = name.replace("/", "\\")
        size = opened.getinfo(name).file_size
    if size > limit:
        raise ValueError(f"{counted(size, 'byte')}, at most {limit:,} are read")
    try:
        return opened.read(name)
    except NotImplementedError as error:
        raise OSError(f"the archive {archive.name} is packed in a way not read here") from error
    except RuntimeError as error:  # zipfile's word for encryption
        raise OSError(f"the archive {archive.name} is encrypted") from error


class _Cursor:
    """A place in a column of a Parquet file that goes forward cheaply and back by starting over
    from the row's own row group.
    """

    def __init__(self, file: Any, column: str) -> None:
        self._file, self._column = file, column
        counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        self._starts = [0, *accumulate(counts)]
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._first, self._group = 0, -1

    def value(self, row: int) -> Any:
        """The Arrow scalar of a row; raises KeyError where there is none."""
        if not 0 <= row < self._starts[-1]:
            raise KeyError(row)
        group = bisect_right(self._starts, row) - 1
        if self._batch is None or group != self._group or row < self._first:
            self._batches = self._file.iter_batches(
                _BATCH, row_groups=[group], columns=[self._column], use_threads=False
            )
            self._group = group
            self._first = self._starts[group]
            self._batch = next(self._batches)
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._batches)
        column = self._batch.column(0)
        for inner in self._column.split(".")[1:]:
            column = column.field(inner)
        return column[row - self._first]


@lru_cache(maxsize=8)
def _cursor(archive: Path, column: str, modified: int, size: int) -> _Cursor:
    del modified, size
    from pyarrow import parquet  # slow to load, and most collections are plain files

    stream = archive.open("rb")
    return _Cursor(parquet.ParquetFile(stream, buffer_size=2**20, pre_buffer=False), column)


def _parquet_value(archive: Path, name: str, limit: int) -> bytes:
    column, _, row = name.rpartition("/")
    if not column or not row.isdecimal():
        raise KeyError(name)
    with _lock:  # several of the app's threads may share a cursor
        value = _cursor(archive, column, *_state(archive)).value(int(row))
    buffer = value.as_buffer() if value.is_valid else None
    if buffer is None:
        return b""
    if buffer.size > limit:
        raise ValueError(f"{counted(buffer.size, 'byte')}, at most {limit:,} are read")
    return bytes(buffer.to_pybytes())


def parquet_member(column: str, row: int) -> str:
    """The name inside a Parquet file of a row's image bytes."""
    return f"{column}/{row:0{ROW_DIGITS}d}"
