"""Arrays whose rows come from several folders of features, by the content of the images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int

from aigi_core.errors import WorkspaceError
from aigi_core.statements import counted

BLOCK = 65536
"""Rows of an array that are in memory at once."""


@dataclass(frozen=True, eq=False)
class Source:
    """A folder with arrays of features, and the content hashes of their rows."""

    folder: Path
    hashes: Sequence[str] = field(repr=False)


def write_arrays(
    folder: Path, axes: Mapping[str, int], sources: Sequence[Source], hashes: Sequence[str]
) -> None:
    """Arrays of a folder by name, with the images' axis of each; their rows from the sources."""
    source_of, row_of = _located(hashes, sources)
    for name, axis in axes.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        arrays = [np.load(s.folder / name, mmap_mode="r", allow_pickle=False) for s in sources]
        with (folder / name).open("wb") as stream:
            _gather(stream, arrays, source_of, row_of, axis)
            stream.flush()
            os.fsync(stream.fileno())


def _located(
    hashes: Sequence[str], sources: Sequence[Source]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Which source has each image's features, and in which row."""
    place: dict[str, tuple[int, int]] = {}
    for number, source in reversed(list(enumerate(sources))):
        place |= {digest: (number, row) for row, digest in enumerate(source.hashes)}
    lacking = [digest for digest in hashes if digest not in place]
    if lacking:
        raise WorkspaceError(
            f"{counted(len(lacking), 'image', 'have')} no features in any source, such as the one"
            " whose content"
            f" has the SHA-256 {lacking[0][:12]}...: encode them first."
        )
    places = np.array([place[digest] for digest in hashes], dtype=np.int64).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _gather(
    stream: BinaryIO,
    arrays: Sequence[np.ndarray],
    source_of: Int[np.ndarray, " n"],
    row_of: Int[np.ndarray, " n"],
    axis: int,
) -> None:
    """Write an array whose rows come from several, in blocks: as large as the workspace may be.

    Written as a stream, not through a memory map, where a full disk kills the process.
    """
    first = arrays[0]
    n = len(source_of)
    shape = (*first.shape[:axis], n, *first.shape[axis + 1 :])
    np.lib.format.write_array_header_1_0(
        stream,
        {
            "descr": np.lib.format.dtype_to_descr(first.dtype),
            "fortran_order": False,
            "shape": shape,
        },
    )
    for run in np.ndindex(*first.shape[:axis]):
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            block = np.empty((stop - start, *first.shape[axis + 1 :]), first.dtype)
            for number, array in enumerate(arrays):
                mine = source_of[start:stop] == number
                if mine.any():
                    block[mine] = array[run][row_of[start:stop][mine]]
            stream.write(block.tobytes())
