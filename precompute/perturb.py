"""Perturbed copies of a workspace's images, encoded: ``python -m precompute perturb --ops
jpeg:90,50 blur:2``.

Each operation is an encoding of its own, with the operation before the workspace's preprocessing:
same shards, same resumption, same refusal of other weights. Results lie in ``perturbed/OP/`` and in
the manifest under ``perturbed``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aigi_core.clip.consent import add_weights_options
from aigi_core.errors import AigiError
from aigi_core.manifest import SPLITS
from aigi_core.perturb import Op, parse_ops, usual_ops
from aigi_core.statements import counted
from precompute.encode import add_division, divided
from precompute.options import add_shared

WORKING = ".perturb"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``perturb``."""
    add = add_shared(parser, "workspace", "images", "device", "batch-size", "shard-size")
    usual = [str(op) for op in usual_ops()]
    add(
        "--ops",
        nargs="+",
        default=usual,
        metavar="OP",
        help=f"operations (default: {' '.join(usual)})",
    )
    add(
        "--splits",
        nargs="+",
        choices=SPLITS,
        default=["test"],
        help="whose images (default: test; all to train on them)",
    )
    add(
        "--heads",
        action="store_true",
        help="keep the heads too: needed to see which heads are robust",
    )
    add("--half", action="store_true", help="keep the embeddings in half precision: half the bytes")
    add_weights_options(parser)
    add_division(parser)


def run(args: argparse.Namespace) -> int:
    """Encode every operation; prints one line each."""
    from aigi_core.clip.workspace_encoder import encoder_from
    from aigi_core.workspace import Workspace

    ops = parse_ops(args.ops)  # refused before weights load
    workspace = Workspace.open(args.workspace)
    encoder = encoder_from(workspace, args)
    encoder = replace(encoder, precision=workspace.encoder["precision"])
    try:
        for op in ops:
            again = partial(
                load, args.workspace, op, args.model, args.pretrained, str(encoder.device)
            )
            print(
                perturb(
                    args.workspace,
                    encoder,
                    op,
                    args.splits,
                    heads=args.heads,
                    half=args.half,
                    images=args.images,
                    batch_size=args.batch_size,
                    shard_size=args.shard_size,
                    workers=args.workers,
                    division=divided(args, encoder, again),
                ),
                flush=True,
            )
    except KeyboardInterrupt:
        print(
            "Finished operations and shards are kept; the same command goes on from there.",
            file=sys.stderr,
        )
        raise
    return 0


def perturb(
    path: Path,
    encoder: Any,
    op: Op,
    splits: Sequence[str] = ("test",),
    *,
    heads: bool = False,
    half: bool = False,
    images: Path | None = None,
    batch_size: int | None = None,
    shard_size: int | None = None,
    workers: int | None = None,
    division: Any = None,
) -> str:
    """Encode the copies of one operation and publish them; goes on where an earlier run stopped.

    Args:
        encoder: the workspace's own, with the workspace's preprocessing.
        half: keep the embeddings as float16 (11 bits: a relative error of at most 0.0005 in each
            component).
        division: how shards are divided over machines
            (:class:`precompute.encode.pipeline.Division`), by default not at all.

    Returns:
        A sentence on what was done.

    Raises:
        WorkspaceError: not encoded, or being written by another.
        AigiError: no image in these splits, or what :func:`precompute.encode.pipeline.encode`
            raises.
    """
    from aigi_core.workspace import Workspace, exclusive, read_manifest
    from precompute.encode.pipeline import (
        Division,
        amount_in_words,
        compute,
        image_root,
        kept_images,
        plan_sizes,
        resource_errors_explained,
        share_in_words,
        sound,
    )
    from precompute.encode.publish import clean
    from precompute.encode.shards import cut
    from precompute.growth.copies import FOLDER, halve, names
    from precompute.growth.gather import Source

    division = division or Division()
    share = division.share
    with nullcontext() if share else exclusive(path, f"perturb {op}"):
        workspace = Workspace.open(path)
        if heads:
            workspace.need("heads")
        manifest = read_manifest(path)
        table = kept_images(path, manifest)
        table = table[table["split"].isin(splits)].reset_index(drop=True)
        if table.empty:
            raise AigiError(
                f"The workspace {path} has no images in the split {' + '.join(splits)}."
            )
        encoder = replace(encoder, preprocessing=encoder.preprocessing.after([str(op)]))
        wanted = _record(workspace, encoder, op, table, splits, heads=heads, half=half)
        files = [f"{FOLDER}/{op.slug}/{name}" for name in names(heads)]
        if manifest.get(FOLDER, {}).get(op.slug) == wanted and all(
            sound(path, name, manifest) for name in files
        ):
            return f"{op}: nothing to do, the {counted(len(table), 'copy', 'are')} there."
        root = image_root(path, manifest, images)
        working = path / WORKING / op.slug
        if not share:
            for left in (*path.glob("*.tmp"), *working.glob("*.tmp")):
                left.unlink()  # of a killed run: nobody else writes here now
        plan = plan_sizes(
            working, encoder, batch_size or workspace.encoder.get("batch_size"), shard_size
        )
        sources = _reusable(workspace, op.slug, wanted)
        known = {content for source in sources for content in source.hashes}
        new = table[~table["content_hash"].isin(list(known))].reset_index(drop=True)
        shards = cut(new, plan["shard_size"], plan["batch_size"], encoder)
        with resource_errors_explained(working, plan["batch_size"]):
            missing, seconds = 0, 0.0
            if shards:
                missing, seconds = compute(
                    shards, encoder, root, working, workers, what=str(op), division=division
                )
            if share:
                return f"{op}: {share_in_words(share, missing, seconds)}"
            if half and len(new):
                halve(working / "merged" / "embeddings.npy")
            sources.append(Source(working / "merged", new["content_hash"].tolist()))
            publish(path, op, joined(sources, table, names(heads), working), wanted, files)
        clean(working)
        if not any((path / WORKING).iterdir()):
            clean(path / WORKING)
        there = f"; {counted(len(table) - len(new), 'copy', 'were')} there" if known else ""
        return f"{op}: encoded {amount_in_words(len(new), missing, seconds)}{there}."


