"""A searched copy of the synthetic workspace."""

from pathlib import Path

import pytest

from tests.searched import searched_copy


@pytest.fixture(scope="package")
def path(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched_copy(synthetic_path, tmp_path_factory.mktemp("search"))
