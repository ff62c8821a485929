"""Merge finished shards into the workspace's arrays and publish them: a reader sees all of them or
none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from aigi_core import stored_features
from aigi_core.clip.encoder import Encoder
from aigi_core.encodings import SPEED
from aigi_core.soundness import read_parquet, rows_record
from aigi_core.workspace import describe_file, read_manifest, tool_versions, write_manifest
from precompute.encode.shards import Shard, arrays_of, read_shard


def bytes_an_image(encoder: Encoder, features: Sequence[str] | None = None) -> int:
    """What the published arrays hold of one image; of the default features where none are named."""
    names = stored_features.default(encoder.gives) if features is None else features
    arrays = arrays_of(encoder, 1, names).values()
    return sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in arrays)


def merge(shards: Sequence[Shard], folder: Path, encoder: Encoder, out: Path) -> None:
    """Write the arrays of all shards, head-major, to `out`; one shard is in memory at a time.

    Written with seek and write, not through a memory map: there a full disk kills the process
    (SIGBUS), here it is an error that can be explained, and the pages written never count as this
    process's memory.
    """
    rows, features = shards[-1].stop, shards[-1].features
    shapes = arrays_of(encoder, rows, features)
    axes = stored_features.array_axes([f"{name}.npy" for name in shapes])
    for name in shapes:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    offsets = {
        name: np.lib.format.open_memmap(
            out / f"{name}.npy", mode="w+", dtype=dtype, shape=shape
        ).offset
        for name, (shape, dtype) in shapes.items()
    }
    with ExitStack() as stack:
        streams = {name: stack.enter_context((out / f"{name}.npy").open("r+b")) for name in shapes}
        for shard in shards:
            for name, array in read_shard(shard, folder).items():
                # One run of n rows for every head or layer, or a single run where there is no such
                # axis.
                before = prod(array.shape[: axes[f"{name}.npy"]])
                runs = array.reshape(before, shard.stop - shard.start, -1)
                row_bytes = runs[0, 0].nbytes
                for i, run in enumerate(runs):
                    streams[name].seek(offsets[name] + (i * rows + shard.start) * row_bytes)
                    streams[name].write(run.tobytes())
    if stored_features.HEADS in features:
        with (out / "decomposition.npz").open("wb") as stream:
            np.savez(stream, allow_pickle=False, **encoder.adapter.maps())
    for name in stored_features.files(features):
        with (out / name).open("rb") as stream:
            os.fsync(stream.fileno())


def publish(
    workspace: Path, merged: Path, encoder: Encoder, batch_size: int, features: Sequence[str]
) -> None:
    """Move merged arrays into the workspace and name them in its manifest, last of all.

    Where some were there before (and found damaged), the workspace counts as not encoded while
    files are moved; features that only join others leave it readable throughout.
    """
    manifest: dict[str, Any] = read_manifest(workspace)
    names = stored_features.files(features)
    kept = {name: entry for name, entry in manifest["files"].items() if name not in names}
    new = {name: describe_file(merged, name) for name in names}
    if manifest.get("encoder") and len(kept) < len(manifest["files"]):
        write_manifest(workspace, manifest | {"encoder": None, "files": kept})
    for name in names:
        (workspace / name).parent.mkdir(exist_ok=True)
        (merged / name).replace(workspace / name)
    manifest.pop("encoding", None)
    speed = merged.parent / SPEED
    if stored_features.EMBEDDING in features and speed.is_file():
        speed.replace(workspace / SPEED)
    write_manifest(
        workspace,
        manifest
        | {
            "encoder": encoder.describe()
            | {
                "device": encoder.device.type,
                "batch_size": batch_size,
                "features": list(stored_features.stored([*kept, *new])),
            },
            "files": kept | new,
            "rows": rows_record(read_parquet(workspace / "images.parquet"), kept | new),
            "tools": tool_versions(),
        },
    )


def clean(folder: Path) -> None:
    """Remove what an encoding leaves behind once it is published."""
    shutil.rmtree(folder, ignore_errors=True)
