"""``python -m precompute verify W``: every hash and shape of a workspace, and whether its arrays
fit each other.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigi_core.results import verify_results
from aigi_core.workspace import Workspace, read_manifest, verify


def add_parser(subparsers: Any) -> None:
    """Register ``verify``."""
    parser = subparsers.add_parser(
        "verify", description="Check every hash and shape of a workspace and its results."
    )
    parser.add_argument("workspace", type=Path, metavar="W", help="workspace to check")


def run(args: argparse.Namespace) -> int:
    """Print one line a problem; 0 where there is none, else 1."""
    manifest = read_manifest(args.workspace)
    problems = verify(args.workspace)
    if not problems and manifest.get("encoder"):
        workspace = Workspace.open(args.workspace)
        problems = misfits(workspace) + verify_results(workspace)
    if problems:
        print(*problems, f"{args.workspace}: {len(problems)} problems.", sep="\n")
        return 1
    unfinished = "" if manifest.get("encoder") else "; it has been ingested but not encoded"
    print(f"{args.workspace}: all {len(manifest['files'])} files are as recorded{unfinished}.")
    return 0


def misfits(workspace: Workspace) -> list[str]:
    """Arrays whose shapes contradict the table of images or the encoder's record; one sentence
    each.
    """
    n = len(workspace.images)
    layers, heads, head_width, d = (
        workspace.encoder[name] for name in ("layers", "heads", "head_width", "embedding_width")
    )
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "embeddings.npy": (workspace.embeddings, (n, d))
    }
    if workspace.gives.has("heads"):
        maps = workspace.decomposition["head_maps"]
        expected |= {
            "heads.npy": (workspace.heads, (layers, heads, n, head_width)),
            "ln_post.npy": (workspace.ln_post, (n, 2)),
            "decomposition.npz": (maps, (layers, heads, head_width, d)),
        }
    return [
        f"{name}: shape {array.shape} contradicts the table of images and the encoder's record,"
        f" {shape}."
        for name, (array, shape) in expected.items()
        if array.shape != shape
    ]
