"""The board of methods: stored a method at a time, its rows those of matrices computed anew."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.methods import METHODS
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.results import result_folder
from aigi_core.transfer import board as boards
from aigi_core.transfer import transfer_matrix
from aigi_core.workspace import Workspace
from precompute.__main__ import main


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))


def test_the_job_fills_the_board_and_goes_on(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkspaceError, match="precompute methods"):
        boards.board(workspace)
    wanted = ["ridge", "lda", "mean-difference", "knn", "residual"]
    page = tmp_path / "methods.md"
    command = ["methods", "--workspace", str(workspace.path), "--methods", *wanted]
    assert main(command) == 0 and "trained in" in capsys.readouterr().err
    assert main([*command, "--table", str(page)]) == 0
    assert "trained in" not in capsys.readouterr().err
    table = boards.board(workspace).set_index("method")
    assert set(table.index) == {*wanted, "logistic"}
    names = workspace.domains.generators
    scores = score_detectors(METHODS["ridge"].train(workspace, names), workspace)
    matrix = transfer_matrix(scores, workspace.domains, names, metrics=["balanced_accuracy"])
    ood = matrix.mean("balanced_accuracy", ~matrix.in_domain)
    assert table.loc["ridge", "ood"] == pytest.approx(ood.value, abs=1e-6)
    assert table.loc["ridge", "ood_low"] == pytest.approx(ood.low, abs=1e-6)
    gap = table.loc["ridge", "ood"] - table.loc["logistic", "ood"]
    assert table.loc["ridge", "difference"] == pytest.approx(gap)
    compared = table.drop("logistic")
    assert (compared["q_value"] >= compared["p_value"] - 1e-12).all()
    assert np.isnan(table.loc["logistic", "q_value"])
    text = page.read_text("utf-8")
    assert text.startswith("# Which way") and text.count("\n| ") == len(table) + 2


def test_the_stored_board_is_read_until_its_scores_change(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("logistic", "mean-difference"):
        boards.measure_method(workspace, name)
    saved = boards.save_board(workspace)
    with monkeypatch.context() as patched:
        patched.setattr(boards, "board", lambda workspace: pytest.fail("it was computed"))
        pd.testing.assert_frame_equal(boards.stored_board(workspace), saved)
    boards.measure_method(workspace, "ridge")
    assert "ridge" in set(boards.stored_board(workspace)["method"])
    pd.testing.assert_frame_equal(boards.stored_board(workspace), boards.board(workspace))


def test_a_damaged_result_is_computed_again(workspace: Workspace) -> None:
    boards.measure_method(workspace, "mean-difference")
    folder = result_folder(workspace, boards.KIND, {"method": "mean-difference"})
    (folder / "result.json").write_text("{")
    assert "trained in" in boards.measure_method(workspace, "mean-difference")
    assert "stored before" in boards.measure_method(workspace, "mean-difference")


def test_an_unknown_method_is_named(workspace: Workspace) -> None:
    with pytest.raises(AigiError, match="no method 'deep'"):
        boards.measure_method(workspace, "deep")


def test_a_claim_needs_the_interval_and_the_q_value() -> None:
    rows = [("a", 0.1, 0.05, 0.2, 0.01), ("b", -0.1, -0.2, -0.05, 0.01)]
    rows += [("c", -0.1, -0.2, -0.01, 0.2), ("d", 0.1, -0.1, 0.2, 0.9), ("e", *[np.nan] * 4)]
    names = ["title", "difference", "difference_low", "difference_high", "q_value"]
    table = pd.DataFrame(rows, columns=names).assign(cells=6)
    table["p_value"] = table["q_value"]
    text = boards.comparison(table)
    assert "significantly better than logistic regression out of domain: a." in text.lower()
    assert "worse than logistic regression out of domain: b." in text and "for 4 methods" in text
    assert (
        "although the interval excludes zero: c -0.100 (95% interval -0.200 to -0.010, q = .200"
        in text
    )
    assert "for d" not in text


def test_a_row_over_other_cells_is_last_and_no_candidate_for_the_highest() -> None:
    rows = [("tuned", 0.9, 3), ("ridge", 0.7, 6), (boards.REFERENCE, 0.6, 6), ("lda", 0.8, 6)]
    table = pd.DataFrame(rows, columns=["method", "ood", "cells"])
    table = table.assign(title=table["method"], ood_low=table["ood"] - 0.1, ood_high=0.95)
    ordered = boards.in_order(table)
    assert ordered["method"].tolist() == ["lda", "ridge", boards.REFERENCE, "tuned"]
    assert boards.highest(ordered).name == "lda" and boards.highest(ordered).of == 3
