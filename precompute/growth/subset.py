"""``python -m precompute subset``: a new workspace of some generators or pools of another."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.manifest import FAKE, REAL, validate_images
from aigi_core.statements import counted, part_counted
from aigi_core.workspace import MANIFEST, Workspace, exclusive, read_manifest
from precompute.growth import splits
from precompute.growth.rewrite import copy_texts, rewrite, without_outdated
from precompute.ingest.reasons import without_lost
from precompute.options import add_shared


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which generators and pools are meant."""
    parser.add_argument("--generators", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--pools", nargs="+", default=[], metavar="POOL")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``subset``."""
    add_shared(parser, "workspace")("--out", type=Path, required=True, metavar="NEW")
    add_choice(parser)
    splits.add_splits(parser)  # without them the images stay where they are


def run(args: argparse.Namespace) -> int:
    """Write the new workspace, where asked with splits of its own."""
    workspace = Workspace.open(args.workspace)
    names, pools = set(args.generators), set(args.pools)
    if not names | pools:
        raise AigiError("Name what to keep with --generators NAME ... or --pools POOL ...")
    require_known(workspace, names, pools)
    images = workspace.all_images
    fake, real = images["label"] == FAKE, images["label"] == REAL
    keep = fake & (images["generator"].isin(names) if names else True)
    keep &= images["pool"].isin(pools) if pools else True
    used = set(images.loc[keep & (images["left_out"] == ""), "pool"])
    keep |= real & images["pool"].isin(used)
    table = still_valid(images[keep])
    record = dict(workspace.manifest.get("ingest", {}))
    if splits.asked(args):
        table, record = splits.divide(table, record, args)
    with exclusive(args.out, "subset"):
        refuse_used(args.out)
        manifest = without_outdated(workspace.manifest)
        manifest["ingest"] = record
        manifest["name"] = args.out.resolve().name
        copy_texts(workspace.path, args.out, manifest)
        again = rewrite(args.out, table, manifest, [workspace])
    kept = int((table["left_out"] == "").sum())
    again += lost_in(images[keep], table)
    print(f"Wrote {args.out}: {part_counted(kept, len(workspace.images), 'image')}. {again}")
    return 0


def lost_in(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """A sentence on rows that :func:`still_valid` took out of a table; empty without any."""
    if len(before) == len(after):
        return ""
    return (
        f"\n{counted(len(before) - len(after), 'file', 'were')} left out for another image, which"
        " is gone: 'add' takes such files as new images."
    )


def require_known(workspace: Workspace, names: Collection[str], pools: Collection[str]) -> None:
    """Raise AigiError for a generator or pool that the workspace lacks."""
    for what, wanted, present in (
        ("generator", names, set(workspace.domains.generators)),
        ("pool", pools, set(workspace.images["pool"])),
    ):
        if missing := sorted(set(wanted) - present):
            raise AigiError(
                f"There is no {what} {missing[0]!r} in {workspace.path}; there are"
                f" {', '.join(sorted(present))}."
            )


def still_valid(images: pd.DataFrame) -> pd.DataFrame:
    """A part of a table as a table of its own; pools without fakes are left out with the reason,
    and what was left out for an image that is gone is no longer in it.

    Raises:
        AigiError: no generator, or no real image, is left.
    """
    table = without_lost(images.reset_index(drop=True))
    kept = table["left_out"] == ""
    used = set(table.loc[kept & (table["label"] == FAKE), "pool"])
    unused = kept & ~table["pool"].isin(used)
    table.loc[unused, "left_out"] = (
        "unused: no generator has fakes in the pool " + table.loc[unused, "pool"]
    )
    table.loc[unused, "split"] = ""
    labels = set(table.loc[table["left_out"] == "", "label"])
    if labels != {REAL, FAKE}:
        raise AigiError("Nothing would be left to compare: keep a generator and its real images.")
    return validate_images(table)


def refuse_used(out: Path) -> None:
    """Raise WorkspaceError where a workspace would be overwritten; one that a killed run of the
    same command left is made anew."""
    if (out / MANIFEST).is_file() and not read_manifest(out).get("unfinished"):
        raise WorkspaceError(f"{out} is a workspace already: choose a new folder for --out.")
