"""The unit of work: a shard, an idempotent function from its description to one file beside its
manifest.

A shard is done when ``NNNNNN.json`` names its key and the SHA-256 of ``NNNNNN.npz``; the key covers
everything that shapes the bytes (images, weights, preprocessing, precision, device, and the batches
in which images are computed). Any scheduler can map :func:`encode_shard` over shards, in any order
and on several machines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from aigi_core.clip.encoder import Encoder
from aigi_core.clip.towers import EncodedBatch
from aigi_core.workspace import digest_of, sha256_of, write_atomic
from precompute.encode.reader import Failure, ReadBatch, Wanted


def arrays_of(encoder: Encoder, rows: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name -> shape and type of the arrays that an encoding computes, head-major."""
    arrays: dict[str, tuple[tuple[int, ...], type]] = {
        "embeddings": ((rows, encoder.embedding_width), np.float32)
    }
    if encoder.gives.has("heads"):
        heads = (encoder.layers, encoder.heads, rows, encoder.head_width)
        arrays |= {"heads": (heads, np.float16), "ln_post": ((rows, 2), np.float32)}
    return arrays


@dataclass(frozen=True)
class Shard:
    """A run of consecutive images, computed in fixed batches.

    Attributes:
        start, stop: rows of the workspace's arrays.
        table: all images of the workspace, columns path, content_hash and, where archives hold
            some, offset; shared by all shards, so that a million images are held once, as the
            columns of a table.
        identity: what else shapes the result; see :func:`identity_of`.
    """

    index: int
    start: int
    stop: int
    batch_size: int
    table: pd.DataFrame = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)

    @property
    def images(self) -> list[Wanted]:
        """What to read, one entry a row."""
        rows = self.table.iloc[self.start : self.stop]
        columns = [name for name in ("path", "content_hash", "offset") if name in rows.columns]
        return [Wanted(*row) for row in rows[columns].itertuples(index=False, name=None)]

    @property
    def key(self) -> str:
        """Digest of everything that shapes the shard's bytes; paths do not, contents do."""
        return digest_of(
            [dict(self.identity), self.batch_size, [image.sha256 for image in self.images]]
        )

    @property
    def batches(self) -> list[Sequence[Wanted]]:
        images = self.images
        return [images[i : i + self.batch_size] for i in range(0, len(images), self.batch_size)]

    def file(self, folder: Path) -> Path:
        return folder / f"{self.index:06d}.npz"

    def manifest(self, folder: Path) -> Path:
        return folder / f"{self.index:06d}.json"


def identity_of(encoder: Encoder) -> dict[str, Any]:
    """What makes two encoders' features interchangeable."""
    return {
        "settings": dict(encoder.settings),
        "weights_sha256": encoder.weights_sha256,
        "preprocessing_sha256": encoder.preprocessing.sha256,
        "precision": encoder.precision,
        "device": encoder.device.type,
    }


def cut(
    table: pd.DataFrame, shard_size: int, batch_size: int, identity: Mapping[str, Any]
) -> list[Shard]:
    """Cut the images into shards of `shard_size` (the last may be shorter)."""
    return [
        Shard(index, start, min(start + shard_size, len(table)), batch_size, table, identity)
        for index, start in enumerate(range(0, len(table), shard_size))
    ]


def is_done(shard: Shard, folder: Path) -> bool:
    """Whether the shard's file is there, whole and for this very shard."""
    try:
        manifest = json.loads(shard.manifest(folder).read_text("utf-8"))
        return bool(
            manifest["key"] == shard.key and manifest["sha256"] == sha256_of(shard.file(folder))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def encode_shard(
    shard: Shard,
    encoder: Encoder,
    batches: Iterator[ReadBatch],
    folder: Path,
    tick: Callable[[int], None],
) -> list[Failure]:
    """Compute one shard and write it, whole or not at all.

    Args:
        batches: yields the batches of ``shard.batches``, in order; exactly those are taken.
        tick: told of every batch's number of images once they are computed.

    Returns:
        The images that could not be encoded; the shard is written only where there is none.
    """
    rows = shard.stop - shard.start
    arrays: dict[str, np.ndarray] = {
        name: np.empty(shape, dtype) for name, (shape, dtype) in arrays_of(encoder, rows).items()
    }
    failures: list[Failure] = []
    # The device computes a batch while the one before it is fetched and stored.
    under_way: tuple[int, EncodedBatch] | None = None
    row = 0
    for batch in islice(batches, -(-rows // shard.batch_size)):
        failures += batch.failures
        full = _filled(batch.pixels, shard.batch_size)
        launched = None if failures else (row, encoder.encode_images(full))
        if under_way is not None:
            failures += _store(shard, arrays, *under_way, shard.batch_size)
        under_way = launched
        row += len(batch.pixels)
        tick(len(batch.pixels))
    if under_way is not None:
        failures += _store(shard, arrays, *under_way, shard.batch_size)
    if not failures:
        _write(shard, arrays, folder)
    return failures


def _filled(pixels: UInt8[np.ndarray, "b s s 3"], size: int) -> UInt8[np.ndarray, "B s s 3"]:
    """A batch of full size, black images added: products of other sizes round otherwise, and an
    image's features must not depend on how many others it was encoded with.
    """
    if len(pixels) == size:
        return pixels
    full = np.zeros((size, *pixels.shape[1:]), np.uint8)
    full[: len(pixels)] = pixels
    return full


def _store(
    shard: Shard, arrays: dict[str, np.ndarray], row: int, batch: EncodedBatch, size: int
) -> list[Failure]:
    stop = min(row + size, shard.stop - shard.start)
    n = stop - row  # what was added to fill the batch is dropped
    arrays["embeddings"][row:stop] = batch.embedding[:n].cpu().numpy()
    finite = np.isfinite(arrays["embeddings"][row:stop]).all(axis=1)
    if "heads" in arrays:
        arrays["heads"][:, :, row:stop] = batch.heads[:, :, :n].half().cpu().numpy()
        arrays["ln_post"][row:stop] = batch.ln_post[:n].cpu().numpy()
        finite &= np.isfinite(arrays["heads"][:, :, row:stop]).all(axis=(0, 1, 3))
    if finite.all():
        return []
    overflown = "its features overflow: use --precision fp32 or bf16, or other weights"
    images = shard.images
    return [Failure(images[row + int(i)].path, overflown) for i in np.flatnonzero(~finite)]


def _write(shard: Shard, arrays: dict[str, np.ndarray], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = shard.file(folder)
    temporary = file.with_suffix(".tmp")
    try:
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        about = {
            "key": shard.key,
            "start": shard.start,
            "stop": shard.stop,
            "sha256": sha256_of(temporary),
        }
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    write_atomic(shard.manifest(folder), json.dumps(about).encode())


def read_shard(shard: Shard, folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a finished shard, named as in :func:`arrays_of`."""
    with np.load(shard.file(folder), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
