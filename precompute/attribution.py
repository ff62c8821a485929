"""``python -m precompute attribution``: which generator made each test image, and which are
alike."""

from __future__ import annotations

import argparse
import time

from threadpoolctl import threadpool_limits

from aigi_core.attribution import attribute, load_attribution, save_attribution
from aigi_core.attribution.report import AttributionSettings
from aigi_core.errors import WorkspaceError
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive, tool_versions
from precompute.options import add_shared


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``attribution``."""
    add_shared(parser, "workspace", "draws", "force")


def run(args: argparse.Namespace) -> int:
    """Compute and publish; does nothing where the result is already there."""
    workspace, settings = Workspace.open(args.workspace), AttributionSettings(args.draws)
    if not args.force:
        try:
            load_attribution(workspace, settings)
            print("Attribution is already there (--force computes it again).")
            return 0
        except WorkspaceError:
            pass  # not yet, or damaged
    start = time.perf_counter()
    with exclusive(workspace.path, "attribution"), threadpool_limits(1), progress_line() as show:
        made = attribute(workspace, settings, lambda step: show(f"Attribution: {step} ..."))
        seconds = round(time.perf_counter() - start, 1)
        save_attribution(workspace, made, settings, {"seconds": seconds, "tools": tool_versions()})
    recall = made.named["regression"].mean_recall()
    print(
        f"{len(made.names)} sources named in {seconds:.0f} s: mean recall {recall}"
        f" (guessing: {1 / len(made.names):.3f}), n = {counted(recall.n, 'test image')}."
    )
    for name, why in made.left_out.items():
        print(f"{name} is no source: {why}.")
    return 0
