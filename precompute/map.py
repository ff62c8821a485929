"""``python -m precompute map``: the images of a workspace in two dimensions, for the page Map."""

from __future__ import annotations

import argparse
import time

from aigi_core.errors import NotMadeError
from aigi_core.geometry.projection import MapSettings, image_map, load_map, save_map
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive, tool_versions


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Options of the job."""
    default = MapSettings()
    parser = subparsers.add_parser("map", help=__doc__, description=__doc__)
    parser.add_argument("--workspace", required=True, help="an encoded workspace")
    parser.add_argument(
        "--perplexity", type=float, default=default.perplexity, help="of t-SNE (%(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="compute again what is there")


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
    with exclusive(workspace.path, "map"):
        with progress_line() as show:
            show("Map")
            made = image_map(workspace, settings)
        seconds = time.perf_counter() - start
        about = {"seconds": round(seconds, 1), "tools": tool_versions()}
        save_map(workspace, made, settings, about)
    print(
        f"Map of {counted(made.n, 'image')} in {seconds:.0f} s, trustworthiness"
        f" {made.trustworthiness:.3f}."
    )
    return 0
