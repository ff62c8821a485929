"""A workspace whose pairs were searched and whose methods were compared."""

import shutil
from pathlib import Path

import pytest

from aigi_core.workspace import Workspace


@pytest.fixture(scope="session")
def searched(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The synthetic workspace with its atlas and its board of methods."""
    from precompute.__main__ import main
    from precompute.search.job import search

    path = Path(shutil.copytree(synthetic_path, tmp_path_factory.mktemp("searched") / "w"))
    search(path)
    assert main(["methods", "--workspace", str(path)]) == 0
    return Workspace.open(path)
