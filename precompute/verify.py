"""``python -m precompute verify W``: every hash and shape of a workspace, and whether its arrays
fit each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigi_core.encodings import encodings, home_of
from aigi_core.errors import WorkspaceError
from aigi_core.results import verify_results
from aigi_core.soundness import check_values
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, read_manifest, verify


def add_parser(subparsers: Any) -> None:
    """Register ``verify``."""
    parser = subparsers.add_parser(
        "verify", description="Check every hash and shape of a workspace and its results."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("workspace", type=Path, nargs="?", metavar="W", help="workspace to check")
    which.add_argument("--workspace", type=Path, dest="named", metavar="W", help="the same")


def run(args: argparse.Namespace) -> int:
    """Print one line a problem; 0 where there is none, else 1. Of a workspace with several
    encodings, each is checked.
    """
    path = args.named or args.workspace
    result = _report(path)
    if home_of(path) == path:
        others = [folder for folder in encodings(path).values() if folder != path]
        result = max([result, *(_report(folder) for folder in others)])
    return result


def _report(path: Path) -> int:
    manifest = read_manifest(path)
    problems = verify(path)
    if not problems and manifest.get("encoder"):
        try:
            workspace = Workspace.open(path)
            problems = check_values(workspace) + verify_results(workspace)
        except WorkspaceError as error:
            problems = [str(error)]
    if problems:
        print(*problems, f"{path}: {counted(len(problems), 'problem')}.", sep="\n")
        return 1
    unfinished = "" if manifest.get("encoder") else "; it has been ingested but not encoded"
    print(f"{path}: all {counted(len(manifest['files']), 'file', 'are')} as recorded{unfinished}.")
    return 0
