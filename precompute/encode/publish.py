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

from aigi_core.capabilities import Capabilities
from aigi_core.clip.encoder import Encoder
from aigi_core.workspace import describe_file, read_manifest, tool_versions, write_manifest
from precompute.encode.shards import Shard, arrays_of, read_shard

FILES = ("embeddings.npy", "heads.npy", "ln_post.npy", "decomposition.npz")
"""All that an encoding may publish."""


def files_of(gives: Capabilities) -> tuple[str, ...]:
    """What is published of an encoder that gives these things."""
    return FILES if gives.has("heads") else FILES[:1]


def bytes_an_image(encoder: Encoder) -> int:
    """What the published arrays hold of one image."""
    heads = encoder.layers * encoder.heads * encoder.head_width * 2
    return encoder.embedding_width * 4 + (heads + 2 * 4 if heads else 0)


def merge(shards: Sequence[Shard], folder: Path, encoder: Encoder, out: Path) -> None:
    """Write the arrays of all shards, head-major, to `out`; one shard is in memory at a time.

    Written with seek and write, not through a memory map: there a full disk kills the process
    (SIGBUS), here it is an error that can be explained, and the pages written never count as this
    process's memory.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = shards[-1].stop
    shapes = arrays_of(encoder, rows)
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
                # [..., n, k]: one run of n rows for every head, or a single run where there is no
                # such axis.
                runs = array.reshape(-1, shard.stop - shard.start, array.shape[-1])
                row_bytes = runs[0, 0].nbytes
                for i, run in enumerate(runs):
                    streams[name].seek(offsets[name] + (i * rows + shard.start) * row_bytes)
                    streams[name].write(run.tobytes())
    if encoder.gives.has("heads"):
        with (out / "decomposition.npz").open("wb") as stream:
            np.savez(stream, allow_pickle=False, **encoder.adapter.maps())
    for name in files_of(encoder.gives):
        with (out / name).open("rb") as stream:
            os.fsync(stream.fileno())


def publish(workspace: Path, merged: Path, encoder: Encoder, batch_size: int) -> None:
    """Move merged arrays into the workspace and name them in its manifest, last of all.

    Where the workspace was encoded before (and found damaged), it counts as not encoded while files
    are moved.
    """
    manifest: dict[str, Any] = read_manifest(workspace)
    kept = {name: entry for name, entry in manifest["files"].items() if name not in FILES}
    names = files_of(encoder.gives)
    new = {name: describe_file(merged, name) for name in names}
    if manifest.get("encoder"):
        write_manifest(workspace, manifest | {"encoder": None, "files": kept})
    for name in names:
        (merged / name).replace(workspace / name)
    manifest.pop("encoding", None)
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
