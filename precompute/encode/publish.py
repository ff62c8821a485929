"""Merge finished shards into the workspace's arrays and publish them: a reader sees all of them or
none.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from aigi_core.clip.encoder import Encoder
from aigi_core.workspace import describe_file, read_manifest, tool_versions, write_manifest
from precompute.encode.shards import ARRAYS, Shard, read_shard

FILES = ("embeddings.npy", "heads.npy", "ln_post.npy", "decomposition.npz")


def bytes_an_image(encoder: Encoder) -> int:
    """What the published arrays hold of one image."""
    return (
        encoder.layers * encoder.heads * encoder.head_width * 2
        + encoder.embedding_width * 4
        + 2 * 4
    )


def merge(shards: Sequence[Shard], folder: Path, encoder: Encoder, out: Path) -> None:
    """Write the arrays of all shards, head-major, to `out`; one shard is in memory at a time.

    Written with seek and write, not through a memory map: there a full disk kills the process
    (SIGBUS), here it is an error that can be explained, and the pages written never count as this
    process's memory.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = shards[-1].stop
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "embeddings": ((rows, encoder.embedding_width), np.float32),
        "heads": ((encoder.layers, encoder.heads, rows, encoder.head_width), np.float16),
        "ln_post": ((rows, 2), np.float32),
    }
    offsets = {
        name: np.lib.format.open_memmap(
            out / f"{name}.npy", mode="w+", dtype=dtype, shape=shape
        ).offset
        for name, (shape, dtype) in shapes.items()
    }
    with ExitStack() as stack:
        streams = {name: stack.enter_context((out / f"{name}.npy").open("r+b")) for name in ARRAYS}
        for shard in shards:
            for name, array in read_shard(shard, folder).items():
                # [..., n, k]: one run of n rows for every head, or a single run where there is no
                # such axis.
                runs = array.reshape(-1, shard.stop - shard.start, array.shape[-1])
                row_bytes = runs[0, 0].nbytes
                for i, run in enumerate(runs):
                    streams[name].seek(offsets[name] + (i * rows + shard.start) * row_bytes)
                    streams[name].write(run.tobytes())
    with (out / "decomposition.npz").open("wb") as stream:
        np.savez(stream, allow_pickle=False, **encoder.decomposition())
    for name in FILES:
        with (out / name).open("rb") as stream:
            os.fsync(stream.fileno())


def publish(workspace: Path, merged: Path, encoder: Encoder, batch_size: int) -> None:
    """Move merged arrays into the workspace and name them in its manifest, last of all.

    Where the workspace was encoded before (and found damaged), it counts as not encoded while files
    are moved.
    """
    manifest: dict[str, Any] = read_manifest(workspace)
    kept = {name: entry for name, entry in manifest["files"].items() if name not in FILES}
    new = {name: describe_file(merged, name) for name in FILES}
    if manifest.get("encoder"):
        write_manifest(workspace, manifest | {"encoder": None, "files": kept})
    for name in FILES:
        (merged / name).replace(workspace / name)
    write_manifest(
        workspace,
        manifest
        | {
            "encoder": encoder.describe()
            | {"device": encoder.device.type, "batch_size": batch_size},
            "files": kept | new,
            "tools": tool_versions(),
        },
    )


def clean(folder: Path) -> None:
    """Remove what an encoding leaves behind once it is published."""
    shutil.rmtree(folder, ignore_errors=True)
