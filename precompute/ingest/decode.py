"""Open every file once, in several processes; a file that kills its decoder is left out like any
other bad file.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aigi_core.images import ImageError, load_rgb, preview_hash, read_bytes
from aigi_core.terminal import progress_options
from precompute.pool import submit, worker_pool

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
    """Facts of all files (path and offset) in their order, whatever the number of processes."""
    if workers is None:
        workers = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    facts: dict[str, Facts] = {}
    with tqdm(
        total=len(files), unit="image", desc="Reading", disable=not progress, **progress_options()
    ) as bar:
        if workers == 1 or len(files) <= CHUNK:
            for file in files:
                facts[file[0]] = read(root, *file)
                bar.update()
        else:
            for chunk, known in _in_processes(root, files, workers, read):
                facts |= {path: fact for (path, _), fact in zip(chunk, known, strict=True)}
                bar.update(len(chunk))
    return [facts[path] for path, _ in files]


def _in_processes(
    root: Path,
    files: Sequence[Place],
    workers: int,
    read: Callable[[Path, str, int], Facts],
) -> Iterator[tuple[list[Place], list[Facts]]]:
    waiting = deque(list(files[i : i + CHUNK]) for i in range(0, len(files), CHUNK))
    while waiting:
        running: dict[Future[list[Facts]], list[Place]] = {}
        try:
            with worker_pool(workers) as pool:
                while waiting or running:
                    while waiting and len(running) < 2 * workers:
                        future = submit(pool, _read_chunk, read, root, waiting[0])
                        running[future] = waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        facts = future.result()
                        yield running.pop(future), facts
        except BrokenProcessPool:
            # Some file under way kills its reader; alone in a process each, the others survive it.
            suspects = deque(file for chunk in running.values() for file in chunk)
            while suspects:
                with worker_pool(1) as pool:
                    while suspects:
                        file = suspects.popleft()
                        try:
                            yield [file], submit(pool, _read_chunk, read, root, [file]).result()
                        except BrokenProcessPool:
                            yield [file], [UNREAD | {"left_out": "damaged: it crashes the decoder"}]
                            break


def _read_chunk(
    read: Callable[[Path, str, int], Facts], root: Path, files: list[Place]
) -> list[Facts]:
    return [read(root, *file) for file in files]
