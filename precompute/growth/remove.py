"""``python -m precompute remove``: take generators or pools out of a workspace."""

from __future__ import annotations

import argparse

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE
from aigi_core.statements import part_counted
from aigi_core.transfer.imported import KIND
from aigi_core.workspace import Workspace, exclusive, read_manifest
from precompute.growth.rewrite import finish, rewrite, without_outdated
from precompute.growth.subset import add_choice, lost_in, require_known, still_valid
from precompute.options import add_shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``remove``."""
    add_shared(parser, "workspace")
    add_choice(parser)


def run(args: argparse.Namespace) -> int:
    """Remove in place; what the others need stays, and their splits do not move."""
    names, pools = set(args.generators), set(args.pools)
    if not names | pools:
        raise AigiError("Name what to remove with --generators NAME ... or --pools POOL ...")
    read_manifest(args.workspace)
    with exclusive(args.workspace, "remove"):
        finished = finish(args.workspace)
        workspace = Workspace.open(args.workspace)
        there = {*workspace.domains.generators, *workspace.images["pool"]}
        if finished and not (names | pools) & there:
            print(f"The interrupted change of {args.workspace} was finished.")
            return 0
        require_known(workspace, names, pools)
        images = workspace.all_images
        gone = (images["label"] == FAKE) & images["generator"].isin(names)
        gone |= images["pool"].isin(pools)
        table = still_valid(images[~gone])
        manifest = without_outdated(workspace.manifest)
        again = rewrite(args.workspace, table, manifest, [workspace]) + lost_in(
            images[~gone], table
        )
    kept = int((table["left_out"] == "").sum())
    if KIND.job in again:
        again += (
            "\nA table of scores has rows of the removed images, too: take them out, or let"
            f" {KIND.job} leave them out with --ignore-unknown, which says how many."
        )
    print(
        f"{args.workspace} now holds {part_counted(kept, len(workspace.images), 'image')}. {again}"
    )
    return 0