def _record(
    workspace: Any,
    encoder: Any,
    op: Op,
    table: Any,
    splits: Sequence[str],
    *,
    heads: bool,
    half: bool,
) -> dict[str, Any]:
    """What was asked for, as the manifest records it."""
    return {
        "op": str(op),
        "splits": [split for split in SPLITS if split in splits],
        "images": len(table),
        "heads": heads,
        "half": half,
        "preprocessing_sha256": encoder.preprocessing.sha256,
        "workspace_digest": workspace.digest,
    }


def _reusable(workspace: Any, slug: str, wanted: dict[str, Any]) -> list[Any]:
    """Where the workspace has copies made in the same way, of whatever splits."""
    from precompute.encode.pipeline import sound
    from precompute.growth.copies import DECIDES, copies_of, names

    copies = copies_of([workspace]).get(slug)
    same = [name for name in DECIDES if name != "splits"]
    if copies is None or any(copies.entry[name] != wanted[name] for name in same):
        return []
    files = names(wanted["heads"])
    held = [f"{source.folder.relative_to(workspace.path)}/" for source in copies.sources]
    return [
        source
        for source, inside in zip(copies.sources, held, strict=True)
        if all(sound(workspace.path, f"{inside}{name}", workspace.manifest) for name in files)
    ]


def joined(sources: Sequence[Any], table: Any, files: Sequence[str], working: Path) -> Path:
    """A folder with the copies of all images of a table, in its order, wherever they lie."""
    from aigi_core.stored_features import array_axes
    from precompute.growth.gather import write_arrays

    filled = [source for source in sources if len(source.hashes)]
    if len(filled) == 1 and filled[0].folder == working / "merged":
        return working / "merged"
    write_arrays(working / "whole", array_axes(files), filled, table["content_hash"].tolist())
    return working / "whole"


def load(path: Path, op: Op, model: str | None, pretrained: str | None, device: str) -> Any:
    """The workspace's encoder with one operation before it, for a worker elsewhere."""
    from aigi_core.clip.workspace_encoder import workspace_encoder
    from aigi_core.workspace import Workspace

    workspace = Workspace.open(path)
    encoder = workspace_encoder(workspace, model, pretrained, device)
    preprocessing = encoder.preprocessing.after([str(op)])
    return replace(encoder, precision=workspace.encoder["precision"], preprocessing=preprocessing)


def publish(path: Path, op: Op, merged: Path, entry: dict[str, Any], files: Sequence[str]) -> None:
    """Move an operation's arrays into the workspace and name them in its manifest, last of all."""
    from aigi_core.workspace import describe_file, read_manifest, write_manifest
    from precompute.growth.copies import FOLDER

    manifest = read_manifest(path)
    prefix = f"{FOLDER}/{op.slug}/"
    kept = {name: about for name, about in manifest["files"].items() if not name.startswith(prefix)}
    others = {slug: about for slug, about in manifest.get(FOLDER, {}).items() if slug != op.slug}
    if len(kept) < len(manifest["files"]):  # while files are replaced, the old ones do not count
        write_manifest(path, manifest | {"files": kept, FOLDER: others})
    folder = path / FOLDER / op.slug
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        (merged / Path(name).name).replace(path / name)
    for left in folder.iterdir():
        if f"{prefix}{left.name}" not in files:
            left.unlink()
    new = {name: describe_file(path, name) for name in files}
    write_manifest(path, manifest | {"files": kept | new, FOLDER: others | {op.slug: entry}})
