"""The board of methods: stored a method at a time, its rows those of matrices computed anew."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aigi_core import results
from aigi_core.calibration import fit_calibration, pooled_calibration_error
from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import EmbeddingView
from aigi_core.detectors.methods import METHODS, twin
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.results import result_folder
from aigi_core.transfer import board as boards
from aigi_core.transfer import transfer_matrix
from aigi_core.transfer.bootstrap import draw_counts
from aigi_core.transfer.imported import import_scores
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


def test_a_board_stored_without_what_its_rows_are_measured_on_is_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards.measure_method(workspace, "logistic")
    scores = np.zeros(len(workspace.images)) + workspace.domains.labels
    import_scores(workspace, "lab", scores, threshold=0.5)
    new = boards.board(workspace)
    assert dict(new[["method", "measured_on"]].to_numpy()) == {
        "logistic": boards.UNSEEN,
        "imported: lab": boards.ALL,
    }
    with monkeypatch.context() as before:  # as it was stored before it had the column
        later = [one for one in new if one.startswith(("measured_on", "threshold", "auc_diff"))]
        before.setattr(boards, "board", lambda workspace: new.drop(columns=later))
        boards.save_board(workspace)
    with monkeypatch.context() as patched:
        patched.setattr(boards, "board", lambda *asked: pytest.fail("it was computed"))
        pd.testing.assert_frame_equal(boards.stored_board(workspace), new)


def test_progress_names_each_method(workspace: Workspace) -> None:
    for name in ("logistic", "mean-difference"):
        boards.measure_method(workspace, name)
    told: list[tuple[int, int]] = []
    boards.board(workspace, lambda *step: told.append(step))
    assert told == [(1, 2), (2, 2)]


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
    table = pd.DataFrame(rows, columns=names).assign(cells=6, threshold_from="its own")
    table["p_value"] = table["q_value"]
    table["method"] = table["title"]
    text = boards.comparison(table)
    assert "significantly better than logistic regression out of domain: a." in text.lower()
    assert (
        "worse than logistic regression out of domain: b." in text and "for 4 comparisons" in text
    )
    assert (
        "although the interval excludes zero: c -10.0 points (95% interval -20.0 to -1.0, q = .200"
        in text
    )
    assert boards.verdict(table).startswith("a is shown to be better than logistic regression")
    assert boards.verdict(table[1:]).startswith("Use logistic regression: no other")
    assert "for d" not in text and "imported" not in text
    table.loc[0, "method"] = f"{boards.IMPORTED}a"
    over = "3 comparisons of methods and, apart from these, 1 comparison of imported or fine-tuned"
    assert f"after correction for {over} detectors" in boards.comparison(table)
    assert f"5% FDR over {over} detectors" in boards.verdict(table)


def test_imports_change_nothing_that_is_shown_of_methods() -> None:
    """A bad detector with a tiny p-value made a method beside it significant."""
    methods = pd.DataFrame({"method": ["a", "b", "c"], "p_value": [0.02, 0.04, np.nan]})
    bad = pd.DataFrame({"method": [f"{boards.IMPORTED}x", f"{boards.IMPORTED}y"], "p_value": 1e-4})
    alone = boards._with_q(methods)["q_value"]
    beside = boards._with_q(pd.concat([methods, bad], ignore_index=True))["q_value"]
    assert alone[:2].tolist() == [0.04, 0.04] and np.isnan(alone[2])
    assert beside[:2].tolist() == alone[:2].tolist() and beside[3:].tolist() == [1e-4, 1e-4]


def test_blocks_are_by_family_and_calibration_is_of_held_out_images(workspace: Workspace) -> None:
    for name in ("logistic", "logistic-unnormalised", "knn-1"):
        boards.measure_method(workspace, name)
    domains = workspace.domains
    names = domains.generators
    table = boards.board(workspace).set_index("method")
    scores = score_detectors(METHODS["logistic"].train(workspace, names), workspace)
    matrix = transfer_matrix(scores, domains, names, metrics=["balanced_accuracy"])
    values, family = matrix.values["balanced_accuracy"], np.array(matrix.test_families)
    same = (family[:, None] == family) & ~np.eye(len(names), dtype=bool)
    row = table.loc["logistic"]
    assert row["same_family_cells"] == same.sum()
    assert row["same_family_cells"] + row["other_family_cells"] == row["cells"]
    if same.any():
        assert row["same_family"] == pytest.approx(values[same].mean(), abs=1e-6)
    view = EmbeddingView(normalise=False)
    raw = score_detectors(METHODS["logistic"].train(workspace, names, view), workspace)
    expected = transfer_matrix(raw, domains, names, metrics=["balanced_accuracy"])
    ood = expected.mean("balanced_accuracy", ~expected.in_domain)
    assert table.loc["logistic-unnormalised", "ood"] == pytest.approx(ood.value, abs=1e-6)
    # by hand: each detector's twin, fitted on its validation images, on its own test images
    test = domains.split == "test"
    pairs = np.zeros((len(names), test.sum()), bool)
    probabilities = np.empty(pairs.shape)
    for k, one in enumerate(METHODS["logistic"].train(workspace, names)):
        val = domains.rows(names[k], "val")
        odds = twin(workspace, one).decision_function(workspace, val)
        fit = fit_calibration(odds, domains.labels[val])
        probabilities[k] = fit.probability(one.decision_function(workspace, np.flatnonzero(test)))
        pairs[k] = np.isin(np.flatnonzero(test), domains.rows(names[k], "test"))
    counts = draw_counts(domains, np.flatnonzero(test))
    error = pooled_calibration_error(probabilities, domains.labels[test], pairs, counts)
    assert row["calibration"] == pytest.approx(error.ece, abs=1e-4)
    assert row["calibration_low"] <= row["calibration"] <= row["calibration_high"]
    assert 0 < row["calibration_chance"] < 1 and row["calibration_ood"] >= 0


def test_scores_of_an_earlier_version_are_shown_without_calibration(
    workspace: Workspace,
) -> None:
    boards.measure_method(workspace, "logistic")
    stored = boards.stored_scores(workspace, "logistic")
    results.publish(
        workspace,
        boards.KIND,
        {"method": "logistic"},
        {"scores.npz": {"test": stored.arrays("scores.npz")["test"]}},
        content=stored.content,
        about=stored.about,
    )
    [row] = boards.board(workspace).to_dict("records")
    assert np.isnan(row["calibration"]) and row["ood"] > 0
    assert "trained in" in boards.measure_method(workspace, "logistic")
    assert boards.board(workspace)["calibration"].notna().all()


def test_a_row_over_other_cells_is_last_and_no_candidate_for_the_highest() -> None:
    rows = [("tuned", 0.9, 3), ("ridge", 0.7, 6), (boards.REFERENCE, 0.6, 6), ("lda", 0.8, 6)]
    table = pd.DataFrame(rows, columns=["method", "ood", "cells"])
    table = table.assign(
        title=table["method"],
        ood_low=table["ood"] - 0.1,
        ood_high=0.95,
        measured_on=boards.UNSEEN,
    )
    ordered = boards.in_order(table)
    assert ordered["method"].tolist() == ["lda", "ridge", boards.REFERENCE, "tuned"]
    assert boards.highest(ordered).name == "lda" and boards.highest(ordered).of == 3
