"""``python -m precompute build``: ingest, encode, text, detectors and audit in one go; each step
skips what is already done.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigi_core.clip.names import refuse_mistyped
from aigi_core.commands import command, open_command
from aigi_core.detectors.stored import SCORED
from aigi_core.detectors.training import training_seconds
from aigi_core.errors import AigiError
from aigi_core.nearest import search_seconds
from aigi_core.statements import counted
from aigi_core.workspace import Workspace
from precompute import encode, ingest
from precompute.audit import keep_audit
from precompute.ingest.answers import parse_answers
from precompute.ingest.layouts.roots import common_root
from precompute.options import add_shared

AUDIT, MANY = (2e-3, 4e-4), 20_000
"""Seconds of a core for an image that the audit takes without its search for duplicates, for so
many images and for each beyond, when it draws blocks and looks at samples (docs/scale.md)."""
READING, LOOKING = 0.01, 9e-5
"""The same to read one again that is looked at for common marks, and for all that is kept beside
detectors where images are many."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``build``."""
    ingest.add_ingest_options(parser)
    encode.add_encoder_options(parser)
    add = add_shared(parser, "words")
    add(
        "--no-audit",
        action="store_true",
        help="leave the audit to `audit`, which takes longest where images are many",
    )
    add(
        "--no-texts",
        action="store_true",
        help="leave the banks of texts to `text`, which take longest where images are few",
    )


def run(args: argparse.Namespace) -> int:
    """Run the five steps; a mistyped model is refused before a folder is listed, and the model is
    loaded when the folders are understood and before any image is opened, so that a mistake in
    either costs little.
    """
    refuse_mistyped(args.model)
    if args.no_texts and args.words:
        raise AigiError("--words cuts a bank of texts: leave it out, or --no-texts.")
    if args.dry_run:
        return ingest.read_and_publish(args, lambda: encode.check_options(args, planned=True))
    if args.out is None:
        raise AigiError("Name the workspace to write with --out WORKSPACE.")
    loaded: list[Any] = []
    ingest.read_and_publish(args, lambda: loaded.append(encode.load(args, args.out)))
    [encoder] = loaded
    args.images = common_root(parse_answers(args), args.images)
    from precompute.text import add_bank, own_sources  # loads torch

    print("Encoding follows.", flush=True)
    print(encode.encode_workspace(args, args.out, encoder))
    if not encoder.gives.has("texts"):
        print(f"No bank of texts: {encoder.gives.lacks['texts']}.")
    elif args.no_texts:
        later = command("text", workspace=args.out)
        print(f"No bank of texts: --no-texts was given; '{later}' makes them.")
    else:
        for source in own_sources(encoder, words=args.words):
            print(add_bank(args.out, encoder, source))
    _prepare_pages(args.out, args.images, audited=not args.no_audit)
    print(f"Done: open it with '{open_command(args.out)}'.")
    return 0


def _prepare_pages(path: Path, images: Path | None, *, audited: bool) -> None:
    """What pages begin with, and how long it will take; where something cannot be computed, the
    sentence says why."""
    from precompute.detectors import try_to_keep

    print(_estimate(Workspace.open(path), audited))
    print(try_to_keep(path))
    if not audited:
        print("No audit: --no-audit was given.")
        return
    try:
        print(keep_audit(path, images))
    except AigiError as error:
        print(f"No audit: {error}")


def _estimate(workspace: Workspace, audited: bool) -> str:
    from aigi_core.audit.report import looked_at  # what it imports takes long

    images, generators = len(workspace.images), len(workspace.domains.generators)
    seconds = training_seconds(workspace, generators, twins=True)
    seconds += images * LOOKING if images >= SCORED else 0
    if audited:
        audit = min(images, MANY) * AUDIT[0] + max(images - MANY, 0) * AUDIT[1]
        seconds += audit + len(looked_at(workspace.domains)) * READING
        seconds += search_seconds(images, workspace.embeddings.shape[1])
    minutes = max(round(seconds / 60), 1)
    what = f"{counted(generators, 'detector')}{' and the audit' if audited else ''}"
    return f"What pages begin with: {what}, about {counted(minutes, 'minute')} of one core."
