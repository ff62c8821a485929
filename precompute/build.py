"""``python -m precompute build``: ingest, encode, text and detectors in one go; each step skips
what is already done.
"""

from __future__ import annotations

import argparse
from typing import Any

from aigi_core.errors import AigiError
from precompute import encode, ingest


def add_parser(subparsers: Any) -> None:
    """Register ``build``: the options of ingest and encode, and the size of the vocabulary."""
    parser = subparsers.add_parser(
        "build", description="From a folder of images to a finished workspace."
    )
    ingest.add_arguments(parser)
    encode.add_arguments(parser)
    parser.add_argument(
        "--words",
        type=int,
        metavar="N",
        help="keep only the N most frequent words of the vocabulary",
    )


def run(args: argparse.Namespace) -> int:
    """Run the four steps; the model is loaded first, so that a mistake in its name costs no
    ingest.
    """
    from precompute.detectors import try_to_keep
    from precompute.text import add_bank, own_sources

    if args.dry_run:
        return ingest.read_and_publish(args)
    if args.out is None:
        raise AigiError("Name the workspace to write with --out WORKSPACE.")
    encoder = encode.load(args, args.out)
    ingest.read_and_publish(args)
    print(encode.encode_workspace(args, args.out, encoder))
    if encoder.gives.has("texts"):
        for source in own_sources(encoder, words=args.words):
            print(add_bank(args.out, encoder, source))
    else:
        print(f"No bank of texts: {encoder.gives.lacks['texts']}.")
    print(try_to_keep(args.out))
    return 0
