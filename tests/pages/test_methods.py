"""The page Methods: its board by link, and what it says where it was not computed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.transfer.board import board, measure_method
from aigi_core.workspace import Workspace
from tests.pages.reading import noted, text_of

Open = Callable[..., AppTest]


@pytest.fixture
def measured(synthetic_path: Path, tmp_path: Path) -> Workspace:
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    for name in ("logistic", "mean-difference", "knn"):
        measure_method(workspace, name)
    return Workspace.open(workspace.path)


def test_the_board_by_link(open_app: Open, measured: Workspace) -> None:
    app = open_app(measured.path, "methods", which="Nearest neighbours")
    assert not app.exception and not app.error and not app.warning
    best = board(measured).iloc[0]
    assert f"**{best['ood']:.3f}**" in text_of(app) and "Ojha" in text_of(app)


def test_without_a_board_the_command_is_named(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "methods")
    assert noted(app, "precompute methods")


@pytest.mark.parametrize("title", ["Ridge regression", "Nearest neighbours"])
def test_transfer_takes_a_method(open_app: Open, synthetic: Workspace, title: str) -> None:
    app = open_app(synthetic.path, "transfer", method=title)
    assert not app.exception and not app.warning
    messages = [error.value.replace("\\", "") for error in app.error]
    if title == "Nearest neighbours":  # no weights: one sentence where words would stand
        assert messages and all("no weights in the joint space" in text for text in messages)
    else:
        assert not messages
