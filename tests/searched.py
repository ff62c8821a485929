"""A copy of the synthetic workspace with two pairs searched."""

import shutil
from pathlib import Path

import numpy as np

from aigi_core.transfer.atlas import AtlasKey
from aigi_core.workspace import STREAM_MAPS, Workspace, describe_file, read_manifest, write_manifest
from precompute.engine import Engine, InlineEngine
from precompute.search import job

KEY = AtlasKey(draws=40, controls=20)


def searched_copy(synthetic: Path, folder: Path, engine: Engine | None = None) -> Path:
    """Copy a workspace into a folder, search two pairs of its generators, return its path."""
    copy = folder / "workspace"
    shutil.copytree(synthetic, copy)
    job.search(
        copy, "alpha-gan:beta-diff,gamma-diff:alpha-gan", key=KEY, engine=engine or InlineEngine()
    )
    return copy


def add_stream_maps(path: Path) -> None:
    """Write made-up maps from heads to the residual stream into a workspace."""
    layers, heads, _, width = Workspace.open(path).heads.shape
    maps = np.random.default_rng(0).standard_normal((layers, heads, width, width))
    np.save(path / f"{STREAM_MAPS}.npy", np.triu(maps).astype(np.float32))
    manifest = read_manifest(path)
    manifest["files"][f"{STREAM_MAPS}.npy"] = describe_file(path, f"{STREAM_MAPS}.npy")
    write_manifest(path, manifest)
