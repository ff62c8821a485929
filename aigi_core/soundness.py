"""Whether a workspace holds what its readers rely on: the one place that checks it.

:func:`check_opened` runs whenever a workspace is opened, after its record was checked
(:mod:`aigi_core.record`): columns, types, shapes and, up to :data:`READ_AT_OPEN`, values.
:func:`check_values` reads all values, for ``verify``. What passes can be shown.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from aigi_core import stored_features
from aigi_core.commands import build_anew
from aigi_core.errors import WorkspaceError
from aigi_core.statements import counted
from aigi_core.stored_features import array_axes

if TYPE_CHECKING:
    from aigi_core.workspace import Workspace

READ_AT_OPEN = 64 * 2**20
"""Bytes of an array up to which its values are looked at when a workspace is opened."""
MOST_NPZ = 2**30
"""Bytes of an .npz archive after decompression; a larger one is refused unread."""
MOST_CELLS, CELLS_A_BYTE = 10_000_000, 16
MOST_TABLE, PACKED = 256 * 2**20, 64
"""Values, and bytes after decompression, that any Parquet file may hold, and how many more for each
of its own bytes. A workspace's own have at most one value and 2 bytes for each; equal values take
nothing, so that a kilobyte can name billions of them."""


OF_HEADS = stored_features.files([stored_features.HEADS])
"""Files without which a workspace has an embedding alone: pages say so, and what to do."""


def _has_heads(workspace: Workspace) -> bool:
    return workspace.gives.has("heads") and all(
        name in workspace.manifest["files"] for name in OF_HEADS
    )


IN_ORDER = ("content_hash", "label", "generator")
"""Columns of an image that features are trained and judged by: recorded in their order."""
DIVIDED = ("split", "pool", "group", "family")
"""Columns that say which images are trained on, tested and compared with each other: likewise."""


def rows_record(images: pd.DataFrame, files: Mapping[str, Any]) -> dict[str, str]:
    """What ties each row of the features to its image: the manifest's entry ``rows``.

    ``images`` is a digest of the content hash, label and generator of every image kept, in order;
    ``divided`` is one of :data:`DIVIDED`; ``features`` is one of ``images`` and of the features'
    own digests. Who changes the table or an array and mends the hash of that file alone is noticed
    when the workspace is opened.

    Args:
        images: a table of images, those left out included.
        files: the manifest's entry ``files``.
    """
    kept = pa.Table.from_pandas(
        images.loc[images["left_out"] == "", [*IN_ORDER, *DIVIDED]], preserve_index=False
    )
    order, divided = (_digest(kept, names) for names in (IN_ORDER, DIVIDED))
    both = [order, *(files[name]["sha256"] for name in sorted(array_axes(files)))]
    features = sha256("\n".join(both).encode()).hexdigest()
    return {"images": order, "divided": divided, "features": features}


def _digest(table: pa.Table, columns: tuple[str, ...]) -> str:
    digest = sha256()
    for name in columns:
        digest.update(_lines(table[name]))
        digest.update(b"\0")
    return digest.hexdigest()


def _lines(column: pa.ChunkedArray) -> memoryview:
    """What a column holds, one a line, in UTF-8: joined as Python's own texts, a million take half
    a second."""
    texts = pc.cast(column, pa.large_string()).combine_chunks()
    if not len(texts):
        return memoryview(b"")
    lines = pc.binary_join_element_wise(texts, *map(_large, ("", "\n")))
    _, ends, content = lines.buffers()
    first, last = np.frombuffer(ends, np.int64)[[lines.offset, lines.offset + len(lines)]]
    return memoryview(content)[first : last - 1]


def _large(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def moved_rows(images: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """What shows that rows of features and images no longer belong together; empty where they do.

    Args:
        images: the table of images, those left out included.
        manifest: with the entries ``files`` and, where they were recorded, ``rows`` and its parts.
    """
    recorded = manifest.get("rows")
    if not recorded:
        return ""
    actual = rows_record(images, manifest["files"])
    changed = {name for name, digest in recorded.items() if actual.get(name, digest) != digest}
    if not changed:
        return ""
    if changed == {"divided"}:
        return "its images have other splits, pools, groups or families than were recorded"
    if "images" in changed:
        return (
            "the images stand in another order, or with other labels or generators, than when they"
            " were encoded"
        )
    return "its features are not those that were computed for these images in this order"


def read_npz(file: Path | Any, most: int = MOST_NPZ) -> dict[str, np.ndarray]:
    """Arrays of an .npz, refused where it would take more than ``most`` bytes.

    Args:
        file: a path or an open binary file.

    Raises:
        ValueError: not an .npz, damaged, or too large.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > most:
                raise ValueError(
                    f"it would take {counted(size, 'byte')}, at most {most:,} are read"
                )
        if hasattr(file, "seek"):
            file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except ValueError:
        raise
    # whatever a hostile archive makes zipfile, zlib and numpy raise
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def read_parquet(file: Path | BytesIO, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table, refused unread where it would take far more memory than its file.

    Raises:
        ValueError: not a Parquet file, damaged, or too large.
    """
    open_parquet(file).close()
    return pd.read_parquet(file, columns=None if columns is None else list(columns))


def open_parquet(file: Path | BytesIO) -> parquet.ParquetFile:
    """A table of which nothing but its description was read; raises ValueError where that names
    more values or bytes than :data:`MOST_CELLS` and :data:`MOST_TABLE` allow."""
    own = len(file.getbuffer()) if isinstance(file, BytesIO) else file.stat().st_size
    opened = parquet.ParquetFile(file)
    about = opened.metadata
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
    for what, has, most in (
        ("row", about.num_rows, max(MOST_CELLS, CELLS_A_BYTE * own)),
        ("value", sum(chunk.num_values for chunk in chunks), max(MOST_CELLS, CELLS_A_BYTE * own)),
        ("byte", sum(c.total_uncompressed_size for c in chunks), max(MOST_TABLE, PACKED * own)),
    ):
        if has > most:
            opened.close()
            raise ValueError(f"it names {counted(has, what)}, of {most:,} that its size allows")
    return opened


def check_opened(workspace: Workspace) -> None:
    """The table of images, and types and shapes of all arrays, in an encoded workspace.

    Raises:
        WorkspaceError: one sentence on the first thing that contradicts the format.
    """
    for problem in _guarded(workspace, _problems(workspace)):
        raise WorkspaceError(problem)


def check_values(workspace: Workspace) -> list[str]:
    """All values, read in blocks; one sentence for each array with values that are no numbers."""
    return list(_guarded(workspace, _values(workspace, most=None)))


def _guarded(workspace: Workspace, problems: Iterator[str]) -> Iterator[str]:
    """The same sentences with the workspace's path; what raises is a problem like any other."""
    advice = build_anew(workspace.path, workspace.manifest)
    try:
        for problem in problems:
            yield f"The workspace {workspace.path} is damaged: {problem}; {advice}."
    except Exception as error:  # nothing that a file holds may end in a traceback
        what = " ".join(str(error).split()) or type(error).__name__
        yield f"The workspace {workspace.path} is damaged: {what.rstrip('.')}; {advice}."


def _problems(workspace: Workspace) -> Iterator[str]:
    n, encoder = len(workspace.images), workspace.encoder
    d = encoder["embedding_width"]
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "embeddings.npy": (workspace.embeddings, (n, d))
    }
    if _has_heads(workspace):
        layers, heads, width = (encoder[name] for name in ("layers", "heads", "head_width"))
        maps = workspace.decomposition
        expected |= {
            "heads.npy": (workspace.heads, (layers, heads, n, width)),
            "ln_post.npy": (workspace.ln_post, (n, 2)),
            "decomposition.npz": (maps["head_maps"], (layers, heads, width, d)),
        }
    expected |= {
        f"{array}.npy": (workspace.feature(name), shape)
        for name in stored_features.tokens(workspace.stored_features)
        for array, (shape, _) in stored_features.shapes(
            [name],
            n,
            embedding_width=d,
            layers=encoder["layers"],
            heads=0,
            head_width=0,
            width=encoder["width"],
        ).items()
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            yield (
                f"{name}: shape {array.shape} contradicts the table of images and the encoder's"
                f" record, {shape}"
            )
        if array.dtype.kind != "f":
            yield f"{name} holds {array.dtype}, expected floating-point numbers"
    moved = moved_rows(workspace.all_images, workspace.manifest)
    if moved:
        yield moved
    for bank in workspace.text_banks:
        texts = workspace.text_bank(bank)
        if "text" not in texts.table.columns or texts.table["text"].isna().any():
            yield f"text/{bank}.parquet lacks texts"
        if texts.embeddings.shape != (len(texts.table), d) or texts.embeddings.dtype.kind != "f":
            yield (
                f"text/{bank}.npy: {texts.embeddings.dtype} of shape {texts.embeddings.shape}"
                f" contradicts its {counted(len(texts.table), 'text')} and the width {d}"
            )
    yield from _values(workspace, most=READ_AT_OPEN)


def _values(workspace: Workspace, most: int | None) -> Iterator[str]:
    """Values that are no numbers, in all of each array or in its first and last ``most`` bytes."""
    arrays: dict[str, np.ndarray] = {"embeddings.npy": workspace.embeddings}
    if _has_heads(workspace):
        arrays["ln_post.npy"] = workspace.ln_post
        if most is None:
            arrays["heads.npy"] = workspace.heads
        arrays["decomposition.npz"] = workspace.decomposition["head_maps"]
    if most is None:
        arrays |= {
            name: workspace.feature(name)
            for name in stored_features.tokens(workspace.stored_features)
        }
    arrays |= {f"text/{b}.npy": workspace.text_bank(b).embeddings for b in workspace.text_banks}
    for name, array in arrays.items():
        flat = array.reshape(-1) if array.flags.c_contiguous else array.ravel()
        step = 2**20
        starts = list(range(0, len(flat), step))
        if most is not None and array.nbytes > most:
            starts = [*starts[:8], *starts[-8:]]
        if not all(np.isfinite(part).all() for part in _read(flat, starts, step)):
            yield f"{name} holds values that are no numbers (NaN or infinity)"
    if _has_heads(workspace) and not (np.asarray(workspace.ln_post[:, 1]) > 0).all():
        yield "ln_post.npy holds a standard deviation that is not above 0"


def _read(flat: np.ndarray, starts: Iterable[int], step: int) -> Iterator[np.ndarray]:
    """Parts of an array: of a memory map read from its file, for pages of the map that were looked
    at count as this process's memory until it ends."""
    file = getattr(flat, "filename", None)
    if file is None:
        yield from (flat[start : start + step] for start in starts)
        return
    with Path(file).open("rb") as stream:
        for start in starts:
            stream.seek(flat.offset + start * flat.itemsize)  # type: ignore[attr-defined]
            yield np.fromfile(stream, flat.dtype, min(step, len(flat) - start))
