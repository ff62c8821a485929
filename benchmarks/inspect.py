"""Inspect: from a file's bytes to the verdict and to the heat map, warm, over one plain forward
pass of the encoder.

Verdict: decode, preprocess, encode with heads, score by every detector, calibrate, and the distance
to the workspace. Heat map: all that, and the pass that splits the logit among heads and patches,
drawn. Sides run interleaved in one process.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from aigi_core.assets import asset
from aigi_core.clip.workspace_encoder import workspace_encoder
from aigi_core.figures import patch_map
from aigi_core.inspection.intake import Opened, encode, open_image
from aigi_core.inspection.novelty import held_out_distances, novelty
from aigi_core.inspection.panel import build_panel
from aigi_core.inspection.parts import Parts
from aigi_core.workspace import Workspace

DEMO = asset("demo")
SIDE = 512
"""Of the uploaded picture, a JPEG of quality 90."""


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; ``verdict_ratio`` and ``heatmap_ratio`` are medians of paired ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks inspect")
    parser.add_argument("--workspace", type=Path, default=DEMO)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--model", help="where the workspace was encoded from a folder: local-dir:DIR"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    workspace = Workspace.open(args.workspace)
    encoder = workspace_encoder(workspace, args.model)
    panel = build_panel(workspace)
    distances = held_out_distances(workspace)
    rate = 0.05
    content = picture()
    pixels = encoder.preprocessing.pixels(Image.open(io.BytesIO(content)).convert("RGB"))[None]

    def plain() -> None:
        with torch.inference_mode():
            encoder.tower(encoder.normalise(pixels)).cpu()

    def verdict() -> Opened:
        opened = open_image("upload.jpg", content, encoder.preprocessing)
        assert opened.pixels is not None
        images = encode(encoder, [opened.pixels], workspace)
        panel.verdicts(panel.logits(images)[:, 0], rate)
        novelty(workspace, images.embeddings[0], distances)
        return opened

    def heatmap() -> None:
        opened = verdict()
        assert opened.pixels is not None
        evidence = Parts.of_pixels(encoder, opened.pixels, workspace.decomposition).evidence(
            panel.reading(0)
        )
        patch_map(opened.pixels, evidence.patches, what="all heads").to_json()

    sides: dict[str, Callable[[], Any]] = {"plain": plain, "verdict": verdict, "heatmap": heatmap}
    for side in sides.values():
        side()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.repeats):
        for name, side in sides.items():
            times[name].append(seconds(side))
    ratios = {name: np.array(times[name]) / times["plain"] for name in ("verdict", "heatmap")}
    print({name: f"{median(taken):.3f} s" for name, taken in times.items()}, file=sys.stderr)
    return {
        **{f"{name}_ratio": round(float(np.median(ratio)), 3) for name, ratio in ratios.items()},
        **{
            f"{name}_ratio_quartiles": np.quantile(ratio, [0.25, 0.75]).round(3).tolist()
            for name, ratio in ratios.items()
        },
        **{f"{name}_s": round(median(taken), 4) for name, taken in times.items()},
        "model": encoder.model,
        "detectors": len(panel.detectors),
        "images": len(workspace.images),
        "side": SIDE,
        "repeats": args.repeats,
        "threads": torch.get_num_threads(),
        "device": str(encoder.device),
    }


def picture() -> bytes:
    """A smooth colour picture with some texture, as a JPEG file."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse).astype(int) + rng.integers(-8, 9, (SIDE, SIDE, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began
