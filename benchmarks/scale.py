"""Training and scoring a whole matrix on many images, in bounded memory, beside one plain pass over
their embeddings.

A synthetic workspace is written first (``--folder`` keeps it for the next run). Times are those of
one run, by the clock and (``core``) of the processors alone; ``peak_gb`` is what the process held
beyond the memory map.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeAlias
from unittest.mock import patch

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from aigi_core.detectors.components import search_pair
from aigi_core.detectors.detector import LinearDetector, score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.memory_mapped import choose_by_passes
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.solvers.blocked import BLOCK, Passes
from aigi_core.manifest import Domains
from aigi_core.transfer import TrainSet, TransferMatrix, bootstrap, transfer_matrix
from aigi_core.workspace import Workspace
from benchmarks._clip_like import clip_like
from benchmarks._engines import compare_engines
from benchmarks._large_workspace import write_large_workspace
from benchmarks._pages import visit_pages
from benchmarks._plan import Hardware, plan
from precompute.detectors import keep_detectors
from ui.toolkit.router import PAGES

PARTS = ("training", "search", "engines", "pages")
TRAINED = (
    "matrix_1m_seconds",
    "passes_over_map",
    "bootstrap_1m_seconds",
    "bootstrap_disagreement",
    "peak_gb",
)
SHOWN = ("app_1m_first_page_seconds", "app_1m_warm_median_seconds")
SEARCHED = (1_400, 11_200)
COMPARED = 50_000
"""Images on which draws of blocks are compared with draws of single groups."""
ENGINE_SEARCH = (400, 1_000)
Scores: TypeAlias = Any
"""[K, N] of all detectors and images."""


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; ``matrix_1m_seconds`` is the training of all of a matrix's detectors,
    ``score_seconds`` all images; ``images`` says how many there were. What was left out is null.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale")
    parser.add_argument("--images", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--generators", type=int, default=8)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument(
        "--search-rows",
        nargs=2,
        type=int,
        default=SEARCHED,
        metavar="N",
        help="training rows of the two component searches whose cost is compared",
    )
    parser.add_argument(
        "--pages",
        nargs="*",
        choices=list(PAGES),
        default=list(PAGES),
        help="pages of the app to measure (default all; none: no app)",
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="what is measured (default all); figures of the others are null",
    )
    parser.add_argument("--sessions", type=int, default=8, help="of the app at once")
    parser.add_argument(
        "--engine-search",
        nargs=2,
        type=int,
        default=ENGINE_SEARCH,
        metavar=("IMAGES", "DRAWS"),
        help="a search by local processes and by Ray: images of a class (0: none), random removals",
    )
    parser.add_argument("--folder", type=Path, help="where the workspace lies or is put")
    parser.add_argument(
        "--gpus",
        type=int,
        help="measure nothing: say from measured rates what so many images cost on so many GPUs",
    )
    parser.add_argument("--cores", type=int, help="with --gpus: cores (default 12 a GPU)")
    args = parser.parse_args(argv)
    if args.gpus is not None:
        cores = args.cores if args.cores is not None else 12 * args.gpus
        return plan(args.images, args.generators, Hardware(args.gpus, cores))
    with tempfile.TemporaryDirectory() as temporary:
        path = args.folder or Path(temporary) / "workspace"
        images, draws = args.engine_search if "engines" in args.parts else (0, 0)
        figures = compare_engines(Path(temporary), images=images, draws=draws)
        rows = args.search_rows if "search" in args.parts else ()
        figures |= growth(args.width, *rows) if rows else {"search_growth": None}
        if not {"training", "pages"} & set(args.parts):
            return dict.fromkeys(TRAINED + SHOWN) | figures
        if (path / "workspace.json").exists():
            workspace = Workspace.open(path)
        else:
            print(f"Writing {args.images:,} images into {path}", file=sys.stderr)
            workspace = write_large_workspace(path, args.images, args.generators, args.width)
        trained = measure(workspace) if "training" in args.parts else dict.fromkeys(TRAINED)
        stems = args.pages if "pages" in args.parts else ()
        return trained | figures | pages(path, stems, args.sessions)


def measure(workspace: Workspace) -> dict[str, Any]:
    """Train by passes, score everything, and read the map once for comparison."""
    sets = [(name,) for name in workspace.domains.generators]
    passes, view = Passes(), EmbeddingView()
    plain, _, _ = _timed(lambda: _read_once(workspace))
    with _Peak() as peak:
        training, train_core, chosen = _timed(
            lambda: choose_by_passes(
                workspace, sets, view, Protocol(), passes=passes, progress=_say
            )
        )
        detectors = [
            LinearDetector(
                view=view, weights=one.weights, bias=one.intercept, C=one.C, training_set=own
            )
            for one, own in zip(chosen, sets, strict=True)
        ]
        scoring, score_core, scores = _timed(lambda: score_detectors(detectors, workspace))
    return {
        "images": len(workspace.domains),
        "generators": len(sets),
        "width": int(workspace.embeddings.shape[1]),
        "matrix_1m_seconds": round(training, 2),
        "score_seconds": round(scoring, 2),
        "train_core_seconds": round(train_core, 1),
        "score_core_seconds": round(score_core, 2),
        "plain_pass_seconds": round(plain, 3),
        "passes_over_map": passes.total,
        "passes_float64": passes.float64,
        "train_over_plain_pass": round(training / plain, 1),
        "score_over_plain_pass": round(scoring / plain, 1),
        "peak_gb": round(peak.gigabytes, 2),
        "finite": bool(np.isfinite(scores).all()),
        **intervals(scores, workspace, sets),
    }


def intervals(scores: Scores, workspace: Workspace, sets: Sequence[TrainSet]) -> dict[str, float]:
    """Seconds for all metrics of the whole matrix with their intervals and means, and by how much,
    at most, a bound moves where groups are drawn one by one (in widths of the interval; on the
    first :data:`COMPARED` images)."""
    domains = workspace.domains

    def measured() -> TransferMatrix:
        result = transfer_matrix(scores, domains, sets)
        result.to_frame()
        result.summary()
        return result

    seconds, core, _ = _timed(measured)
    some, least = scores[:, :COMPARED], Domains.from_images(workspace.images[:COMPARED])
    bounds = []
    for limit in (COMPARED, 0):
        with patch.object(bootstrap, "DRAWN_SINGLY", limit):
            frame = transfer_matrix(some, least, sets).to_frame()
        bounds.append(frame[["low", "high"]].to_numpy())
    moved = np.abs(bounds[0] - bounds[1]) / np.diff(bounds[0], axis=1)
    return {
        "bootstrap_1m_seconds": round(seconds, 2),
        "bootstrap_core_seconds": round(core, 1),
        "bootstrap_disagreement": round(float(moved.max()), 3),
    }


def growth(width: int, few: int, many: int) -> dict[str, Any]:
    """How a component search grows with its rows: seconds of one thread's processor for a pair both
    ways at two numbers of training rows (half as many are scored), and the exponent of their ratio.
    """
    seconds = []
    for rows in (few, many):
        X, domains = clip_like(2, (rows // 2, rows // 4, rows // 4), width)
        began = process_time()
        with threadpool_limits(1):
            search_pair(X, domains, domains.generators[:2], C=10.0, workers=1)  # type: ignore[arg-type]
        seconds.append(process_time() - began)
    return {
        "search_rows": [few, many],
        "search_seconds": [round(value, 2) for value in seconds],
        "search_growth": round(float(np.log(seconds[1] / seconds[0]) / np.log(many / few)), 2),
    }


def pages(path: Path, stems: Sequence[str], sessions: int) -> dict[str, Any]:
    """The app on the workspace, with the detectors that ``build`` ends with; null without pages."""
    if not stems:
        return dict.fromkeys(SHOWN)
    from benchmarks import app  # needs the browser tests' tools

    keep_detectors(path)
    options = ["--workspace", str(path), "--sessions", str(sessions), "--repeats", "1"]
    figures = app.main([*options, "--pages", *stems])
    first = figures["server_ready_seconds"] + figures["first_page_seconds"]
    with tempfile.TemporaryDirectory() as logs:
        visited = visit_pages(path, Path(logs), stems, sessions)
    return {
        "app_1m_first_page_seconds": round(first, 2),
        "app_1m_warm_median_seconds": figures["warm_median_seconds"],
        "app": figures,
        **visited,
    }


def _read_once(workspace: Workspace) -> float:
    return float(
        sum(
            workspace.embeddings[start : start + BLOCK].sum(dtype=np.float32)
            for start in range(0, len(workspace.domains), BLOCK)
        )
    )


class _Peak:
    """The most private memory that this process held, looked at every 50 ms: pages of the map are
    shared and do not count."""

    def __enter__(self) -> _Peak:
        self.gigabytes, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._ended.wait(0.05):
            memory = process.memory_info()
            private = memory.rss - getattr(memory, "shared", 0)
            self.gigabytes = max(self.gigabytes, private / 1e9)


def _timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds by the clock, seconds of all cores (which other programs do not lengthen), result."""
    start, core = perf_counter(), process_time()
    result = function()
    return perf_counter() - start, process_time() - core, result


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
