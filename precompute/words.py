"""``python -m precompute words``: nearest texts of all detectors with their nulls, and TextSpan of
all heads.
"""

from __future__ import annotations

import argparse
import time

from threadpoolctl import threadpool_limits

from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.explain.cached import WordSettings, compute_words, load_words, save_words
from aigi_core.statements import counted
from aigi_core.terminal import progress_line
from aigi_core.workspace import Workspace, exclusive, tool_versions


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Options of the job."""
    default = WordSettings()
    parser = subparsers.add_parser("words", help=__doc__, description=__doc__)
    parser.add_argument("--workspace", required=True, help="an encoded workspace with text banks")
    parser.add_argument(
        "--draws",
        type=int,
        default=default.draws,
        help="shuffled trainings of each null (%(default)s)",
    )
    parser.add_argument(
        "--texts", type=int, default=default.texts, help="texts listed a side (%(default)s)"
    )
    parser.add_argument(
        "--spans", type=int, default=default.spans, help="texts chosen for each head (%(default)s)"
    )
    parser.add_argument("--uncentred", action="store_true", help="plain cosines, as in the paper")
    parser.add_argument("--force", action="store_true", help="compute again what is there")


def run(args: argparse.Namespace) -> int:
    """Compute and publish; does nothing where the result is already there."""
    for name in ("draws", "texts", "spans"):
        if getattr(args, name) < 1:
            raise AigiError(f"--{name} must be at least 1, got {getattr(args, name)}.")
    workspace = Workspace.open(args.workspace)
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
