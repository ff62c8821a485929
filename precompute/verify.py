"""``python -m precompute verify W``: every hash and shape of a workspace, and whether its arrays
fit each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from aigi_core.encodings import encodings, home_of
from aigi_core.errors import WorkspaceError
from aigi_core.results import verify_results
from aigi_core.soundness import check_values
from aigi_core.statements import counted
from aigi_core.workspace import Workspace, read_manifest, verify


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``verify``."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("workspace", type=Path, nargs="?", metavar="W", help="workspace to check")
    which.add_argument("--workspace", type=Path, dest="named", metavar="W", help="the same")


def run(args: argparse.Namespace) -> int:
    """Print one line a problem and then their number; 0 where there is none, else 1. Of a workspace
    with several encodings, each is checked.
    """
    path = args.named or args.workspace
    folders = [path]
    if home_of(path) == path:
        folders += [folder for folder in encodings(path).values() if folder != path]
    problems: list[str] = []
    for folder in folders:
        within = "" if folder == path else f"{folder.relative_to(path)}: "
        problems += [f"{within}{problem}" for problem in _problems(folder)]
    if problems:
        print(*problems, f"{path}: {counted(len(problems), 'problem')}.", sep="\n")
        return 1
    for folder in folders:
        manifest = read_manifest(folder)
        unfinished = "" if manifest.get("encoder") else "; it has been ingested but not encoded"
        files = counted(len(manifest["files"]), "file", "are")
        print(f"{folder}: all {files} as recorded{unfinished}.")
    return 0


def _problems(path: Path) -> list[str]:
    """Of the files first; where these are as recorded, of what they hold and of stored results."""
    problems = verify(path)
    if problems or not read_manifest(path).get("encoder"):
        return problems
    try:
        workspace = Workspace.open(path)
        return check_values(workspace) + verify_results(workspace)
    except WorkspaceError as error:
        return [str(error)]
