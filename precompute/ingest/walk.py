"""Which files a folder holds: plain ones, and those inside its tars and zips."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from aigi_core.archives import COMPRESSED, TAR, ZIP, members
from aigi_core.remote import scan
from aigi_core.statements import counted

CLUTTER = frozenset(
    {"__MACOSX", "Thumbs.db", "desktop.ini", "ehthumbs.db", "@eaDir", "#recycle", "$RECYCLE.BIN"}
    | {"System Volume Information", "lost+found", "__pycache__"}
)
"""What desktops and network drives put beside files: thumbnails, deleted files, settings."""

IMAGES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".jp2",
    ".ppm",
)


OTHERS = (
    *(".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".log", ".xml", ".yaml", ".yml", ".toml"),
    *(".json", ".jsonl", ".csv", ".tsv", ".xls", ".xlsx", ".parquet", ".pq", ".arrow", ".feather"),
    *(".py", ".ipynb", ".sh", ".bat", ".ini", ".cfg", ".db", ".lock", ".md5", ".sha256"),
    *(".npy", ".npz", ".pt", ".pth", ".pkl", ".mat", ".h5", ".hdf5", ".safetensors", ".onnx"),
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".mp3", ".wav"),
)
"""Suffixes of what lies beside images and never is one: texts, tables, programs, arrays, films."""
OTHER_NAMES = frozenset(
    {"readme", "license", "licence", "changelog", "citation", "copying", "notice"}
)


def is_no_image(path: str) -> bool:
    """Whether a file is certainly no image by its name; one without a suffix may be one."""
    name = path.lower().rpartition("/")[2]
    return name in OTHER_NAMES or name.endswith((*OTHERS, *COMPRESSED))


def looks_like_image(path: str) -> bool:
    """Whether a file is an image by its name, which is all that is known before it is opened."""
    return path.lower().endswith(IMAGES)


class FileEntry(NamedTuple):
    """A file: its path below the root with '/' between parts, and where it stands in its archive.

    ``archive`` is the archive's own path below the root, "" for a plain file.
    """

    path: str
    archive: str = ""
    offset: int = -1


def walk(root: Path, prefixes: Iterable[str] = ("",)) -> tuple[list[FileEntry], tuple[str, ...]]:
    """Every file below a folder, sorted by path, those inside tars and zips among them; and notes
    on what was not entered.

    Hidden entries and a desktop's clutter are skipped. Symbolic links are followed, except into a
    folder that contains them. An archive inside an archive is a file.

    Args:
        prefixes: folders below the root, each with a '/' at its end; nothing else is looked at.

    Raises:
        AigiError: a tar or zip cannot be read.
    """
    files: list[FileEntry] = []
    hidden = 0
    loops = []
    closed = []
    packed = []
    empty = []
    stack: list[tuple[Path, str, frozenset[tuple[int, int]]]] = [
        (root / prefix, prefix, frozenset()) for prefix in prefixes
    ]
    while stack:
        folder, prefix, above = stack.pop()
        status = folder.stat()
        above |= {(status.st_dev, status.st_ino)}
        try:
            entries = scan(folder)
        except OSError as error:
            closed.append(f"{shown(prefix) or '.'} ({error.strerror})")
            continue
        if not entries and prefix:
            empty.append(shown(prefix))
        for entry in entries:
            if entry.name.startswith(".") or entry.name in CLUTTER:
                hidden += 1
                continue
            try:
                inside = (folder / entry.name).stat() if entry.is_dir() else None
            except OSError:  # a link that leads round to itself: decoding will say so
                inside = None
            path = prefix + entry.name
            if inside is not None and (inside.st_dev, inside.st_ino) in above:
                loops.append(shown(path))
            elif inside is not None:
                stack.append((folder / entry.name, f"{path}/", above))
            elif entry.name.lower().endswith(TAR + ZIP) and entry.is_file():
                hidden += _open_archive(files, folder / entry.name, path)
            else:
                if entry.name.lower().endswith(COMPRESSED):
                    packed.append(shown(path))
                files.append(FileEntry(path))
    notes = []
    if hidden:
        notes.append(f"{counted(hidden, 'hidden entry', 'were')} skipped.")
    if loops:
        notes.append(
            f"{counted(len(loops), 'link', 'were')} not followed, leading to a folder above:"
            f" {some(loops)}."
        )
    if empty:
        notes.append(f"{counted(len(empty), 'folder', 'are')} empty: {some(empty)}.")
    if closed:
        notes.append(f"{counted(len(closed), 'folder')} could not be listed: {some(closed)}.")
    if packed:
        notes.append(
            f"{counted(len(packed), 'compressed archive', 'were')} not opened, for no member can be"
            f" reached by itself: {some(packed)}; unpack, or pack again as plain .tar or .zip."
        )
    return sorted(files), tuple(notes)


def _open_archive(files: list[FileEntry], file: Path, path: str) -> int:
    """Add an archive's members; returns how many hidden ones were skipped."""
    hidden = 0
    for member in members(file):
        parts = member.name.split("/")
        if any(part.startswith(".") or part in CLUTTER for part in parts):
            hidden += 1
        else:
            files.append(FileEntry(f"{path}/{member.name}", path, member.offset))
    return hidden


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few of several names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shown(text: str) -> str:
    """A name as it may be printed: control characters and lone surrogates escaped, the rest as it
    is.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def quoted(text: str) -> str:
    """A name between quotation marks, such as people write it: no mark in it is escaped.

    >>> print(quoted("a"), quoted("O'Brien"), quoted("O'Brien " + chr(34)))
    'a' "O'Brien" «O'Brien "»
    """
    text = shown(text)
    marks = "''" if "'" not in text else '""' if '"' not in text else "«»"
    return f"{marks[0]}{text}{marks[1]}"


def is_undecodable(path: str) -> bool:
    """Whether a name holds bytes that are no Unicode."""
    return not path.isascii() and any("\ud800" <= letter <= "\udfff" for letter in path)


def escaped(path: str) -> str:
    """A name with such bytes as text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
