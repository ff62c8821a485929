"""Jobs that are killed, or whose disk is full, at any of their file operations: does the same
command then end in the same files as in one go?

Each run is a forked child of this process, which loads torch once and never trains or reads itself.
An audit hook counts what a run opens for writing, renames, removes or makes below the workspace.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aigi_core.processes import shared
from benchmarks.encode import small_model
from precompute.__main__ import main as precompute

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
JOBS = ("ingest", "encode", "text", "search", "words", "audit", "perturb", "add", "finetune")
TIMES = {"seconds", "created", "made", "finished", "when", "images_per_second", "epoch_seconds"}
"""Keys of JSON files that differ between any two runs."""
MEASURED = "speed.json"
"""A file that holds nothing but times."""
PER_KIND = 14
Contents = dict[str, bytes]


def commands(folder: Path) -> dict[str, list[str]]:
    """Job -> its command line, in an order in which each finds what it needs; makes the images."""
    import torch

    torch.set_num_threads(1)  # a forked process waits for ever for threads that it does not have
    rng = np.random.default_rng(0)
    for name in ("base/real", *(f"base/fake/{n}" for n in ("one", "two", "three")), "more"):
        (folder / "images" / name).mkdir(parents=True)
        for i in range(PER_KIND * (2 if name == "base/real" else 1)):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{i}.png")
    (folder / "texts.txt").write_text(
        "# kind\nred\nblue\na horse\n# thing\na shoe\na hat\n", "utf-8"
    )
    images, more = str(folder / "images" / "base"), str(folder / "images" / "more")
    at = ["--workspace", str(folder / "w")]
    model = ["--model", small_model(folder / "model"), "--device", "cpu"]
    read = ["--workers", "1", "--batch-size", "8", "--shard-size", "16"]
    return {
        "ingest": ["ingest", "--images", images, "--out", str(folder / "w"), "--workers", "1"],
        "encode": ["encode", *at, *model, *read],
        "text": ["text", *at, *model, "--phrases", str(folder / "texts.txt"), "--name", "phrases"],
        "search": ["search", *at, "--workers", "1", "--draws", "20"],
        "words": ["words", *at, "--draws", "20"],
        "audit": ["audit", *at, "--draws", "20"],
        "perturb": ["perturb", *at, *model, *read, "--ops", "jpeg:50", "blur:1"],
        "add": ["add", *at, *model, "--images", more, "--generator", "x", "--workers", "1"],
        "finetune": ["finetune", *at, *model, "--train", "all", "--epochs", "2"],
    }


def contents(path: Path) -> Contents:
    """What a workspace publishes: every file that is not hidden, JSON without times."""
    files = (f for f in sorted(path.rglob("*")) if f.is_file() and f.name != MEASURED)
    shown = (f for f in files if not any(p.startswith(".") for p in f.relative_to(path).parts))
    return {str(f.relative_to(path)): _content(f) for f in shown}


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    return (
        content if file.suffix != ".json" else json.dumps(_timeless(json.loads(content))).encode()
    )


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def run(command: Sequence[str], below: Path, at: int = 0, disk: int = 0) -> tuple[int, int, str]:
    """One run in a child: its exit status (negative: the signal that ended it), its number of file
    operations, what it printed.

    Args:
        at: the file operation before which it is killed, or, with ``disk``, the first that finds
            no space. disk: 1 for no space from there on; more for files of at most so many bytes.
    """
    log = below.with_name("log.txt")
    count = below.with_name("count.txt")
    child = os.fork()
    if child == 0:
        status = 70
        shared.cache_clear()  # not the parent's processes
        try:
            with log.open("w") as output, redirect_stdout(output), redirect_stderr(output):
                _interrupt(below, at, disk, count)
                status = precompute(list(command))
        except BaseException as error:
            with log.open("a") as output:
                output.write(f"Traceback: {type(error).__name__}: {error}")
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = int(count.read_text() or 0) if count.is_file() else 0
    return status, seen, log.read_text("utf-8", "replace")


def _interrupt(below: Path, at: int, disk: int, count: Path) -> None:
    seen, prefix = 0, str(below)
    counter = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if disk > 1:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in OPERATIONS or not str(args[0]).startswith(prefix):
            return
        if event == "open" and not (
            args[2] & (os.O_WRONLY | os.O_RDWR) if args[1] is None else set(args[1]) & set("wax+")
        ):
            return
        seen += 1
        os.pwrite(counter, str(seen).encode(), 0)
        if at and seen >= at and disk == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if at and seen >= at and disk == 1 and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))

    sys.addaudithook(hook)


def try_kills(
    kills: int, disks: int, seed: int, folder: Path, jobs: Sequence[str] = JOBS
) -> dict[str, Any]:
    """Kill the jobs in turn at random file operations, fill their disks, run the same command
    again, and compare with one run in one go.

    Returns:
        ``kills, kill_differences``, ``killed_jobs`` with the file operations of each,
        ``full_disks, full_disk_differences, full_disk_tracebacks``, and ``what`` was wrong.
    """
    rng = np.random.default_rng(seed)
    lines = commands(folder)
    before, expected, operations = {}, {}, {}
    work = folder / "w"
    what: list[str] = []
    chosen = [job for job in lines if job in jobs]
    for job in lines:  # each job in one go, and what it found
        before[job] = _kept(work, folder / f"before-{job}")
        status, operations[job], said = run(lines[job], work)
        if status != 0:
            raise RuntimeError(f"{job} fails in one go: {said}")
        expected[job] = contents(work)
        if job == chosen[-1]:
            break
    differences = {"kill": 0, "disk": 0}
    killed = tracebacks = 0
    for number in range(kills + disks):
        job = chosen[number % len(chosen)]
        kind = "kill" if number < kills else "disk"
        print(f"{number}: {kind} of {job}, {len(what)} failures", file=sys.stderr, flush=True)
        at, disk = int(rng.integers(1, operations[job] + 1)), 0
        if kind == "disk":
            disk = 1 if number % 2 else int(rng.choice([200, 1000, 5000]))
        shutil.rmtree(work, ignore_errors=True)
        if before[job].is_dir():
            shutil.copytree(before[job], work)
        status, _, said = run(lines[job], work, at, disk)
        killed += status == -signal.SIGKILL
        if kind == "disk" and ("Traceback" in said or status < 0):
            tracebacks += 1
            what.append(f"{job}, disk full ({at}, {disk}): status {status}: {said[-300:]}")
        status, _, said = run(lines[job], work)
        if status != 0 or contents(work) != expected[job]:
            differences[kind] += 1
            now = contents(work)
            files = sorted(f for f in {*now, *expected[job]} if now.get(f) != expected[job].get(f))
            what.append(
                f"{job}, {kind} at {at} ({disk}): status {status}, {files[:6]}: {said[-200:]}"
            )
    return {
        "kills": killed,
        "kill_differences": differences["kill"],
        "killed_jobs": {job: operations[job] for job in chosen},
        "full_disks": disks,
        "full_disk_differences": differences["disk"],
        "full_disk_tracebacks": tracebacks,
        "what": what,
    }


def _kept(path: Path, copy: Path) -> Path:
    if path.is_dir():
        shutil.copytree(path, copy)
    return copy
