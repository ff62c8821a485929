"""A synthetic workspace of any size in bounded memory, in the shape of an encoder: embeddings with
a spectrum like CLIP's, generators that share their real images, groups, planted confounds, and
optionally heads and texts.

It measures how long the writing takes; other benchmarks and the app open the folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from aigi_core.errors import AigiError
from benchmarks._large_workspace import HeadShape, write_large_workspace
from benchmarks._memory import peak_resident_bytes


def main(argv: Sequence[str]) -> dict[str, Any]:
    """Write the workspace; returns seconds, bytes on the disk and the peak of memory, in which
    pages of the files being written are counted.

    Raises:
        AigiError: a folder with a workspace, fewer than one image a generator and class, or an
            encoder that open_clip does not know.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks make-workspace")
    parser.add_argument("--images", type=lambda text: int(float(text)), required=True)
    parser.add_argument("--encoder", default="ViT-L-14", help="a name of open_clip: its shape")
    parser.add_argument("--heads", action="store_true", help="49 KB an image of ViT-L-14")
    parser.add_argument("--texts", action="store_true", help="the project's phrases, at random")
    parser.add_argument("--generators", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True, metavar="WORKSPACE")
    args = parser.parse_args(argv)
    if (args.out / "workspace.json").exists():
        raise AigiError(f"{args.out} holds a workspace already: name another folder with --out.")
    if args.generators < 1 or args.images < 100 * args.generators:
        raise AigiError(
            "Expected at least one generator and 100 images for each, got"
            f" --generators {args.generators} --images {args.images}."
        )
    width, shape = _shape(args.encoder)
    began = perf_counter()
    write_large_workspace(
        args.out,
        args.images,
        args.generators,
        width,
        model=args.encoder,
        head_shape=shape if args.heads else None,
        texts=args.texts,
    )
    return {
        "images": args.images,
        "seconds": round(perf_counter() - began, 1),
        "bytes": sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file()),
        "peak_gb": round(peak_resident_bytes() / 1e9, 2),
    }


def _shape(name: str) -> tuple[int, HeadShape]:
    """Width of the embedding, and the heads of the image tower."""
    from aigi_core.clip._open_clip import open_clip

    config = open_clip.get_model_config(name)
    tower = {} if config is None else config["vision_cfg"]
    if not isinstance(tower.get("layers"), int):
        raise AigiError(
            f"There is no vision transformer {name!r} in open_clip: name one such as ViT-B-16 or"
            " ViT-L-14."
        )
    head_width = tower.get("head_width", 64)
    return config["embed_dim"], HeadShape(tower["layers"], tower["width"] // head_width, head_width)
