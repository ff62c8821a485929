"""From a folder of images to a workspace's table: ``python -m precompute ingest``.

``layouts`` and ``listing`` say which files there are and what they are called, ``decode`` opens
each once, ``splits`` divides them, ``pipeline`` joins these, ``publish`` writes the workspace.
Nothing here loads torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

MIN_IMAGES = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ingest, for its own parser and for ``build``'s."""
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    add("--out", type=Path, required=True, metavar="WORKSPACE", help="workspace to write")
    layouts = ("auto", "folders", "cnndetection", "genimage", "manifest")
    add(
        "--layout",
        choices=layouts,
        default="auto",
        help="how the folders name label and generator (default: detect)",
    )
    add(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="CSV or Parquet with the columns path and label, and more if known",
    )
    add("--val", type=float, default=0.15, help="share of validation images (default 0.15)")
    add("--test", type=float, default=0.3, help="share of test images (default 0.3)")
    add("--seed", type=int, default=0, help="seed of the split (default 0)")
    add(
        "--min-images",
        type=int,
        default=MIN_IMAGES,
        help=f"fewest images of a generator (default {MIN_IMAGES})",
    )
    add("--workers", type=int, help="processes that decode (default: one a core)")
    add("--name", help="name that the app shows (default: the workspace's folder)")
    add(
        "--no-image-root",
        action="store_true",
        help="do not record where the images lie on this machine",
    )


def add_parser(subparsers: Any) -> None:
    """Register ``ingest``."""
    add_arguments(
        subparsers.add_parser(
            "ingest", description="Read a folder of images into a workspace's table."
        )
    )


def run(args: argparse.Namespace) -> int:
    """Ingest and publish; prints what was decided and what was left out."""
    from precompute.ingest.pipeline import ingest
    from precompute.ingest.publish import check_destination, publish
    from precompute.ingest.summary import summary

    with check_destination(args.out, args.images):
        result = ingest(
            args.images,
            layout=args.layout,
            manifest=args.manifest,
            val=args.val,
            test=args.test,
            seed=args.seed,
            min_images=args.min_images,
            workers=args.workers,
        )
        print(summary(result.images, result.record))
        root = None if args.no_image_root else args.images.resolve()
        print(
            publish(
                result, args.out, name=args.name, image_root=root, hint=args.images.resolve().name
            )
        )
    return 0
