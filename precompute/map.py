"""``python -m precompute map``: the images of a workspace in two dimensions, for the page Map."""

from __future__ import annotations

import argparse
import time

from aigi_core.errors import NotMadeError
from aigi_core.geometry.projection import ImageMap, MapSettings, image_map, load_map, save_map
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive, tool_versions
from precompute.options import add_shared, positive


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``map``."""
    add_shared(parser, "workspace", "force")(
        "--perplexity",
        type=positive,
        default=MapSettings().perplexity,
        help="of t-SNE (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Compute and publish; does nothing where the result is already there."""
    workspace = Workspace.open(args.workspace)
    settings = MapSettings(perplexity=args.perplexity)
    if not args.force:
        try:
            load_map(workspace, settings)
            print("The map of this workspace is already there (--force computes it again).")
            return 0
        except NotMadeError:
            pass
    start = time.perf_counter()
    with exclusive(workspace.path, "map"), progress_line() as tell:
        tell("Map")
        made = keep_map(workspace, settings)
    print(
        f"Map of {counted(made.n, 'image')} in {time.perf_counter() - start:.0f} s, trustworthiness"
        f" {made.trustworthiness:.3f}."
    )
    return 0


def keep_map(workspace: Workspace, settings: MapSettings) -> ImageMap:
    """Compute and publish a map, where the caller sees to it that nobody else writes."""
    start = time.perf_counter()
    made = image_map(workspace, settings)
    about = {"seconds": round(time.perf_counter() - start, 1), "tools": tool_versions()}
    save_map(workspace, made, settings, about)
    return made
