"""Encode a workspace: decide what is computed and how, map :func:`encode_shard` over its shards,
publish.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from aigi_core import stored_features
from aigi_core.capabilities import CLASS_TOKEN, HEADS
from aigi_core.clip.encoder import Encoder
from aigi_core.commands import command, encoder_options, images_options
from aigi_core.encodings import home_of, write_speed
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.record import read_json
from aigi_core.remote import RemotePath, as_path
from aigi_core.soundness import moved_rows, read_parquet
from aigi_core.statements import counted
from aigi_core.terminal import progress_options
from aigi_core.workspace import (
    exclusive,
    read_manifest,
    sha256_of,
    write_atomic,
    write_manifest,
)
from precompute.encode.publish import bytes_an_image, clean, merge, publish
from precompute.encode.reader import Failure, ReadBatch, read_batches
from precompute.encode.shards import Shard, cut, encode_shard, is_done
from precompute.engine import Engine
from precompute.shares import Share

WORKING = ".encode"
"""Folder inside the workspace that holds shards until they are published."""
FAILURES_SHOWN = 5


@dataclass(frozen=True)
class Division:
    """How the shards of an encoding are divided over machines; by default not at all.

    Attributes:
        share: compute this share of the shards and merge nothing.
        engine: whose workers compute the shards, each with an encoder of its own that ``load``
            gives there; None computes here, reading images in processes beside.
    """

    share: Share | None = None
    engine: Engine | None = None
    load: Callable[[], Encoder] | None = None


def encode(
    workspace: Path,
    encoder: Encoder,
    *,
    asked: Mapping[str, str | None] | None = None,
    images: Path | None = None,
    batch_size: int | None = None,
    shard_size: int | None = None,
    workers: int | None = None,
    features: Sequence[str] | None = None,
    division: Division = Division(),
) -> str:
    """Encode every kept image of an ingested workspace; goes on where an earlier run stopped.

    Args:
        asked: the options that named the encoder: what a message about an interrupted encoding
            tells to give again.
        images: the images' folder, where it is not the one that ingest recorded.
        features: what to keep of each image (:mod:`aigi_core.stored_features`); None keeps the
            embedding and, where the encoder has them, the heads. What a workspace holds already is
            kept, what it lacks is added to it.
        batch_size, shard_size, workers: None chooses by device.
        division: a share of the shards is computed and nothing published, or an engine's workers
            compute them.

    Returns:
        A sentence on what was done.

    Raises:
        NotGivenError: a feature that this encoder cannot give.
        WorkspaceError: not ingested, damaged, being written by another, or holding features of
            another encoder.
        AigiError: images that cannot be read (all of them are named or counted; the shards without
            them are kept), a full disk, a batch that does not fit in memory.
    """
    read_manifest(workspace)
    stored_features.require(features or (), encoder.gives, encoder.model)
    share = division.share
    with nullcontext() if share else exclusive(workspace, "encode"):
        if not share:
            for left in (*workspace.glob("*.tmp"), *(workspace / WORKING).glob("*.tmp")):
                left.unlink()  # of a killed run: nobody else writes here now
        manifest = read_manifest(workspace)
        table = kept_images(workspace, manifest)
        wanted = stored_features.default(encoder.gives) if features is None else features
        record = manifest.get("encoder")
        if record:
            beside = command(
                "encode",
                workspace=home_of(workspace),
                **{"as": "second"},
                **(asked or encoder_options(_asked(encoder))),
            )
            _refuse_other(
                f"The workspace {workspace} was encoded",
                record,
                _asked(encoder),
                f"to keep both, run '{beside}', or build a workspace of its own with another --out",
            )
            known = record.get("features", stored_features.default(encoder.gives))
            wanted = stored_features.ordered([*known, *(features or ())])
            batch_size = batch_size or record.get("batch_size")
            wanted = tuple(
                feature
                for feature in wanted
                if not all(
                    sound(workspace, name, manifest) for name in stored_features.files([feature])
                )
            )
            if not wanted:
                if not share:
                    clean(workspace / WORKING)
                return (
                    f"Nothing to do: {workspace} already holds these features of its"
                    f" {counted(len(table), 'image')}."
                )
            if moved := moved_rows(read_parquet(workspace / "images.parquet"), manifest):
                raise WorkspaceError(
                    f"The workspace {workspace} was changed: {moved}. Features that are added now"
                    " would stand beside other images: build it again, or take back a copy of it."
                )
        root = image_root(workspace, manifest, images)
        working = workspace / WORKING
        plan = plan_sizes(working, encoder, batch_size, shard_size)
        if asked and not manifest.get("encoder") and not share:
            write_manifest(workspace, manifest | {"encoding": dict(asked)})
        shards = cut(table, plan["shard_size"], plan["batch_size"], encoder, wanted)
        with resource_errors_explained(working, plan["batch_size"]):
            missing, seconds = compute(shards, encoder, root, working, workers, division=division)
            if share:
                return share_in_words(share, missing, seconds)
            publish(workspace, working / "merged", encoder, plan["batch_size"], wanted)
        clean(working)
        name = " ".join(filter(None, (encoder.model, encoder.pretrained)))
        return (
            f"Encoded {amount_in_words(len(table), missing, seconds)} with {name} "
            f"on {encoder.device} in {encoder.precision}: {features_in_words(encoder, wanted)}"
            f" ({counted(bytes_an_image(encoder, wanted), 'byte')} an image)."
        )


def _machine(device: torch.device) -> str:
    """What computed: the GPU's name, or the processor's as far as the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def features_in_words(encoder: Encoder, features: Sequence[str]) -> str:
    """What is kept of each image."""
    parts = []
    if stored_features.EMBEDDING in features:
        parts.append(f"embeddings of {encoder.embedding_width}")
    if stored_features.HEADS in features:
        parts.append(heads_in_words(encoder))
    elif stored_features.EMBEDDING in features:
        parts.append("no heads, as told" if encoder.gives.heads else heads_in_words(encoder))
    for name in stored_features.tokens(features):
        size = f" ({encoder.layers} x {encoder.width})"
        if name not in ("layers", "norm2"):
            size = f" of {encoder.width}"
        parts.append(f"{stored_features.kind(name).title}{size}")
    return ", ".join(parts)


