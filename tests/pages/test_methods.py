"""The page Methods: its board by link, and what it says where it was not computed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.transfer import finetuned
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


def test_fine_tuning_is_drawn_by_epoch_and_judges_an_image(
    open_app: Open, measured: Workspace
) -> None:
    domains = measured.domains
    rng, first = np.random.default_rng(0), domains.generators[0]
    val = domains.split == "val"
    run = finetuned.Run(
        (first,),
        domains.labels + rng.normal(size=len(domains)) - 0.5,
        np.stack([domains.labels[val] * k + rng.normal(size=val.sum()) for k in range(3)]),
        [float("nan"), 0.5, 0.4],
        [0.6, 0.5, 0.55],
        1,
        domains.labels,
    )
    settings = {"training": {"mode": "last", "objective": "binary"}, "encoder_sha256": ""}
    finetuned.store_runs(measured, "mine", [run], settings=settings, weights=[{}], about={})
    app = open_app(measured.path, "methods", finetuned="mine")
    assert not app.exception and not app.error
    assert "In domain:" in text_of(app) and "Out of domain:" in text_of(app)
    row = int(np.flatnonzero(domains.split == "test")[0])
    app = open_app(measured.path, "inspect", image=measured.images["content_hash"][row])
    assert not app.exception
    verdict = int(run.scores[row] > 0)
    assert f"{verdict} of 1 detector" in text_of(app)
    tables = [table.value for table in app.dataframe if "real_as_high" in table.value.columns]
    assert all((t["low"] <= t["real_as_high"]).all() for t in tables)
    assert all((t["real_as_high"] <= t["high"]).all() for t in tables)
