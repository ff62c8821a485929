"""Images from files to preprocessed pixels, in processes of their own that load no torch."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.errors import AigiError
from aigi_core.images import ImageError, load_rgb, read_bytes
from precompute.pool import submit, worker_pool

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
    """Read batches in order, a few chunks ahead of the consumer; ``workers`` 0 reads in this
    process.

    Raises:
        AigiError: a reading process died.
    """
    if workers == 0:
        for batch in batches:
            yield read(root, batch, preprocessing)
        return
    chunked = ([batch[i : i + CHUNK] for i in range(0, len(batch), CHUNK)] for batch in batches)
    ahead: deque[list[Future[ReadBatch]]] = deque()
    with worker_pool(workers) as pool:
        try:
            for chunks in chunked:
                ahead.append([submit(pool, read, root, chunk, preprocessing) for chunk in chunks])
                while sum(map(len, ahead)) - len(ahead[0]) > 2 * workers:
                    yield _joined(ahead.popleft())
            while ahead:
                yield _joined(ahead.popleft())
        except BrokenProcessPool as error:
            raise AigiError(
                "A process that reads images died, probably for lack of memory: run the same"
                " command again with fewer --workers; what was finished is kept."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read(root: Path, batch: Sequence[Wanted], preprocessing: Preprocessing) -> ReadBatch:
    """Read one batch in this process; what goes wrong with an image is recorded, not raised."""
    pixels = np.zeros((len(batch), preprocessing.size, preprocessing.size, 3), np.uint8)
    failures = []
    for i, wanted in enumerate(batch):
        try:
            pixels[i] = preprocessing.pixels(
                load_rgb(_content(root, wanted)).image, key=wanted.sha256
            )
        except ImageError as error:
            failures.append(Failure(wanted.path, str(error)))
    return ReadBatch(pixels, failures)


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
