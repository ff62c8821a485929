"""Open every file once, in several processes; a file that kills its decoder is left out like any
other bad file.
"""

from __future__ import annotations

import atexit
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aigi_core.images import ImageError, load_rgb, read_bytes
from aigi_core.previews import preview_hash
from aigi_core.processes import LimitedProcesses, LimitExceeded, shared
from aigi_core.terminal import progress_options
from precompute.engine import cores

Facts = dict[str, Any]
Place = tuple[str, int]
"""Path below the root, and the offset in its archive (-1 for a plain file)."""
CHUNK = 32
UNREAD: Facts = dict(
    width=0,
    height=0,
    format="",
    mode="",
    bytes=0,
    jpeg_quality=math.nan,
    has_metadata=False,
    content_hash="",
    preview_hash="",
    note="",
    left_out="",
)
"""Facts of a file that was not opened."""


def facts_of(root: Path, path: str, offset: int = -1) -> Facts:
    """What is recorded of one file; where it cannot be used, ``left_out`` says why and the rest is
    what was known.

    Args:
        offset: where it stands in its archive; -1 for a plain file.
    """
    try:
        content = read_bytes(root / path, offset)
    except ImageError as error:
        return UNREAD | {"left_out": str(error)}
    known = UNREAD | {"bytes": len(content), "content_hash": hashlib.sha256(content).hexdigest()}
    try:
        loaded = load_rgb(content)
    except ImageError as error:
        return known | {"left_out": str(error)}
    return known | {
        "width": loaded.width,
        "height": loaded.height,
        "format": loaded.format,
        "mode": loaded.mode,
        "jpeg_quality": loaded.jpeg_quality,
        "has_metadata": loaded.has_metadata,
        "note": loaded.note,
        "preview_hash": preview_hash(loaded.image),
    }


def facts_of_all(
    root: Path,
    files: Sequence[Place],
    workers: int | None = None,
    *,
    progress: bool = True,
    read: Callable[[Path, str, int], Facts] = facts_of,
) -> list[Facts]:
    """Facts of all files (path and offset) in their order, whatever the number of processes, which
    are limited in processor time and memory; ``workers`` 0 reads in this process, without limits.
    """
    if workers is None:
        workers = cores()
    with tqdm(
        total=len(files), unit="image", desc="Reading", disable=not progress, **progress_options()
    ) as bar:
        facts = []
        for fact in _read(root, files, workers, read):
            facts.append(fact)
            bar.update()
    return facts


def _read(
    root: Path,
    files: Sequence[Place],
    workers: int,
    read: Callable[[Path, str, int], Facts],
) -> Iterator[Facts]:
    tasks = [(root, *file) for file in files]
    if workers == 0:
        yield from (read(*task) for task in tasks)
    elif workers == 1 or len(tasks) <= CHUNK:
        yield from map(_left_out, shared().map(read, tasks))
    else:
        processes = _processes(workers)
        pool = ThreadPoolExecutor(workers)  # a thread waits for a process
        try:
            chunks = (tasks[i : i + CHUNK] for i in range(0, len(tasks), CHUNK))
            running = deque(
                pool.submit(lambda part: list(processes.map(read, part)), chunk) for chunk in chunks
            )
            while running:
                yield from map(_left_out, running.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


_kept: dict[int, LimitedProcesses] = {}
"""By their number; kept between calls, for starting one takes a second."""


def _processes(workers: int) -> LimitedProcesses:
    return _kept.setdefault(workers, LimitedProcesses(workers, workers))


@atexit.register
def close_processes() -> None:
    """End the processes that :func:`facts_of_all` keeps for its next call."""
    while _kept:
        _kept.popitem()[1].close()


def _left_out(result: Facts | LimitExceeded) -> Facts:
    if isinstance(result, LimitExceeded):
        return UNREAD | {"left_out": f"too large: {result}"}
    return result
