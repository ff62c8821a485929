"""A searched copy of the synthetic workspace."""

import shutil
from pathlib import Path

import pytest

from aigi_core.transfer.atlas import AtlasKey
from precompute.search import job

KEY = AtlasKey(draws=40, controls=20)


@pytest.fixture(scope="package")
def path(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("search") / "workspace"
    shutil.copytree(synthetic_path, copy)
    job.search(copy, "alpha-gan:beta-diff,gamma-diff:alpha-gan", key=KEY, workers=1)
    return copy
