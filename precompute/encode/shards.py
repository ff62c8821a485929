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

from aigi_core import stored_features
from aigi_core.clip.encoder import Encoder
from aigi_core.clip.towers import EncodedBatch
from aigi_core.record import read_json
from aigi_core.workspace import digest_of, sha256_of, write_atomic
from precompute.encode.reader import Failure, ReadBatch, Wanted

OVERFLOW = {
    "": "its features overflow: use --precision fp32 or bf16, or other weights",
    **dict.fromkeys(
        ("layers", "norm2"),
        "its layers' tokens lie beyond the range of half precision, in which they are kept: leave"
        " layers and norm2 out of --features",
    ),
}
"""Why features are no numbers, by what they are."""


def arrays_of(
    encoder: Encoder, rows: int, features: Sequence[str]
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name -> shape and type of the arrays that an encoding of these features computes."""
    return stored_features.shapes(
        features,
        rows,
        embedding_width=encoder.embedding_width,
        layers=encoder.layers,
        heads=encoder.heads,
        head_width=encoder.head_width,
        width=encoder.width,
    )


@dataclass(frozen=True)
class Shard:
    """A run of consecutive images, computed in fixed batches.

    Attributes:
        start, stop: rows of the workspace's arrays.
        table: all images of the workspace, columns path, content_hash and, where archives hold
            some, offset; shared by all shards, so that a million images are held once, as the
            columns of a table.
        identity: what else shapes the result; see :func:`identity_of`.
        features: what is computed of each image, by name (:mod:`aigi_core.stored_features`).
    """

    index: int
    start: int
    stop: int
    batch_size: int
    table: pd.DataFrame = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)
    features: tuple[str, ...]

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


def identity_of(encoder: Encoder, features: Sequence[str]) -> dict[str, Any]:
    """What makes two encoders' shards interchangeable. Features stand in it where they are not the
    default ones, so that runs begun before there was a choice go on.
    """
    usual = tuple(features) == stored_features.default(encoder.gives)
    return ({} if usual else {"features": list(features)}) | {
        "settings": dict(encoder.settings),
        "weights_sha256": encoder.weights_sha256,
        "preprocessing_sha256": encoder.preprocessing.sha256,
        "precision": encoder.precision,
        "device": encoder.device.type,
    }


def cut(
    table: pd.DataFrame,
    shard_size: int,
    batch_size: int,
    encoder: Encoder,
    features: Sequence[str] | None = None,
) -> list[Shard]:
    """Cut the images into shards of `shard_size` (the last may be shorter); ``features`` are the
    default ones where none are named.
    """
    names = stored_features.default(encoder.gives) if features is None else tuple(features)
    identity, rows = identity_of(encoder, names), len(table)
    return [
        Shard(index, start, min(start + shard_size, rows), batch_size, table, identity, names)
        for index, start in enumerate(range(0, len(table), shard_size))
    ]


def is_done(shard: Shard, folder: Path) -> bool:
    """Whether the shard's file is there, whole and for this very shard."""
    try:
        manifest = read_json(shard.manifest(folder))
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
        name: np.empty(shape, dtype)
        for name, (shape, dtype) in arrays_of(encoder, rows, shard.features).items()
    }
    extras = stored_features.tokens(shard.features)
    failures: list[Failure] = []
    # The device computes a batch while the one before it is fetched and stored.
    under_way: tuple[int, EncodedBatch] | None = None
    row = 0
    for batch in islice(batches, -(-rows // shard.batch_size)):
        failures += batch.failures
        full = _filled(batch.pixels, shard.batch_size)
        launched = None if failures else (row, encoder.encode_images(full, extras))
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
    computed = {"embeddings": batch.embedding, "heads": batch.heads, "ln_post": batch.ln_post}
    failures: dict[int, str] = {}
    for feature in shard.features:
        for name, (axis, _) in stored_features.kind(feature).arrays.items():
            values = computed.get(name, batch.extras.get(feature))
            assert values is not None, f"the tower was asked for {feature}"
            target = np.moveaxis(arrays[name], axis, 0)[row:stop]
            part = values.narrow(axis, 0, n)
            if arrays[name].dtype == np.float16:
                part = part.half()
            target[...] = np.moveaxis(part.cpu().numpy(), axis, 0)
            bad = ~np.isfinite(target).reshape(n, -1).all(axis=1)
            for i in np.flatnonzero(bad):
                failures.setdefault(int(i), OVERFLOW.get(feature, OVERFLOW[""]))
    images = shard.images
    return [Failure(images[row + i].path, why) for i, why in sorted(failures.items())]


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
