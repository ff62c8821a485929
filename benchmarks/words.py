"""TextSpan against the plain algorithm, and the search over a whole vocabulary.

Shapes of CLIP ViT-L-14 with random numbers of a realistic spectrum: 3,000 images, heads of 64
dimensions, 768-d joint space, 3,614 phrases, 49,408 tokens. Both sides of a ratio start from the
cached contexts and choose the same texts (this is checked); they run interleaved in one process,
and medians are given. With ``--workspace`` all its heads are timed too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.textspan import head_text_spans, text_span
from aigi_core.nearest import nearest_rows
from aigi_core.workspace import Workspace

IMAGES = 3_000
HEAD_WIDTH = 64
WIDTH = 768
PHRASES = 3_614
TOKENS = 49_408
CHOSEN = 20
NULLS = 300


def plain_text_span(outputs: np.ndarray, texts: np.ndarray, m: int) -> list[int]:
    """The published algorithm, step by step: deflate all outputs and all texts after every choice
    (float32).
    """
    _, s, vh = np.linalg.svd(outputs, full_matrices=False)
    vh = vh[s > 1e-4 * s[0]]
    texts = texts @ vh.T @ vh
    outputs = outputs - outputs.mean(axis=0)
    chosen = []
    for _ in range(m):
        j = int(np.argmax((outputs @ texts.T).std(axis=0)))
        t = texts[j] / np.linalg.norm(texts[j])
        chosen.append(j)
        outputs = outputs - np.outer(outputs @ t, t)
        texts = texts - np.outer(texts @ t, t)
    return chosen


def fast_text_span(
    contexts: np.ndarray, head_map: np.ndarray, texts: np.ndarray, m: int
) -> list[int]:
    """Ours, from the same contexts."""
    Q, R = np.linalg.qr(head_map.T.astype(np.float64))
    covariance = R @ np.cov(contexts.astype(np.float64), rowvar=False) @ R.T
    return [int(row) for row in text_span(covariance, texts @ Q.astype(np.float32), m).texts]


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; returns ``textspan_ratio, textspan_ms, textspan_plain_ms, search_ms, null_search_s``
    and their setting.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks words", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workspace", help="also time TextSpan over all heads of this workspace")
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    head_map = rng.standard_normal((HEAD_WIDTH, WIDTH)).astype(np.float32) / np.float32(
        np.sqrt(WIDTH)
    )
    contexts = (
        rng.standard_normal((IMAGES, HEAD_WIDTH)) * np.geomspace(1, 0.05, HEAD_WIDTH)
    ).astype(np.float32) + 0.3
    phrases, tokens = (_unit_rows(rng, count) for count in (PHRASES, TOKENS))
    plain: list[float] = []
    fast: list[float] = []
    for _ in range(args.repeats):
        seconds, chosen = _timed(lambda: plain_text_span(contexts @ head_map, phrases, CHOSEN))
        plain.append(seconds)
        seconds, mine = _timed(lambda: fast_text_span(contexts, head_map, phrases, CHOSEN))
        fast.append(seconds)
        print(
            f"plain {plain[-1]:.2f} s, ours {fast[-1] * 1e3:.1f} ms, same texts: {chosen == mine}",
            file=sys.stderr,
        )
        if chosen != mine:
            raise AigiError("The two choose different texts: the ratio would mean nothing.")
    directions = rng.standard_normal((NULLS, WIDTH)).astype(np.float32)
    one = [
        _timed(lambda: nearest_rows(directions[:1], tokens, 20))[0] for _ in range(5 * args.repeats)
    ]
    many = [_timed(lambda: nearest_rows(directions, tokens, 128))[0] for _ in range(args.repeats)]
    figures: dict[str, Any] = {
        "textspan_ratio": round(median(plain) / median(fast), 1),
        "textspan_ms": round(median(fast) * 1e3, 2),
        "textspan_plain_ms": round(median(plain) * 1e3, 1),
        "search_ms": round(median(one) * 1e3, 2),
        "null_search_s": round(median(many), 3),
        "images": IMAGES,
        "phrases": PHRASES,
        "tokens": TOKENS,
        "width": WIDTH,
        "chosen": CHOSEN,
        "nulls": NULLS,
        "repeats": args.repeats,
    }
    if args.workspace:
        workspace = Workspace.open(args.workspace)
        lexicon = Lexicon.of(workspace, "phrases", centred=False)
        seconds, table = _timed(lambda: head_text_spans(workspace, lexicon.vectors, CHOSEN))
        figures |= {
            "workspace_textspan_s": round(seconds, 2),
            "workspace_heads": len(table.groupby(["layer", "head"])),
        }
    return figures


def _unit_rows(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, WIDTH), dtype=np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = job()
    return time.perf_counter() - start, result