def heads_in_words(encoder: Encoder) -> str:
    """What is cached of the attention heads."""
    gives = encoder.gives
    if not gives.heads:
        return f"no heads, since {gives.lacks['heads']}"
    size = f"{encoder.layers} x {counted(encoder.heads, 'head')} of {encoder.head_width}"
    return size if gives.heads == CLASS_TOKEN else f"{size}, {HEADS[gives.heads]}"


@contextmanager
def resource_errors_explained(working: Path, batch_size: int) -> Iterator[None]:
    """Say in a sentence what to do where the device's memory or the disk is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise AigiError(
            f"A batch of {counted(batch_size, 'image')} does not fit in the device's memory: delete"
            f" {working}"
            f" and run again with --batch-size {max(1, batch_size // 2)}."
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise AigiError(
            f"The disk of {working.parent} is full: free some space and run the same command again;"
            " finished shards are kept and it goes on from there."
        ) from error


def compute(
    shards: Sequence[Shard],
    encoder: Encoder,
    root: Path,
    working: Path,
    workers: int | None,
    *,
    what: str = "Encoding",
    division: Division = Division(),
) -> tuple[int, float]:
    """Map :func:`encode_shard` over the shards that are not done and merge all of them into
    ``working/merged``; of a share, its shards only, and nothing is merged.

    Returns:
        How many images were computed, and in how many seconds.
    """
    mine = division.share.of(shards) if division.share else list(shards)
    pending = [shard for shard in mine if not is_done(shard, working)]
    rows, missing = (sum(shard.stop - shard.start for shard in part) for part in (mine, pending))
    merged = 0 if division.share else shards[-1].stop
    _require_space(working, (merged + missing) * bytes_an_image(encoder, shards[-1].features))
    began, began_core = time.monotonic(), time.process_time()
    with Progress(total=rows, initial=rows - missing, device=encoder.device, what=what) as progress:
        if division.engine is None:
            failures = _computed_here(pending, encoder, root, working, workers, progress)
        else:
            failures = _computed_by(division, pending, root, working, progress)
    if failures:
        raise AigiError(_failed(failures, root))
    seconds, core_seconds = time.monotonic() - began, time.process_time() - began_core
    if not division.share:
        merge(shards, working, encoder, working / "merged")
    if missing and division == Division():
        write_speed(
            working,
            {
                "images": missing,
                "seconds": seconds,
                "core_seconds": core_seconds,
                "device": encoder.device.type,
                "machine": _machine(encoder.device),
                "threads": torch.get_num_threads(),
                "precision": encoder.precision,
                "batch_size": pending[0].batch_size,
            },
        )
    return missing, seconds


def _computed_here(
    pending: Sequence[Shard],
    encoder: Encoder,
    root: Path,
    working: Path,
    workers: int | None,
    progress: Progress,
) -> list[Failure]:
    """In this process, with others that read ahead."""
    workers = reading_processes(encoder) if workers is None else max(0, workers)
    failures: list[Failure] = []
    batches = (batch for shard in pending for batch in shard.batches)
    reader = read_batches(root, batches, encoder.preprocessing, workers)
    source = progress.timed(reader)
    try:
        for shard in pending:
            failures += encode_shard(shard, encoder, source, working, progress.tick)
    finally:
        reader.close()  # type: ignore[attr-defined]
    return failures


def _computed_by(
    division: Division, pending: Sequence[Shard], root: Path, working: Path, progress: Progress
) -> list[Failure]:
    """By the workers of an engine, a shard at a time."""
    assert division.engine is not None and division.load is not None, "an engine needs an encoder"
    failures: list[Failure] = []
    ended = division.engine.map(
        _encode_one,
        [(number,) for number in range(len(pending))],
        start=_start_worker,
        args=(division.load, list(pending), root.resolve(), working.resolve()),
    )
    for number, failed in ended:
        failures += failed
        progress.tick(pending[number].stop - pending[number].start)
    return failures


_worker: tuple[Encoder, Sequence[Shard], Path, Path] | None = None


def _start_worker(
    load: Callable[[], Encoder], pending: Sequence[Shard], root: Path, working: Path
) -> None:
    global _worker
    _worker = load(), pending, root, working


def _encode_one(number: int) -> list[Failure]:
    assert _worker is not None, "the worker has been started"
    encoder, pending, root, working = _worker
    shard = pending[number]
    if is_done(shard, working):
        return []
    batches = read_batches(root, shard.batches, encoder.preprocessing, workers=0)
    return encode_shard(shard, encoder, batches, working, lambda images: None)


def share_in_words(share: Share, missing: int, seconds: float) -> str:
    """What was computed of a share, and what publishes it."""
    speed = f" at {missing / seconds:.1f} images/s" if missing and seconds > 0 else ""
    return (
        f"Share {share}: encoded {counted(missing, 'image')}{speed}. When all"
        f" {share.count} shares are done, the same command without --shard publishes them."
    )


def amount_in_words(rows: int, missing: int, seconds: float) -> str:
    """How many images there are, how many were computed now, how fast."""
    speed = f" at {missing / seconds:.1f} images/s" if missing and seconds > 0 else ""
    return f"{counted(rows, 'image')} ({rows - missing:,} of them by an earlier run){speed}"


# What is encoded, and whether it may be.


def kept_images(workspace: Path, manifest: dict[str, Any]) -> pd.DataFrame:
    """``path, content_hash, split`` of the images that ingest kept, and ``offset`` where archives
    hold some, in the order of the arrays.
    """
    name = "images.parquet"
    if not sound(workspace, name, manifest):
        again = command("ingest", **images_options(manifest), out=workspace)
        raise WorkspaceError(f"The workspace {workspace} has no sound {name}: run '{again}'.")
    columns = ["path", "content_hash", "split", "offset", "left_out"]
    table = read_parquet(workspace / name, columns=_present(workspace / name, columns))
    kept = table[table["left_out"] == ""]
    if kept.empty:
        raise WorkspaceError(
            f"The workspace {workspace} holds no image to encode: all of them were left out at"
            " ingest."
        )
    return kept.drop(columns="left_out").reset_index(drop=True)


def _present(file: Path, columns: Sequence[str]) -> list[str]:
    names = pq.read_schema(file).names
    return [name for name in columns if name in names]


def image_root(workspace: Path, manifest: dict[str, Any], images: Path | None) -> Path:
    """The folder of the images: the one given, else the one that ingest recorded. An address is
    asked only where it is given: the record may be a stranger's.
    """
    root = images or (as_path(manifest["image_root"]) if manifest.get("image_root") else None)
    if images is None and isinstance(root, RemotePath):
        raise AigiError(
            f"The workspace {workspace} records that its images lie at {root}: give --images {root}"
            " if they may be read from there."
        )
    if root is None:
        raise AigiError(
            f"The workspace {workspace} does not say where its images lie: give --images DIR."
        )
    if not root.is_dir():
        raise AigiError(
            f"The images' folder {root} is not there: give --images the folder that was ingested."
        )
    return root


def _asked(encoder: Encoder) -> dict[str, Any]:
    return encoder.describe() | {"device": encoder.device.type}


def sound(workspace: Path, name: str, manifest: dict[str, Any]) -> bool:
    """Whether a file is there and is what the manifest says."""
    entry, file = manifest["files"].get(name), workspace / name
    return bool(entry and file.is_file() and sha256_of(file) == entry["sha256"])


def _refuse_other(state: str, old: Mapping[str, Any], new: Mapping[str, Any], remedy: str) -> None:
    """Refuse to mix features; the difference is shown."""
    same_weights = old.get("weights_sha256") == new["weights_sha256"]
    fields = (
        ["precision"] if same_weights else ["model", "pretrained", "weights_sha256", "precision"]
    )
    pairs = [(name, old.get(name), new.get(name)) for name in fields]
    before, now = old.get("preprocessing", {}), new["preprocessing"]
    pairs += [
        (f"preprocessing.{name}", before.get(name), now.get(name))
        for name in sorted({*before, *now})
    ]
    # Records of earlier versions do not name these: what they were cannot be told apart.
    recorded = old.get("settings") or {}
    pairs += [(name, recorded[name], new["settings"].get(name)) for name in sorted(recorded)]
    different = [f"{name} {_short(a)} there, {_short(b)} now" for name, a, b in pairs if a != b]
    if different:
        raise WorkspaceError(f"{state} by another encoder ({'; '.join(different)}): {remedy}.")


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def plan_sizes(
    working: Path, encoder: Encoder, batch_size: int | None, shard_size: int | None
) -> dict[str, Any]:
    """The sizes of batches and shards: those of an interrupted run, so that it ends in the same
    bytes.

    Raises:
        WorkspaceError: an interrupted run was another encoder's, on another device or with other
            sizes.
    """
    workspace, file = working.parent, working / "plan.json"
    plan, old = _interrupted(file)
    if plan and any(file.parent.glob("[0-9]*.json")):
        _refuse_other(
            f"An interrupted run in {working} encoded",
            old,
            _asked(encoder),
            f"run again with that one, or delete {working} to start over",
        )
        for name, before, now in (
            ("--device", old["device"], encoder.device.type),
            ("--batch-size", plan["batch_size"], batch_size or plan["batch_size"]),
            ("--shard-size", plan["shard_size"], shard_size or plan["shard_size"]),
        ):
            if before != now:
                raise WorkspaceError(
                    f"The interrupted encoding of {workspace} ran with {name} {before}, this one"
                    f" would with {now}: run again with {name} {before}, or delete {file.parent} to"
                    " start over."
                )
        return plan
    on_cpu = encoder.device.type == "cpu"
    batch = batch_size or (32 if on_cpu else largest_batch(encoder))
    shard = shard_size or (256 if encoder.device.type == "cpu" else 2048)
    plan = {"encoder": _asked(encoder), "batch_size": batch, "shard_size": shard}
    working.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(plan, indent=1).encode())
    return plan


def _interrupted(plan: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan of an interrupted run and its encoder; empty where none is there, or a damaged
    one: then its shards count only as far as they fit a new plan."""
    try:
        read = read_json(plan)
        old = read["encoder"]
        whole = all(
            type(size) is int and size > 0 for size in (read["batch_size"], read["shard_size"])
        )
        records = (old, old.get("preprocessing", {}), old.get("settings") or {})
        whole &= isinstance(old["device"], str) and all(isinstance(one, dict) for one in records)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}
    return (read, old) if whole else ({}, {})


