"""Component and head search for pairs of generators: ``python -m precompute search``.

``shared`` computes what all pairs have in common, ``pair`` one pair (an idempotent function from
its names to a file), ``job`` maps the one over the others in processes, and merges. Interrupted, it
goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigi_core.clip.consent import add_weights_options
from aigi_core.detectors.presets import PRESETS, preset
from precompute.engine import add_engine_options, engine_from


def add_parser(subparsers: Any) -> None:
    """Register ``search``."""
    parser = subparsers.add_parser(
        "search",
        description=(
            "Search components and heads for pairs of generators, and measure both on the others."
        ),
    )
    add = parser.add_argument
    add("--workspace", type=Path, required=True, metavar="WORKSPACE", help="an encoded workspace")
    add(
        "--pairs",
        default="all",
        metavar="all|A:B,...",
        help="pairs of generators to search (default: all)",
    )
    add("--workers", type=int, help="processes (default: one a core)")
    add_engine_options(parser)
    add("--draws", type=int, default=1000, help="bootstrap draws of every interval (default 1000)")
    add(
        "--protocol",
        choices=sorted(PRESETS),
        default="ours",
        help="our defaults, or the paper's protocol to the letter (default ours)",
    )
    add_weights_options(parser)  # for the paper's protocol, which may load the encoder again
    add("--seed", type=int, default=0, help="seed of draws and controls (default 0)")


def run(args: argparse.Namespace) -> int:
    """Search and publish the atlas; prints progress with the time left, then where it lies."""
    from aigi_core.transfer.atlas import AtlasKey
    from precompute.search.job import search

    key = AtlasKey(draws=args.draws, seed=args.seed, protocol=args.protocol)
    if preset(args.protocol).head_space == "stream":
        from precompute.search.stream import keep_stream_maps

        keep_stream_maps(args.workspace, args.model, args.pretrained, agreed=args.load_weights)
    print(search(args.workspace, args.pairs, key=key, engine=engine_from(args)))
    return 0
