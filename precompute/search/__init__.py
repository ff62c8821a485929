"""Component and head search for pairs of generators: ``python -m precompute search``.

``shared`` computes what all pairs have in common, ``pair`` one pair (an idempotent function from
its names to a file), ``job`` maps the one over the others in processes, and merges. Interrupted, it
goes on where it stopped.
"""

from __future__ import annotations

import argparse

from aigi_core.clip.consent import add_weights_options
from aigi_core.detectors.presets import preset
from precompute.engine import add_engine_options, engine_from
from precompute.options import add_shared, whole_number
from precompute.shares import add_share_option


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``search``."""
    add = add_shared(parser, "workspace", "draws", "protocol", "seed")
    add(
        "--pairs",
        default="all",
        metavar="all|A:B,...",
        help="pairs of generators to search (default: all)",
    )
    add("--workers", type=whole_number, help="processes (default: one a core)")
    add_engine_options(parser)
    add_share_option(parser)
    add_weights_options(parser)  # for the paper's protocol, which may load the encoder again


def run(args: argparse.Namespace) -> int:
    """Search and publish the atlas; prints progress with the time left, then where it lies."""
    from aigi_core.transfer.atlas import AtlasKey
    from precompute.search.job import search

    key = AtlasKey(draws=args.draws, seed=args.seed, protocol=args.protocol)
    if preset(args.protocol).head_space == "stream":
        from precompute.search.stream import keep_stream_maps

        keep_stream_maps(args.workspace, args.model, args.pretrained, agreed=args.load_weights)
    engine = engine_from(args)
    print(search(args.workspace, args.pairs, key=key, engine=engine, share=args.shard))
    return 0
