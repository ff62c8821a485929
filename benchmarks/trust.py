"""What a stranger's files and workspaces can do, and twenty people at once: nothing but be refused
or be served rightly.

Counts hostile files through the decoder, jobs that are killed or whose disk is full, mutated
workspaces through ``verify``, opening and a detector's scores; times the limit of a decoding
process, and the app under many sessions. Seeded; ``--only`` takes parts, other options set how
many.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aigi_core.images import ImageError, load_rgb
from aigi_core.processes import SECONDS, LimitedProcesses, LimitExceeded
from benchmarks._kills import JOBS, try_kills
from benchmarks._mutations import try_consistent, try_workspaces
from benchmarks._small_workspace import make_workspace
from benchmarks._users import try_users

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
LISTED = 20
"""Failures of each part that are named."""


# Hostile files


def hostile_file(rng: np.random.Generator) -> bytes:
    """A picture's file, broken in one of several ways."""
    kind = FORMATS[rng.integers(len(FORMATS))]
    side = int(rng.integers(8, 64))
    picture = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    options = {"progressive": bool(rng.integers(2))} if kind == "JPEG" else {}
    picture.save(buffer, kind, **options)
    content = bytearray(buffer.getvalue())
    how = int(rng.integers(6))
    place = int(rng.integers(len(content)))
    if how == 0:
        return bytes(content[:place])
    if how == 1:
        content[place] ^= 1 << int(rng.integers(8))
    elif how == 2:
        content[place:place] = rng.bytes(int(rng.integers(1, 200)))
    elif how == 3:
        del content[place : place + int(rng.integers(1, 200))]
    elif how == 4:
        content[place : place + 4] = b"\xff\xff\xff\xff"
    else:
        content = bytearray(rng.bytes(int(rng.integers(0, 400))))
    return bytes(content)


def halved(rng: np.random.Generator) -> bytes:
    """Half of a JPEG, with an end marker: to be left out, never grey."""
    side = int(rng.integers(32, 96))
    picture = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    picture.save(
        buffer, "JPEG", quality=int(rng.integers(30, 96)), progressive=bool(rng.integers(2))
    )
    content = buffer.getvalue()
    start = content.find(b"\xff\xda") + 20
    return content[: start + int((len(content) - start) * rng.uniform(0.1, 0.9))] + b"\xff\xd9"


def try_files(count: int, seed: int) -> tuple[int, int, float]:
    """Failures (anything but a picture or an ImageError), grey ones kept, longest seconds."""
    rng = np.random.default_rng(seed)
    failures = grey = 0
    longest = 0.0
    for i in range(count):
        content = halved(rng) if i % 10 == 0 else hostile_file(rng)
        began = time.perf_counter()
        try:
            load_rgb(content)
            grey += i % 10 == 0
        except ImageError:
            pass
        except Exception:
            failures += 1
        longest = max(longest, time.perf_counter() - began)
    return failures, grey, longest


def many_scans() -> bytes:
    """A small file that takes its decoder minutes: 89 million grey pixels in 480 scans."""
    picture = Image.new("L", (9400, 9400), 90)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rfind(b"\xff\xda")
    return content[:-2] + 470 * content[last:-2] + b"\xff\xd9"


def decode_seconds(limit: float) -> tuple[float, float, bool]:
    """Seconds by the clock and of the processor until :func:`many_scans` is refused under a limit
    of processor time, and whether the file after it is read all the same."""
    good = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(good, "PNG")
    processes = LimitedProcesses(1, seconds=limit)
    began, spent = time.perf_counter(), _of_children()
    results = processes.map(load_rgb, [(many_scans(),), (good.getvalue(),)])
    refused = isinstance(next(results), LimitExceeded)
    seconds = time.perf_counter() - began
    read = not isinstance(next(results), LimitExceeded)
    processes.close()  # waits for both, whose starts are counted, too
    return seconds, _of_children() - spent, refused and read


