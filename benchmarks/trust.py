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
import logging
import os
import shutil
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from PIL import Image

from aigi_core.detectors import score_detectors, train
from aigi_core.errors import AigiError
from aigi_core.images import ImageError, load_rgb
from aigi_core.processes import SECONDS, LimitedProcesses, LimitExceeded
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from benchmarks._kills import JOBS, try_kills
from benchmarks._small_workspace import make_workspace
from benchmarks._users import try_users
from precompute.__main__ import main as precompute
from ui.toolkit.router import PAGES, ROOT

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


def decode_seconds(limit: float) -> tuple[float, bool]:
    """Seconds until :func:`many_scans` is refused under a limit of processor time, and whether the
    file after it is read all the same."""
    good = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(good, "PNG")
    processes = LimitedProcesses(1, seconds=limit)
    began = time.perf_counter()
    results = processes.map(load_rgb, [(many_scans(),), (good.getvalue(),)])
    refused = isinstance(next(results), LimitExceeded)
    seconds = time.perf_counter() - began
    read = not isinstance(next(results), LimitExceeded)
    processes.close()
    return seconds, refused and read


# Mutated workspaces

Change = Callable[[Path, np.random.Generator], None]


def _array(name: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Change:
    def mutate(path: Path, rng: np.random.Generator) -> None:
        np.save(path / name, change(np.load(path / name), rng), allow_pickle=False)

    return mutate


def _poke(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def change(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        array.reshape(-1)[rng.integers(array.size)] = value
        return array

    return change


def _column(path: Path, rng: np.random.Generator) -> None:
    table = pd.read_parquet(path / "images.parquet")
    name = str(rng.choice(list(table.columns)))
    how = int(rng.integers(4))
    if how == 0:
        table = table.drop(columns=name)
    elif how == 1:
        table[name] = None
    elif how == 2:
        table[name] = "neither"
    else:
        table = table.iloc[: int(rng.integers(len(table)))]
    table.to_parquet(path / "images.parquet", index=False)


def _in_another_order(path: Path, rng: np.random.Generator) -> None:
    table = pd.read_parquet(path / "images.parquet")
    table.iloc[rng.permutation(len(table))].to_parquet(path / "images.parquet", index=False)


def _other_labels(path: Path, rng: np.random.Generator) -> None:
    table = pd.read_parquet(path / "images.parquet")
    order = rng.permutation(len(table))
    for name in ("label", "generator"):
        table[name] = table[name].to_numpy()[order]
    table.to_parquet(path / "images.parquet", index=False)


def _manifest(path: Path, rng: np.random.Generator) -> None:
    manifest = json.loads((path / "workspace.json").read_text("utf-8"))
    place: Any = manifest
    while True:
        key = (
            str(rng.choice(sorted(place)))
            if isinstance(place, dict)
            else int(rng.integers(len(place)))
        )
        inside = place[key]
        if isinstance(inside, dict | list) and inside and rng.integers(3):
            place = inside
            continue
        values: list[Any] = [None, -1, "x", [], {}, 10**30, "../x", True]
        if rng.integers(4) == 0 and isinstance(place, dict):
            del place[key]
        else:
            place[key] = values[int(rng.integers(len(values)))]
        break
    (path / "workspace.json").write_text(json.dumps(manifest), "utf-8")


def _bytes(path: Path, rng: np.random.Generator) -> None:
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.name[0] != ".")
    file = files[int(rng.integers(len(files)))]
    content = bytearray(file.read_bytes())
    if rng.integers(2):
        content = content[: int(rng.integers(len(content)))]
    else:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    file.write_bytes(bytes(content))


MUTATIONS: dict[str, tuple[Change, bool]] = {
    "a byte, or the end": (_bytes, False),
    "the record": (_manifest, False),
    "a column": (_column, True),
    "NaN": (_array("embeddings.npy", _poke(np.nan)), True),
    "infinity in ln_post": (_array("ln_post.npy", _poke(np.inf)), True),
    "int8 embeddings": (_array("embeddings.npy", lambda a, _: a.astype(np.int8)), True),
    "fewer rows": (_array("embeddings.npy", lambda a, _: a[:-1]), True),
    "transposed": (_array("heads.npy", lambda a, _: a.T), True),
    "objects": (_array("text/phrases.npy", lambda a, _: a.astype("U4")), True),
    "rows in another order": (_in_another_order, True),
    "labels in another order": (_other_labels, True),
    "embeddings reversed": (_array("embeddings.npy", lambda a, _: a[::-1].copy()), True),
    "heads in another order": (
        _array("heads.npy", lambda a, r: a[:, :, r.permutation(a.shape[2])]),
        True,
    ),
    "zero deviation": (_array("ln_post.npy", lambda a, _: a * 0), True),
}
"""What is changed -> how, and whether the record's hashes are made to fit afterwards."""


@dataclass
class Tried:
    """What became of mutated workspaces.

    Attributes:
        failures: a traceback; verified but not usable, by the library or on a page.
        wrong: verified, and other numbers.
        verified, pages: workspaces that ``verify`` passed, and pages opened on some of these.
        what: what the failures were.
    """

    failures: int = 0
    wrong: int = 0
    verified: int = 0
    pages: int = 0
    what: list[str] = field(default_factory=list)

    def failed(self, sentence: str) -> None:
        self.failures += 1
        self.what.append(sentence)


def try_workspaces(count: int, seed: int, source: Path, folder: Path, shown: int = 0) -> Tried:
    """Change copies of a workspace, verify, open and use them; open every page on the first
    ``shown`` of those that ``verify`` passes."""
    rng = np.random.default_rng(seed)
    tried, opened = Tried(), 0
    right = _scores(Workspace.open(source))
    names = list(MUTATIONS)
    for i in range(count):
        name = names[i % len(names)]
        if i % 50 == 0:
            bad = tried.failures + tried.wrong
            print(f"{i} workspaces, {bad} failures", file=sys.stderr, flush=True)
        change, rehash = MUTATIONS[name]
        path = folder / f"mutated {i}"  # a page keeps what it knows of a path
        shutil.rmtree(folder / f"mutated {i - 1}", ignore_errors=True)
        shutil.copytree(source, path)
        change(path, rng)
        if rehash:
            manifest = read_manifest(path)
            manifest["files"] = {file: describe_file(path, file) for file in manifest["files"]}
            write_manifest(path, manifest)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                verified = precompute(["verify", str(path)]) == 0
            try:
                scores = _scores(Workspace.open(path))
            except AigiError:
                if verified and "not encoded" not in _sentence(path):
                    raise
                continue
            same = scores.shape == right.shape and bool((scores == right).all())
            tried.verified += verified
            if verified and not same:
                tried.wrong += 1
                tried.what.append(f"{name}: other numbers, and verified")
            if verified and opened < shown:
                opened += 1
                tried.pages += len(PAGES)
                for failure in page_failures(path):
                    tried.failed(f"{name}: {failure}")
        except Exception as error:
            tried.failed(f"{name}: {type(error).__name__}: {error}")
    return tried


def page_failures(path: Path) -> list[str]:
    """Pages that end in a traceback on a workspace, run without a browser: a page shows one
    sentence then, and logs the error."""
    from streamlit.testing.v1 import AppTest

    failures: list[str] = []
    log, seen = logging.getLogger("aigi.ui"), logging.Handler(logging.ERROR)
    with (
        patch.dict(os.environ, {"AIGI_WORKSPACE": str(path), "AIGI_IMAGES": ""}),
        patch.object(log, "handlers", [*log.handlers, seen]),
    ):
        for stem in PAGES:
            app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=600)
            logged = partial(_note, failures, stem)
            with patch.object(seen, "emit", logged):
                app.switch_page(f"pages/{stem}.py").run()
            failures += [f"page {stem}: {one.value}" for one in app.exception]
    return failures


def _note(failures: list[str], stem: str, record: logging.LogRecord) -> None:
    error = record.exc_info[1] if record.exc_info else record.getMessage()
    failures.append(f"page {stem}: {error!r}")


def _sentence(path: Path) -> str:
    try:
        Workspace.open(path)
    except AigiError as error:
        return str(error)
    return ""


def _scores(workspace: Workspace) -> np.ndarray:
    detectors = train(workspace, workspace.domains.generators[:1])
    return np.asarray(score_detectors(detectors, workspace))


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
    limited, held = decode_seconds(args.limit)
    return {"decode_limit_seconds": round(limited, 1), "decode_limit_held": held}


def mutations(args: argparse.Namespace) -> dict[str, Any]:
    """Mutated workspaces through ``verify``, opening and a detector's scores."""
    with tempfile.TemporaryDirectory() as folder:
        source = make_workspace(Path(folder) / "source", per_class=20)
        tracemalloc.start()
        tried = try_workspaces(args.mutations, args.seed, source, Path(folder), args.shown)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {
        "workspace_mutations": args.mutations,
        "mutations_verified": tried.verified,
        "pages_opened": tried.pages,
        "mutation_failures": tried.failures,
        "silent_wrong_numbers": tried.wrong,
        "mutation_peak_mib": round(peak / 2**20),
        "what": tried.what[:LISTED],
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
