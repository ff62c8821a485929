"""Ingest from folders, Parquet and tars against plain decoding of the same files: files a second,
peak memory at 1 and 10 times as many.

As many processes read as decode plainly, so that the ratio is not that of cores, and both are of
one kind: limited, with the same memory allocator, started before a run that counts. Plain
decoding is Pillow's, to RGB, from plain files that a process is given once; ingest finds the files,
decodes, hashes, reads metadata and draws a preview, and hands over each result. Each repetition has
processes of its own, so that no single pair of them decides; in it, runs follow each other closely,
and the ratio is the median of the repetitions' ratios.
With one process the ratios of processor time stand beside those of the clock.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from aigi_core.processes import LimitedProcesses, shared
from benchmarks._memory import peak_resident_bytes
from precompute.ingest.decode import close_processes, facts_of_all
from precompute.ingest.layouts import find_candidates

KINDS = ("folder", "parquet", "tar")
GROUP = 100
"""Rows of a row group: what Hugging Face's datasets write of images."""
GOAL = 1.3


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; ``ingest_overhead_ratio`` is the largest of the three kinds'."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ingest")
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--side", type=int, default=512, help="pixels of a side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--processes", type=int, default=1, help="that decode plainly, and that ingest has"
    )
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        roots = {kind: write(Path(scratch) / kind, kind, args.files, args.side) for kind in KINDS}
        result: dict[str, Any] = {
            "files": args.files,
            "kilobytes_a_file": sum(f.stat().st_size for f in roots["folder"].rglob("*.jpg"))
            / args.files
            / 1000,
            "processes": args.processes,
            "load": os.getloadavg()[0],
            **compared(roots, args.files, args.processes, args.repeats),
            "goal": GOAL,
        }
        for kind in ("parquet", "tar"):
            for times in (1, 10):
                root = write(
                    Path(scratch) / f"{kind}-{times}", kind, times * args.files // 3, args.side
                )
                result[f"{kind}_peak_mb_{times}x"] = fresh_peak(root) / 2**20
    return result


def compared(roots: dict[str, Path], files: int, processes: int, repeats: int) -> dict[str, Any]:
    """Files a second of each kind, and its time over that of plain decoding, with the least and the
    largest of the repetitions."""
    clock: dict[str, list[float]] = {name: [] for name in ("plain", *KINDS)}
    cpu: dict[str, list[float]] = {name: [] for name in clock}
    for _ in range(repeats):
        shared().close()
        close_processes()
        plain = LimitedProcesses(processes, processes)
        runs: dict[str, tuple[LimitedProcesses, Callable[[], object]]] = {
            "plain": (plain, partial(decode_all, plain, roots["folder"], processes)),
            **{kind: (shared(), partial(read, roots[kind], processes)) for kind in KINDS},
        }
        try:
            for counts in (False, True):  # the first run starts the processes
                for name, (reader, run) in runs.items():
                    began, before = time.perf_counter(), processor_time(reader)
                    run()
                    if counts:
                        clock[name].append(time.perf_counter() - began)
                        cpu[name].append(processor_time(reader) - before)
        finally:
            plain.close()
    ratios, spent = ({kind: _over(of, kind) for kind in KINDS} for of in (clock, cpu))
    result: dict[str, Any] = {
        f"{name}_files_per_second": files / statistics.median(values)
        for name, values in clock.items()
    }
    for kind, of in ratios.items():
        result[f"{kind}_overhead_ratio"] = statistics.median(of)
        result[f"{kind}_overhead_range"] = [min(of), max(of)]
        if processes == 1:  # of several, which one answers is not known
            result[f"{kind}_cpu_overhead_ratio"] = statistics.median(spent[kind])
    return result | {"ingest_overhead_ratio": max(map(statistics.median, ratios.values()))}


def _over(seconds: dict[str, list[float]], kind: str) -> list[float]:
    """Of each repetition, a kind's time over that of plain decoding."""
    return [one / plain for one, plain in zip(seconds[kind], seconds["plain"], strict=True)]


def processor_time(reader: LimitedProcesses) -> float:
    """Seconds of this process and of the one that waits for work, where that is a single one."""
    (inside,) = reader.map(time.process_time, [()])
    return time.process_time() + float(inside)  # type: ignore[arg-type]


def picture(seed: int, side: int) -> bytes:
    """A JPEG with detail: noise over a smooth ground."""
    rng = np.random.default_rng(seed)
    ground = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    noisy = np.asarray(ground).astype(int) + rng.integers(-12, 13, (side, side, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write(root: Path, kind: str, files: int, side: int) -> Path:
    """A data set of one kind; half of its images are called fake."""
    root.mkdir(parents=True)
    label = ["fake" if i % 2 else "real" for i in range(files)]
    contents = (picture(i, side) for i in range(files))
    if kind == "parquet":
        schema = pa.schema({"image": pa.binary(), "label": pa.string(), "model": pa.string()})
        with pq.ParquetWriter(root / "train-0.parquet", schema) as writer:
            for first in range(0, files, GROUP):
                names = label[first : first + GROUP]
                rows = {
                    "image": [next(contents) for _ in names],
                    "label": names,
                    "model": ["x" if name == "fake" else "" for name in names],
                }
                writer.write_table(pa.table(rows, schema))
    elif kind == "tar":
        for name in ("real", "fake/x"):
            (root / name).mkdir(parents=True)
        with (
            tarfile.open(root / "real/0.tar", "w") as real,
            tarfile.open(root / "fake/x/0.tar", "w") as fake,
        ):
            for i, content in enumerate(contents):
                info = tarfile.TarInfo(f"{i:06d}.jpg")
                info.size = len(content)
                (fake if i % 2 else real).addfile(info, io.BytesIO(content))
    else:
        for i, content in enumerate(contents):
            folder = root / ("fake/x" if i % 2 else "real")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:06d}.jpg").write_bytes(content)
    return root


def decode_all(reader: LimitedProcesses, root: Path, processes: int) -> int:
    """Plain decoding of every file, each process given its share at once."""
    files = sorted(root.rglob("*.jpg"))
    shares = [files[i::processes] for i in range(processes)]
    with ThreadPoolExecutor(processes) as pool:  # a thread waits for a process
        answers = list(pool.map(lambda share: list(reader.map(decode, [(share,)])), shares))
    return sum(pixels for (pixels,) in answers if isinstance(pixels, int))


def decode(files: Sequence[Path]) -> int:
    """Plain decoding of some files."""
    pixels = 0
    for file in files:
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            pixels += image.convert("RGB").width
    return pixels


def read(root: Path, processes: int = 1) -> int:
    """What ingest does of every file: find it, decode it, take its facts."""
    table = find_candidates(root).table
    places = list(table[["path", "offset"]].itertuples(index=False, name=None))
    facts = facts_of_all(root, places, workers=processes, progress=False)
    assert all(not fact["left_out"] for fact in facts)
    return len(facts)


def fresh_peak(root: Path) -> int:
    """Peak resident bytes of a fresh process that reads a data set."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_peak, root).result()


def _peak(root: Path) -> int:
    read(root)
    return peak_resident_bytes()
