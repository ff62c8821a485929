"""From a folder of images to a workspace's table: ``python -m precompute ingest``.

``walk`` lists the files, ``layouts`` say what they are called, ``tables``, ``listing`` and
``polarity`` read tables, ``checks`` asks what only the user knows (``answers``), ``decode`` opens
each file once, ``splits`` divides them, ``pipeline`` joins these, ``publish`` writes the workspace.
Nothing here loads torch.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aigi_core.commands import USUAL_ENCODER, WITHOUT_HUB, command
from aigi_core.errors import AigiError
from precompute.engine import add_engine_options, engine_from
from precompute.ingest.answers import MIN_IMAGES, add_answers, parse_answers
from precompute.options import add_shared, folder, image_folder, whole_number
from precompute.shares import add_share_option

if TYPE_CHECKING:
    from precompute.ingest.units import Reading


def add_ingest_options(parser: argparse.ArgumentParser) -> None:
    """The options of ingest, for its own parser and for ``build``'s."""
    add = add_shared(parser, "seed")
    add(
        "--images",
        type=image_folder,
        metavar="DIR",
        help="folder of the images, or an address such as s3://bucket/images",
    )
    add("--out", type=folder, metavar="WORKSPACE", help="workspace to write")
    add(
        "--layout",
        default="auto",
        metavar="NAME",
        help="how folders or tables name label and generator (default: detect; see docs/data.md)",
    )
    add_answers(parser)
    add(
        "--dry-run",
        action="store_true",
        help="print what the layout decided and what is to be answered; open no image",
    )
    add(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="table (CSV, TSV, JSON, Parquet) with the columns path and label, and more if known",
    )
    add("--val", type=float, default=0.15, help="share of validation images (default 0.15)")
    add("--test", type=float, default=0.3, help="share of test images (default 0.3)")
    add(
        "--min-images",
        type=int,
        default=MIN_IMAGES,
        help=f"fewest images of a generator (default {MIN_IMAGES})",
    )
    add("--workers", type=whole_number, help="processes that decode (default: one a core)")
    add("--name", help="name that the app shows (default: the workspace's folder)")
    add(
        "--no-image-root",
        action="store_true",
        help="do not record where the images lie on this machine",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``ingest`` itself."""
    add_ingest_options(parser)
    add_engine_options(parser)
    add_share_option(parser)


def run(args: argparse.Namespace) -> int:
    """Ingest and publish; says what comes next."""
    from aigi_core.workspace import read_manifest
    from precompute.ingest.units import Reading

    if args.engine == "local" and not args.ray_address:
        reading = Reading(share=args.shard, workers=args.workers)
    else:  # each of the engine's workers has one process open files
        reading = Reading(engine=engine_from(args), share=args.shard, workers=1)
    code = read_and_publish(args, reading=reading)
    if not args.dry_run and not args.shard and not read_manifest(args.out).get("encoder"):
        print(f"Next: {command('encode', workspace=args.out, **USUAL_ENCODER)} ({WITHOUT_HUB})")
    return code


def read_and_publish(
    args: argparse.Namespace,
    ready: Callable[[], object] = lambda: None,
    reading: Reading | None = None,
) -> int:
    """Ingest and publish; prints what was decided and what was left out.

    Args:
        ready: called when nothing is left to ask, before any image is opened; in a dry run,
            whatever is left.
        reading: how files are opened; a share of them is opened and nothing published.

    Raises:
        AigiError: the options name no folder, or what ingest raises.
    """
    from precompute.ingest.layouts import LAYOUTS, asked_of_both, find_candidates
    from precompute.ingest.layouts.roots import common_root
    from precompute.ingest.pipeline import (
        files_to_open,
        ingest,
        refuse_counts,
        refuse_numbers,
        too_few_so_far,
    )
    from precompute.ingest.publish import (
        check_destination,
        publish,
        refuse_other_paths,
        refuse_place,
    )
    from precompute.ingest.summary import plan, summary
    from precompute.ingest.units import FOLDER, Reading, read_files

    refuse_numbers(args.val, args.test, args.min_images)
    answers = parse_answers(args)
    root = common_root(answers, args.images)
    if root is None:
        raise AigiError("Name the images with --images DIR, or with --real DIR --fake NAME=DIR.")
    folders = answers.folders or (root,)
    named = {name: getattr(args, name) for name in ("images", "real", "fake")}
    if args.layout not in ("auto", *LAYOUTS):
        raise AigiError(f"There is no layout {args.layout!r}; there are {', '.join(LAYOUTS)}.")
    numbers = {name: getattr(args, name) for name in ("val", "test", "seed", "min_images")}
    if args.dry_run:
        candidates = asked_of_both(find_candidates(root, args.layout, args.manifest, answers))
        print(plan(candidates))
        if args.out is not None:
            refuse_place(args.out, folders)
            refuse_other_paths(args.out, candidates.table, named)
        if not candidates.questions:
            refuse_counts(candidates, **numbers)
        elif few := too_few_so_far(candidates, args.min_images):
            print(few, file=sys.stderr)
        ready()
        return 2 if candidates.questions else 0
    if args.out is None:
        raise AigiError("Name the workspace to write with --out WORKSPACE (or try --dry-run).")
    units = args.out / FOLDER
    reading = replace(reading or Reading(workers=args.workers), folder=units)
    with check_destination(args.out, folders, held=reading.share is None):
        candidates = asked_of_both(find_candidates(root, args.layout, args.manifest, answers))
        print(plan(candidates), "", sep="\n", flush=True)
        if candidates.questions:
            few = too_few_so_far(candidates, args.min_images)
            raise AigiError("\n".join([*candidates.questions, *([few] if few else [])]))
        refuse_other_paths(args.out, candidates.table, named)
        refuse_counts(candidates, **numbers)
        ready()
        if reading.share:
            read_files(root, files_to_open(candidates.table), reading)
            print(
                f"Share {reading.share} is read. When all {reading.share.count} are, the same"
                " command without --shard writes the workspace."
            )
            return 0
        try:
            result = ingest(root, candidates=candidates, **numbers, reading=reading)
            print(summary(result.images, result.record, candidates))
            place = None if args.no_image_root else root.resolve()
            hint = root.resolve().name
            print(
                publish(result, args.out, name=args.name, image_root=place, hint=hint, named=named)
            )
        except AigiError:  # other images or options are wanted; an interruption keeps the units
            shutil.rmtree(units, ignore_errors=True)
            raise
        shutil.rmtree(units, ignore_errors=True)
    return 0
