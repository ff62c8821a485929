"""Encoding with all that is kept by default against the library's plain forward pass, by family of
encoders: time, bytes an image, peak memory.

Both run in one process on the same pixels, alternately, untrained weights (the time does not depend
on them). Peak memory is that of a fresh process which encodes a whole workspace of N, then of 4 N,
small images.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from aigi_core import SCHEMA_VERSION
from aigi_core.clip.encoder import Encoder, load_encoder
from aigi_core.stored_features import array_axes
from aigi_core.workspace import describe_file, read_manifest, write_manifest
from benchmarks._memory import peak_resident_bytes
from precompute.encode.pipeline import encode
from precompute.encode.publish import bytes_an_image

FAMILIES = {
    "ViT-B-16": "CLIP",
    "ViT-L-14": "CLIP, large",
    "EVA02-B-16": "EVA02, norm inside the attention",
    "ViT-L-14-CLIPA": "CLIPA, averaged (no smaller one exists)",
    "ViT-B-16-SigLIP2": "SigLIP 2, attention pooling",
    "PE-Core-B-16": "Perception Encoder, attention pooling",
    "coca_ViT-B-32": "CoCa, attention pooling",
    "MobileCLIP-B": "MobileCLIP, convolutional stem",
    "timm:vit_base_patch14_dinov2": "DINOv2, 518 pixels",
    "timm:vit_base_patch16_dinov3": "DINOv3",
    "convnext_base": "ConvNeXt, embedding only",
    "RN50": "ResNet, embedding only",
}
"""One model of each family of encoders, of base size where there is one."""
SMALL = {
    "embed_dim": 256,
    "vision_cfg": {
        "image_size": 32,
        "layers": 24,
        "width": 256,
        "head_width": 64,
        "patch_size": 16,
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
"""For the memory: contexts of 12 KiB an image, a forward pass of a millisecond."""


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Measure; ``overhead_ratio`` is the larger of the models' medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks encode")
    parser.add_argument("--models", nargs="+", default=list(FAMILIES))
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9, help="pairs of runs a model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--images", type=int, default=2000, help="images of the smaller workspace for the memory"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    timed = {}
    for model in args.models:
        encoder = load_encoder(model, None, args.device, args.precision)
        timed[model] = {
            "family": FAMILIES.get(model, ""),
            **overhead(encoder, args.batch_size, args.repeats),
            "bytes_an_image": bytes_an_image(encoder),
        }
        print(model, timed[model], flush=True)
    memory = peak_memory(args.images)
    return {
        "overhead_ratio": max(entry["ratio"] for entry in timed.values()),
        "models": timed,
        "memory": memory,
        "device": str(encoder.device),
        "precision": encoder.precision,
        "batch_size": args.batch_size,
        "threads": torch.get_num_threads(),
    }


def overhead(encoder: Encoder, batch_size: int, repeats: int) -> dict[str, Any]:
    """Median of the paired ratios of time, with quartiles, and both medians in images a second."""
    size = encoder.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(encoder.precision)

    def plain() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(encoder.device.type, dtype, enabled=dtype is not None),
        ):
            output = encoder.tower(encoder.normalise(pixels))
            (output[0] if isinstance(output, tuple) else output).cpu()  # CoCa gives two

    def encoded() -> None:
        batch = encoder.encode_images(pixels)
        batch.embedding.cpu()
        if encoder.gives.heads:
            batch.ln_post.cpu()
            batch.heads.half().cpu()

    plain()
    encoded()
    pairs = []
    for i in range(repeats):
        first, second = (plain, encoded) if i % 2 == 0 else (encoded, plain)
        on_cpu = encoder.device.type == "cpu"
        times = {first: seconds(first, on_cpu), second: seconds(second, on_cpu)}
        pairs.append((times[plain], times[encoded]))
    ratios = [ours / alone for alone, ours in pairs]
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "ratio": round(float(median), 4),
        "ratio_quartiles": [round(float(low), 4), round(float(high), 4)],
        "pairs": repeats,
        "plain_images_per_s": round(batch_size / statistics.median(alone for alone, _ in pairs), 2),
        "encoded_images_per_s": round(batch_size / statistics.median(ours for _, ours in pairs), 2),
    }


def seconds(function: Callable[[], None], on_cpu: bool) -> float:
    """Time of one call, whose results have reached the CPU when it returns: on a CPU of this
    process's cores, which other work on the machine does not lengthen, else by the clock.
    """
    clock = time.process_time if on_cpu else time.perf_counter
    began = clock()
    function()
    return clock() - began


def peak_memory(images: int) -> dict[str, Any]:
    """Peak resident memory of encoding `images` and four times as many, each in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = small_model(root / "model")
        results = []
        for count in (images, 4 * images):
            workspace = small_workspace(root / str(count), count)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                results.append(pool.submit(encode_and_measure, workspace, model).result())
        (one, bytes_one), (four, bytes_four) = results
    return {
        "images": [images, 4 * images],
        "peak_mib": [round(one / 2**20, 1), round(four / 2**20, 1)],
        "ratio_at_4x": round(four / one, 4),
        "growth_bytes_an_image": round((four - one) / (3 * images), 1),
        "arrays_bytes_an_image": round((bytes_four - bytes_one) / (3 * images), 1),
    }


def encode_and_measure(workspace: Path, model: str) -> tuple[int, int]:
    """In a fresh process: encode; returns peak resident bytes and the bytes of the published
    files.
    """
    encode(workspace, load_encoder(model, None, "cpu"), workers=0)
    files = read_manifest(workspace)["files"]
    return peak_resident_bytes(), sum(files[name]["bytes"] for name in array_axes(files))


def small_model(folder: Path) -> str:
    """An untrained model on disk, for ``--model``."""
    from safetensors.torch import save_file

    from aigi_core.clip._open_clip import open_clip

    folder.mkdir()
    save_file(open_clip.CLIP(**SMALL).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": SMALL, "preprocess_cfg": {}})
    )
    return f"local-dir:{folder}"


def small_workspace(folder: Path, count: int) -> Path:
    """A workspace of noise, as far as encoding reads one."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        path = f"{i:06d}.bmp"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
            folder / "images" / path
        )
        content = (folder / "images" / path).read_bytes()
        rows.append(
            {
                "path": path,
                "content_hash": sha256(content).hexdigest(),
                **dict.fromkeys(("generator", "family", "pool", "group"), ""),
                "label": 0,
                "split": "test",
                "left_out": "",
            }
        )
    pd.DataFrame(rows).to_parquet(folder / "images.parquet", index=False)
    files = {"images.parquet": describe_file(folder, "images.parquet")}
    write_manifest(
        folder,
        {
            "schema_version": SCHEMA_VERSION,
            "encoder": None,
            "files": files,
            "image_root": str(folder / "images"),
        },
    )
    return folder