def largest_batch(encoder: Encoder, most: int = 256) -> int:
    """The largest batch, of ``most`` halved as often as need be, that the device's memory holds
    beside the one before it.

    Raises:
        torch.OutOfMemoryError: not even two batches of one image fit.
    """
    size, batch = encoder.preprocessing.size, most
    while True:
        pixels = np.zeros((batch, size, size, 3), np.uint8)
        try:
            before = encoder.encode_images(pixels)
            encoder.encode_images(pixels)
            del before
            return batch
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2


def _require_space(working: Path, needed: int) -> None:
    free = shutil.disk_usage(working).free
    if free < needed:
        raise AigiError(
            f"Encoding into {working.parent} needs {needed / 2**30:,.2f} GiB more on its disk"
            f" (shards, then the merged arrays), {free / 2**30:,.2f} GiB are free: free some space,"
            " or put the workspace on another disk."
        )


def reading_processes(encoder: Encoder) -> int:
    """How many processes read images ahead of an encoder."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, cores // 4) if encoder.device.type == "cpu" else min(16, cores)


def _failed(failures: Sequence[Failure], root: Path) -> str:
    shown = "; ".join(
        f"{failure.path!r}: {failure.reason}" for failure in failures[:FAILURES_SHOWN]
    )
    more = (
        f"; and {len(failures) - FAILURES_SHOWN:,} more" if len(failures) > FAILURES_SHOWN else ""
    )
    return (
        f"{len(failures):,} of the images below {root} could not be encoded ({shown}{more}): put"
        " them right and run the same command again, which computes only their shards, or ingest"
        " again to leave them out."
    )


class Progress:
    """A progress bar in images, with the use of the device and of the processors."""

    def __init__(self, total: int, initial: int, device: torch.device, what: str) -> None:
        self._bar = tqdm(
            total=total, initial=initial, unit="image", desc=what, **progress_options()
        )
        self._device = device
        self._began = time.monotonic()
        self._waited = 0.0
        psutil.cpu_percent()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def timed(self, batches: Iterator[ReadBatch]) -> Iterator[ReadBatch]:
        """The same batches; the time spent waiting for each is kept."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def tick(self, images: int) -> None:
        """Count images that were computed."""
        if not self._bar.disable:
            busy = 1 - self._waited / max(time.monotonic() - self._began, 1e-9)
            use = f"{self._device.type} busy {busy:.0%}, processors {psutil.cpu_percent():.0f}%"
            self._bar.set_postfix_str(use + _gpu_use(self._device), refresh=False)
        self._bar.update(images)


def _gpu_use(device: torch.device) -> str:
    if device.type != "cuda":
        return ""
    try:
        return f", GPU {torch.cuda.utilization(device)}%"
    except (
        Exception
    ):  # NVIDIA's management library may be missing or forbidden: no reason to stop encoding
        return ""
