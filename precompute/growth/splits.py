"""``python -m precompute splits``: divide a workspace's images anew; nothing is encoded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import pandas as pd

from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS, validate_images
from aigi_core.splits import fold, redraw
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, exclusive, read_manifest
from precompute.growth.rewrite import finish, rewrite, without_outdated
from precompute.options import add_shared, from_zero, whole_number


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``splits``."""
    add_shared(parser, "workspace")
    add_splits(parser)


def add_splits(parser: argparse.ArgumentParser) -> None:
    """How images are divided."""
    add = parser.add_argument
    add("--seed", type=from_zero, help="seed of the draw (default 0)")
    add("--val", type=float, help="share of validation images (default: as before)")
    add("--test", type=float, help="share of test images (default: as before)")
    add("--folds", type=whole_number, metavar="K", help="K-fold: the test part is one of K folds")
    add("--fold", type=whole_number, metavar="I", help="which of the folds (default 1)")


def asked(args: argparse.Namespace) -> bool:
    """Whether a division of its own was asked for."""
    told = (args.seed, args.val, args.test, args.folds, args.fold)
    return any(one is not None for one in told)


def divide(
    images: pd.DataFrame, record: Mapping[str, Any], args: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table with splits drawn as asked, and the record of the ingest that says so.

    Raises:
        AigiError: shares or folds that do not hold.
    """
    if args.folds is None and args.fold is not None:
        raise AigiError(f"--fold {args.fold} is one of K folds: say how many with --folds K.")
    if args.folds is not None and args.test is not None:
        raise AigiError(
            f"Of --folds {args.folds}, one is the test part: leave --test out, or --folds."
        )
    val = record.get("val", 0.15) if args.val is None else args.val
    test = record.get("test", 0.3) if args.test is None else args.test
    seed = args.seed or 0
    if not (0 <= val < 1 and 0 < test < 1 and val + test < 1):
        raise AigiError(
            f"Expected shares with 0 <= val, 0 < test and val + test < 1, got {val}, {test}."
        )
    if args.folds is None:
        split = redraw(images, seed=seed, val=val, test=test)
        how = f"seed {seed}"
    else:
        number = args.fold or 1
        split = fold(images, number, args.folds, seed=seed, val=val)
        how = f"fold {number} of {args.folds}, seed {seed}"
    return images.assign(split=split), dict(record) | {
        "seed": seed,
        "val": val,
        "test": test,
        "splits": how,
    }


def run(args: argparse.Namespace) -> int:
    """Divide in place.

    A data set's own splits are given up: comparisons with its published numbers no longer hold.
    """
    read_manifest(args.workspace)
    with exclusive(args.workspace, "splits"):
        finish(args.workspace)
        workspace = Workspace.open(args.workspace)
        before = workspace.all_images
        images, record = divide(before, workspace.manifest.get("ingest", {}), args)
        moved = int((images["split"] != before["split"]).sum())
        counts = images.loc[images["left_out"] == "", "split"].value_counts()
        kept = ", ".join(f"{int(counts.get(name, 0)):,} {name}" for name in SPLITS)
        if not moved:
            print(f"Nothing changed: {args.workspace} is divided so already ({kept}).")
            return 0
        manifest = without_outdated(workspace.manifest) | {"ingest": record}
        again = rewrite(args.workspace, validate_images(images), manifest, [workspace])
    print(
        f"Divided {args.workspace} anew ({record['splits']}): {kept}; {counted(moved, 'image')}"
        f" moved. {again}"
    )
    return 0
