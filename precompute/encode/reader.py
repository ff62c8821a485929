"""Images from files to preprocessed pixels, in processes of their own that load no torch and are
limited in processor time and memory."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.images import ImageError, load_rgb, read_bytes
from aigi_core.processes import LimitedProcesses, read_images

CHUNK = 32
"""Images a task: enough that handing them over costs little, few enough that all workers share a
batch.
"""


class Wanted(NamedTuple):
    """An image to read: path below the image root, the SHA-256 that ingest recorded, and where it
    stands in its archive (-1 for a plain file).
    """

    path: str
    sha256: str
    offset: int = -1


class Failure(NamedTuple):
    """An image that cannot be encoded, and why."""

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ReadBatch:
    """Pixels of a batch, in order; an image that failed is black there and named in
    ``failures``.
    """

    pixels: UInt8[np.ndarray, "B size size 3"]
    failures: list[Failure]


def read_batches(
    root: Path, batches: Iterable[Sequence[Wanted]], preprocessing: Preprocessing, workers: int
) -> Iterator[ReadBatch]:
    """Read batches in order, a few chunks ahead of the consumer; ``workers`` 0 reads none ahead, in
    the process that all share.
    """
    if workers == 0:
        for batch in batches:
            yield read(root, batch, preprocessing)
        return
    processes = LimitedProcesses(workers, workers)
    pool = ThreadPoolExecutor(workers)  # a thread waits for a process
    chunked = ([batch[i : i + CHUNK] for i in range(0, len(batch), CHUNK)] for batch in batches)
    ahead: deque[list[Future[ReadBatch]]] = deque()
    try:
        for chunks in chunked:
            ahead.append(
                [pool.submit(read, root, chunk, preprocessing, processes) for chunk in chunks]
            )
            while sum(map(len, ahead)) - len(ahead[0]) > 2 * workers:
                yield _joined(ahead.popleft())
        while ahead:
            yield _joined(ahead.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
        processes.close()


def read(
    root: Path,
    batch: Sequence[Wanted],
    preprocessing: Preprocessing,
    processes: LimitedProcesses | None = None,
) -> ReadBatch:
    """Read one batch in one process; what goes wrong with an image is recorded, not raised."""
    pixels = np.zeros((len(batch), preprocessing.size, preprocessing.size, 3), np.uint8)
    failures = []
    tasks = [(root, wanted, preprocessing) for wanted in batch]
    for i, result in enumerate(read_images(_pixels, tasks, processes)):
        if isinstance(result, ImageError):
            failures.append(Failure(batch[i].path, str(result)))
        else:
            pixels[i] = result
    return ReadBatch(pixels, failures)


def _pixels(
    root: Path, wanted: Wanted, preprocessing: Preprocessing
) -> UInt8[np.ndarray, "size size 3"]:
    return preprocessing.pixels(load_rgb(_content(root, wanted)).image, key=wanted.sha256)


def _content(root: Path, wanted: Wanted) -> bytes:
    path = PurePosixPath(wanted.path)
    if path.is_absolute() or ".." in path.parts:  # a workspace may come from a stranger
        raise ImageError("unreadable", "its path leaves the image root")
    content = read_bytes(root / path, wanted.offset)
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise ImageError("damaged", "the file has changed since ingest")
    return content


def _joined(parts: list[Future[ReadBatch]]) -> ReadBatch:
    done = [part.result() for part in parts]
    failures = [failure for part in done for failure in part.failures]
    pixels = done[0].pixels if len(done) == 1 else np.concatenate([part.pixels for part in done])
    return ReadBatch(pixels, failures)