def _of_children() -> float:
    """Processor seconds of the processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


# The parts, in an order in which jobs are forked before this process starts others


def files(args: argparse.Namespace) -> dict[str, Any]:
    """Hostile files through the decoder."""
    failures, grey, longest = try_files(args.files, args.seed)
    return {
        "hostile_files": args.files,
        "hostile_failures": failures,
        "grey_pictures_kept": grey,
        "longest_decoding_seconds": round(longest, 2),
    }


def kills(args: argparse.Namespace) -> dict[str, Any]:
    """Jobs that are killed, or whose disk is full."""
    with tempfile.TemporaryDirectory() as folder:
        found = try_kills(args.kills, args.disks, args.seed, Path(folder), args.jobs)
    return found | {"what": found["what"][:LISTED]}


def decode(args: argparse.Namespace) -> dict[str, Any]:
    """The limit of a decoding process."""
    by_clock, limited, held = decode_seconds(args.limit)
    return {
        "decode_limit_seconds": round(limited, 1),
        "decode_limit_by_the_clock": round(by_clock, 1),
        "decode_limit_held": held,
    }


def mutations(args: argparse.Namespace) -> dict[str, Any]:
    """Mutated workspaces through ``verify``, opening and a detector's scores."""
    with tempfile.TemporaryDirectory() as folder:
        source = make_workspace(Path(folder) / "source", per_class=20)
        tried = try_workspaces(args.mutations, args.seed, source, Path(folder), args.shown)
        odd = try_consistent(args.consistent, args.seed, source, Path(folder))
    return {
        "workspace_mutations": args.mutations,
        "mutations_verified": tried.verified,
        "consistent_mutations": args.consistent,
        "consistent_verified": odd.verified,
        "pages_opened": tried.pages + odd.pages,
        "mutation_failures": tried.failures + odd.failures,
        "silent_wrong_numbers": tried.wrong,
        "what": (tried.what + odd.what)[:LISTED],
    }


def users(args: argparse.Namespace) -> dict[str, Any]:
    """People at the app at once: with pauses, then without, each on a fresh server."""
    name = f"users{args.users}"
    with tempfile.TemporaryDirectory() as folder:
        calm = try_users(args.users, args.minutes, args.seed, Path(folder), pause=args.pause)
        busy = try_users(args.users, args.busy_minutes, args.seed, Path(folder), pause=0)
    what = calm.pop("what") + busy.pop("what")
    return {
        **{f"{name}_{key}": value for key, value in calm.items() if key != "actions_per_second"},
        f"{name}_actions_per_second": busy.pop("actions_per_second"),
        **{f"{name}_without_pauses_{key}": value for key, value in busy.items()},
        "what": what,
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    part.__name__: part for part in (files, kills, decode, mutations, users)
}


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Try all, or some parts; the numbers of docs/trust.md. A part prints its own as it ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks trust", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--files", type=int, default=2000, help="hostile files (default 2,000)")
    parser.add_argument(
        "--mutations", type=int, default=1000, help="mutated workspaces (default 1,000)"
    )
    parser.add_argument(
        "--consistent", type=int, default=48, help="with all hashes made to fit (default 48)"
    )
    parser.add_argument(
        "--shown", type=int, default=10, help="verified ones on which all pages are opened"
    )
    parser.add_argument("--kills", type=int, default=100, help="killed jobs (default 100)")
    parser.add_argument("--disks", type=int, default=20, help="full disks (default 20)")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=JOBS, metavar="JOB")
    parser.add_argument("--users", type=int, default=20, help="sessions at once (default 20)")
    parser.add_argument("--pause", type=float, default=10.0, help="mean seconds between acts")
    parser.add_argument("--minutes", type=float, default=5.0, help="with pauses (default 5)")
    parser.add_argument("--busy-minutes", type=float, default=2.0, help="without (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--limit", type=float, default=SECONDS, help="seconds of processor time for one file"
    )
    args = parser.parse_args(argv)

    warnings.simplefilter("ignore")  # of decoders
    figures: dict[str, Any] = {}
    failures: list[str] = []
    for name in [part for part in PARTS if part in args.only]:
        began = time.perf_counter()
        found = PARTS[name](args)
        found[f"{name}_seconds"] = round(time.perf_counter() - began)
        print(json.dumps({name: found}), flush=True)
        failures += found.pop("what", [])
        figures |= found
    return figures | {"failures": failures}
