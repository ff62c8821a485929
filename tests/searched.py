"""A copy of the synthetic workspace with two pairs searched."""

import shutil
from pathlib import Path

from aigi_core.transfer.atlas import AtlasKey
from precompute.engine import Engine, LocalEngine
from precompute.search import job

KEY = AtlasKey(draws=40, controls=20)


def searched_copy(synthetic: Path, folder: Path, engine: Engine | None = None) -> Path:
    """Copy a workspace into a folder, search two pairs of its generators, return its path."""
    copy = folder / "workspace"
    shutil.copytree(synthetic, copy)
    job.search(
        copy, "alpha-gan:beta-diff,gamma-diff:alpha-gan", key=KEY, engine=engine or LocalEngine(1)
    )
    return copy
