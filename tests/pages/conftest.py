"""A workspace whose pairs were searched and whose methods were compared."""

import shutil
from pathlib import Path

import pytest

from aigi_core.transfer.atlas import AtlasKey
from aigi_core.workspace import Workspace
from tests.searched import add_stream_maps


@pytest.fixture(scope="session")
def searched(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The synthetic workspace with made-up maps to the residual stream, its board of methods,
    its attribution and its atlases: of all pairs by our protocol, of one pair by the paper's.
    """
    from precompute.__main__ import main
    from precompute.engine import InlineEngine
    from precompute.search.job import search

    path = Path(shutil.copytree(synthetic_path, tmp_path_factory.mktemp("searched") / "w"))
    add_stream_maps(path)
    search(path, engine=InlineEngine())
    key = AtlasKey(draws=40, controls=20, protocol="paper")
    search(path, "alpha-gan:beta-diff", key=key, engine=InlineEngine())
    assert main(["methods", "--workspace", str(path), "--workers", "1"]) == 0
    assert main(["attribution", "--workspace", str(path), "--draws", "20"]) == 0
    return Workspace.open(path)
