"""Progress of downloads from a model hub, for whoever waits for them.

Weights of gigabytes come once to a machine: :func:`downloads_reported` tells a caller far above how
far they are, without a parameter through every loader between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MB = 10**6
Progress = Callable[[int, int], None]
"""Called with (megabytes here, megabytes in all)."""
_PROGRESS: ContextVar[Progress | None] = ContextVar("download", default=None)


@contextmanager
def downloads_reported(tell: Progress) -> Iterator[None]:
    """Report what is downloaded inside; nothing where the files are on this machine already."""
    token = _PROGRESS.set(tell)
    try:
        yield
    finally:
        _PROGRESS.reset(token)


def progress_bar() -> type[Any] | None:
    """The class for the hub client's ``tqdm_class``; None where nobody waits."""
    tell = _PROGRESS.get()
    if tell is None:
        return None
    from tqdm.auto import tqdm

    report: Progress = tell

    class Reporting(tqdm):  # type: ignore[misc]
        """Also tells how far it is; files below a megabyte are not worth a word."""

        def update(self, n: float | None = 1) -> Any:
            drawn = super().update(n)
            if (self.total or 0) >= MB:
                report(int(self.n // MB), int(self.total // MB))
            return drawn

    return Reporting
