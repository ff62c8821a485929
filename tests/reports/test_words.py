"""Tables of words on a small workspace: every row there, nothing claimed without its p-value."""

import shutil
from pathlib import Path

import pytest

from aigi_core.errors import AigiError
from aigi_core.explain.cached import compute_words, save_words
from aigi_core.workspace import Workspace
from reports.words import WordTables


@pytest.fixture(scope="module")
def tables(synthetic_path: Path, tmp_path_factory: pytest.TempPathFactory) -> WordTables:
    copy = tmp_path_factory.mktemp("report") / "workspace"
    shutil.copytree(synthetic_path, copy)
    workspace = Workspace.open(copy)
    save_words(workspace, compute_words(workspace))
    return WordTables(workspace, draws=19, head_count=1)


def test_every_table_but_the_demo_s_own_is_whole(tables: WordTables) -> None:
    for name, table in tables.tables().items():
        if name not in ("words-palette", "words-confounds"):
            header, *rows = table()
            assert rows or name in ("words-concepts", "words-control"), name
            assert all(
                len(row) == len(header) and all(isinstance(cell, str) for cell in row)
                for row in rows
            ), name


def test_bold_means_beyond_chance(tables: WordTables) -> None:
    header, *rows = tables.nearest_words("logistic", "phrases")
    assert [row[0] for row in rows] == list(tables.names)
    for row in rows:
        assert row[1].startswith("**") == (float(row[header.index("p")]) <= 0.05)


def test_the_palette_is_the_demo_s_own(tables: WordTables) -> None:
    with pytest.raises(AigiError, match="'sdxl'"):
        tables.palette()
    with pytest.raises(AigiError, match="none of which this workspace has"):
        tables.confounds()
