"""What is written to a terminal: names that cannot steer it."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, Protocol, TextIO


def printable(text: str, keep: str = "") -> str:
    """The text with everything that is not printable as an escape, but for the characters to keep;
    a folder's name may hold codes that move the cursor or rename the window.
    """
    return "".join(
        c
        if c.isprintable() or c in keep
        else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


class PrintableStream(io.TextIOBase):
    """A text stream that passes on lines made :func:`printable`, each as it ends: a file of what a
    long job says is not empty until its end. Where nobody reads on (``| head``), what follows is
    dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._read = True

    def write(self, text: str) -> int:
        """Write, line breaks and tabs as they are."""
        if self._read:
            self._stream.write(printable(text, keep="\n\t"))
            if "\n" in text:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Pass on; at the end of a process, others may have closed the stream before."""
        if not self._read or self._stream.closed:
            return
        try:
            self._stream.flush()
        except BrokenPipeError:  # what is computed is of use all the same
            self._read = False
            # What is left in the stream's buffer goes nowhere, or leaving would fail once more.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """It is."""
        return True


SECONDS_A_LINE = 30
"""Between two lines of progress where it goes into a file."""


class _Lines(io.TextIOBase):
    """What a progress bar redraws, as lines of their own."""

    def write(self, text: str) -> int:
        """Write one state of the bar."""
        if state := text.strip("\r\n \x1b[A"):
            sys.stderr.write(f"{state}\n")
            sys.stderr.flush()
        return len(text)


def progress_options() -> dict[str, Any]:
    """Options of every ``tqdm``: a bar on a terminal; elsewhere a line every half minute, without
    control codes, and none for what takes less.
    """
    if sys.stderr.isatty():
        return {}
    every = {"mininterval": SECONDS_A_LINE, "maxinterval": SECONDS_A_LINE, "miniters": 1}
    return {**every, "delay": SECONDS_A_LINE, "file": _Lines(), "ncols": 100, "ascii": True}


class Show(Protocol):
    """What :func:`progress_line` gives."""

    def __call__(self, line: str, left: float = 0) -> None: ...


def time_left(seconds: float) -> str:
    """What stands behind a line of progress: nothing where it is not known, or over.

    Example:
        >>> time_left(125), time_left(-1)
        (', about 2 min 05 s left', '')
    """
    if seconds < 1:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f", about {f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'} left"


@contextmanager
def progress_line() -> Iterator[Show]:
    """Takes sentences on how far a job is: on a terminal each replaces the one before; into a file
    the newest goes every half minute, with the minutes since the job began, whether or not there
    was another. The seconds left, where they are given, are counted down; once they are over,
    nothing is said of them.

    Example:
        >>> with progress_line() as show:
        ...     show("one of two")
    """
    began = time.monotonic()
    newest, due = "", began
    ended = Event()

    def show(line: str, left: float = 0) -> None:
        nonlocal newest, due
        newest, due = printable(line), time.monotonic() + left
        line = newest + time_left(left)
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)

    def follow() -> None:
        while not ended.wait(SECONDS_A_LINE):
            now = time.monotonic()
            minutes = (now - began) / 60
            line = (newest or "At work") + time_left(due - now)
            print(f"{line} ({minutes:.1f} min)", file=sys.stderr, flush=True)

    if sys.stderr.isatty():
        try:
            yield show
        finally:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return
    lines = Thread(target=follow, name="progress", daemon=True)
    lines.start()
    try:
        yield show
    finally:
        ended.set()
        lines.join()
