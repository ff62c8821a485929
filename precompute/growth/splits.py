"""``python -m precompute splits``: divide a workspace's images anew; nothing is encoded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS, validate_images
from aigi_core.splits import fold, redraw
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, exclusive, read_manifest
from precompute.growth.rewrite import finish, outdated, remove_perturbed, rewrite, source


def add_parser(subparsers: Any) -> None:
    """Register ``splits``."""
    parser = subparsers.add_parser("splits", description="Divide a workspace's images anew.")
    add = parser.add_argument
    add("--workspace", type=Path, required=True, metavar="W", help="an encoded workspace")
    add("--seed", type=int, default=0, help="seed of the draw (default 0)")
    add("--val", type=float, help="share of validation images (default: as before)")
    add("--test", type=float, help="share of test images (default: as before)")
    add("--folds", type=int, metavar="K", help="K-fold: the test part is one of K folds")
    add("--fold", type=int, default=1, metavar="I", help="which of the folds (default 1)")


def run(args: argparse.Namespace) -> int:
    """Divide in place.

    A data set's own splits are given up: comparisons with its published numbers no longer hold.
    """
    read_manifest(args.workspace)
    with exclusive(args.workspace, "splits"):
        finish(args.workspace)
        workspace = Workspace.open(args.workspace)
        record = dict(workspace.manifest.get("ingest", {}))
        val = record.get("val", 0.15) if args.val is None else args.val
        test = record.get("test", 0.3) if args.test is None else args.test
        if not (0 <= val < 1 and 0 < test < 1 and val + test < 1):
            raise AigiError(
                f"Expected shares with 0 <= val, 0 < test and val + test < 1, got {val}, {test}."
            )
        images = workspace.all_images
        before = images["split"].copy()
        if args.folds is None:
            images["split"] = redraw(images, seed=args.seed, val=val, test=test)
            how = f"seed {args.seed}"
        else:
            images["split"] = fold(images, args.fold, args.folds, seed=args.seed, val=val)
            how = f"fold {args.fold} of {args.folds}, seed {args.seed}"
        moved = int((images["split"] != before).sum())
        counts = images.loc[images["left_out"] == "", "split"].value_counts()
        kept = ", ".join(f"{int(counts.get(name, 0)):,} {name}" for name in SPLITS)
        if not moved:
            print(f"Nothing changed: {args.workspace} is divided so already ({kept}).")
            return 0
        manifest, again = outdated(workspace.path, workspace.manifest)
        manifest["ingest"] = record | {"seed": args.seed, "val": val, "test": test, "splits": how}
        rewrite(args.workspace, validate_images(images), [source(workspace)], manifest)
        remove_perturbed(args.workspace)
    print(
        f"Divided {args.workspace} anew ({how}): {kept}; {counted(moved, 'image')} moved. {again}"
    )
    return 0
