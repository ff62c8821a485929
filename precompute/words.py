"""``python -m precompute words``: nearest texts of all detectors with their nulls, and TextSpan of
all heads.
"""

from __future__ import annotations

import argparse
import time

from threadpoolctl import threadpool_limits

from aigi_core.errors import WorkspaceError
from aigi_core.explain.cached import WordSettings, compute_words, load_words, save_words
from aigi_core.explain.stored_nulls import keep_nulls, slow_methods
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive, tool_versions
from precompute.options import add_shared, whole_number


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``words``."""
    default = WordSettings()
    add = add_shared(parser, "workspace", "force")
    for name, meaning in (
        ("draws", "shuffled trainings of each null"),
        ("texts", "texts listed a side"),
        ("spans", "texts chosen for each head"),
    ):
        value = getattr(default, name)
        add(f"--{name}", type=whole_number, default=value, help=f"{meaning} (default {value})")
    add(
        "--method",
        choices=slow_methods(),
        help="instead: shuffled trainings of this method's detectors, which take minutes each, so"
        " that pages have the null of their words",
    )
    add("--uncentred", action="store_true", help="plain cosines, as in the paper")


def run(args: argparse.Namespace) -> int:
    """Compute and publish; does nothing where the result is already there."""
    workspace = Workspace.open(args.workspace)
    if args.method:
        with (
            exclusive(workspace.path, "words"),
            threadpool_limits(1),
            progress_line() as show,
        ):
            done = keep_nulls(workspace, args.method, args.draws, force=args.force, show=show)
        print(done)
        return 0
    settings = WordSettings(
        texts=args.texts, draws=args.draws, spans=args.spans, centred=not args.uncentred
    )
    if not args.force:
        try:
            load_words(workspace, settings)
            print("The words of this workspace are already there (--force computes them again).")
            return 0
        except WorkspaceError:
            pass  # not computed yet, or damaged; a workspace without text banks says so below
    start = time.perf_counter()
    # The searches are many and small: pools of threads that wait for each other take ten times as
    # long on a busy machine.
    with exclusive(workspace.path, "words"), threadpool_limits(1):
        with progress_line() as show:
            atlas = compute_words(workspace, settings, show)
        seconds = time.perf_counter() - start
        folder = save_words(
            workspace, atlas, {"seconds": round(seconds, 1), "tools": tool_versions()}
        )
    print(
        f"Words of {counted(len(workspace.domains.generators), 'generator')} in {seconds:.0f} s:"
        f" {folder}"
    )
    return 0
