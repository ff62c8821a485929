"""Imported scores: matched, checked, and a row of the board."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.methods import METHODS
from aigi_core.transfer import board as boards
from aigi_core.transfer.imported import (
    _as_named_now,
    imported_matrix,
    imported_rows,
    matched_scores,
    stored_import,
    training_told,
)
from aigi_core.workspace import Workspace
from precompute.__main__ import main

M = "balanced_accuracy"


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))


def table_of(workspace: Workspace, generator: str) -> pd.DataFrame:
    scores = score_detectors(METHODS["ridge"].train(workspace, [generator]), workspace)[0]
    return pd.DataFrame({"path": workspace.images["path"], "score": scores})


def run(workspace: Workspace, table: pd.DataFrame, file: Path, *options: str) -> int:
    table.to_csv(file, index=False)
    base = ["import-scores", "--workspace", str(workspace.path), str(file), "--threshold", "0"]
    return main([*base, *options])


def test_a_row_of_the_board_is_that_of_the_scores(workspace: Workspace, tmp_path: Path) -> None:
    boards.measure_method(workspace, "logistic")
    boards.measure_method(workspace, "ridge")
    seen = workspace.domains.generators[0]
    table, file = table_of(workspace, seen), tmp_path / "lab.csv"
    assert run(workspace, table, file, "--trained-on", seen) == 0
    row = boards.board(workspace).set_index("method").loc["imported: lab"]
    ridge = boards.stored_measured(workspace, "ridge").matrix(workspace).rows([0])
    for column, metric in (("ood", "balanced_accuracy"), ("auc", "auc"), ("real", "accuracy_real")):
        mean = ridge.mean(metric, ~ridge.in_domain)
        assert row[column] == pytest.approx(mean.value, abs=1e-6)
        assert row[f"{column}_low"] == pytest.approx(mean.low, abs=1e-6)
    assert row["in_domain"] == pytest.approx(
        ridge.mean("balanced_accuracy", ridge.in_domain).value, abs=1e-6
    )
    assert row["worst_on"] != seen and np.isfinite(row["q_value"])


@pytest.mark.parametrize("sign", [1, -1])
def test_without_a_threshold_real_validation_images_set_it(
    sign: int, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, file = table_of(workspace, workspace.domains.generators[0]), tmp_path / "lab.csv"
    table["score"] *= sign
    options = ["--reversed"] if sign < 0 else []
    base = ["import-scores", "--workspace", str(workspace.path), str(file), *options]
    table.to_csv(file, index=False)
    assert main(base) == 0
    real = (workspace.domains.labels == 0) & (workspace.domains.split == "val")
    own = np.sort(sign * table["score"].to_numpy()[real])
    n = len(own)
    # split conformal: the k-th smallest, with the nearest rate that n images allow
    rate = max(0.05, 1 / (n + 1))
    expected = own[int(np.ceil(round((n + 1) * (1 - rate), 9))) - 1]
    stored = stored_import(workspace, "lab")
    assert stored.content["threshold"] == pytest.approx(expected)
    said = capsys.readouterr().out
    assert f"{rate:.1%} false alarms are expected, by {n} real validation images" in said
    table[~real].to_csv(file, index=False)
    assert main(base) == 2
    assert "give --threshold, or score them too" in capsys.readouterr().err


def test_a_threshold_that_a_rule_chose_is_not_called_the_detector_s_own(
    workspace: Workspace, tmp_path: Path
) -> None:
    boards.measure_method(workspace, "logistic")
    seen = workspace.domains.generators[0]
    file = tmp_path / "chosen.csv"
    assert run(workspace, table_of(workspace, seen), tmp_path / "given.csv") == 0
    table_of(workspace, seen).to_csv(file, index=False)
    base = ["import-scores", "--workspace", str(workspace.path), str(file)]
    assert main([*base, "--trained-on", seen]) == 0
    table = boards.board(workspace)
    rows = table.set_index("method")
    chosen = rows.loc["imported: chosen"]
    assert rows.loc["logistic", "threshold_from"] == "its own"
    assert rows.loc["imported: given", "threshold_from"] == "0, given at its import"
    assert re.fullmatch(
        r"-?[\d.e-]+, chosen at [\d.]+% false alarms on \d+ real validation images",
        chosen["threshold_from"],
    )
    said = boards.comparison(table)
    assert f"chosen is measured at a threshold of {chosen['threshold_from']}" in said
    assert "compares operating points; its paired difference in AUC to logistic" in said
    assert "given is measured" not in said
    ranking = boards.threshold_of_row(chosen)
    assert chosen["threshold_from"] in ranking and f"**{chosen['auc']:.3f}**" in ranking
    assert boards.threshold_of_row(rows.loc["logistic"]) == ""
    # the same generator trained on: paired with that row of logistic regression alone
    matrix, _ = imported_rows(workspace, "chosen", ["auc"])
    own = boards.stored_measured(workspace, "logistic").matrix(workspace, ["auc"])
    k = list(workspace.domains.generators).index(seen)
    expected = (matrix.values["auc"] - own.values["auc"])[k][~own.in_domain[k]].mean()
    assert chosen["auc_difference"] == pytest.approx(expected, abs=1e-9)
    assert rows["auc_difference"].notna().sum() == 1
    table["q_value"], table["difference_high"] = 0.001, -0.05
    table["difference"], table["difference_low"] = -0.1, -0.2
    assert "domain: chosen (at a threshold chosen by a rule)." in boards.comparison(table).replace(
        "Logistic regression, ", ""
    )


def test_columns_of_other_names_are_named(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, file = workspace.domains.generators[0], tmp_path / "lab.csv"
    table = table_of(workspace, seen).rename(columns={"path": "img", "score": "p"})
    assert run(workspace, table, file) == 2
    assert "Expected the columns score and path or content_hash" in capsys.readouterr().err
    assert run(workspace, table, file, "--columns", "path=img,score=prob") == 2
    assert "--columns names 'prob', but" in capsys.readouterr().err
    assert run(workspace, table, file, "--columns", "path=img,label=p") == 2
    assert "not label" in capsys.readouterr().err
    assert run(workspace, table, file, "--columns", "path=img,score=p") == 0
    hashed = table.assign(img=workspace.images["content_hash"])
    columns = ["--columns", "content_hash=img,score=p", "--name", "hashed"]
    assert run(workspace, hashed, file, *columns) == 0
    capsys.readouterr()


def test_reversed_scores_stop_and_ask(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boards.measure_method(workspace, "logistic")
    seen = workspace.domains.generators[0]
    table = table_of(workspace, seen)
    assert run(workspace, table, tmp_path / "right.csv") == 0
    table["score"] *= -1
    assert run(workspace, table, tmp_path / "wrong.csv") == 2
    assert "--reversed" in capsys.readouterr().err
    assert run(workspace, table, tmp_path / "wrong.csv", "--reversed") == 0
    assert "reversed" in capsys.readouterr().out
    rows = boards.board(workspace).set_index("method")
    right, turned = (rows.loc[f"imported: {name}"] for name in ("right", "wrong"))
    assert turned["ood"] == pytest.approx(right["ood"]) and np.isnan(right["in_domain"])


def test_without_the_training_set_nothing_is_called_out_of_domain(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boards.measure_method(workspace, "logistic")
    generators = workspace.domains.generators
    table = table_of(workspace, generators[0])
    assert run(workspace, table, tmp_path / "lab.csv") == 0
    assert "Training set: unknown" in capsys.readouterr().out
    assert run(workspace, table, tmp_path / "new.csv", "--trained-on", "none") == 0
    assert "unknown" not in capsys.readouterr().out
    board = boards.board(workspace)
    rows = board.set_index("method")
    lab, new = rows.loc["imported: lab"], rows.loc["imported: new"]
    assert lab["title"] == "lab (training set unknown: all cells)" and new["title"] == "new"
    assert lab["cells"] == len(generators) and lab["ood"] == new["ood"]
    assert np.isnan(lab["p_value"]) and np.isfinite(new["p_value"])
    assert boards.unknown(board).sum() == 1
    assert "lab" not in boards.on_the_same_cells(board)["title"].str.partition(" ")[0].tolist()
    told = [
        boards.compare((workspace, name), (workspace, "logistic")).told
        for name in ("imported: lab", "imported: new")
    ]
    assert told == [False, True]
    for name, counts in (("lab", (len(generators), 0, 0)), ("new", (len(generators),) * 2 + (0,))):
        matrix = imported_matrix(workspace, name, ["auc"])
        assert tuple(matrix.summary()["n"]) == counts, name
        assert matrix.train_names == ("unknown" if name == "lab" else "none of these",)
        assert matrix.to_frame()["in_domain"].isna().all() == (name == "lab")
        assert (matrix.hardest("auc") is None) == (name == "lab")
    # what was stored before this was recorded, with an empty list, is not known either
    file = stored_import(workspace, "new").note
    note = json.loads(file.read_text())
    assert note["content"].pop("told")
    file.write_text(json.dumps(note))
    assert not training_told(Workspace.open(workspace.path), "new")


def test_bad_input_is_one_sentence(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, file = table_of(workspace, workspace.domains.generators[0]), tmp_path / "a.csv"
    test = np.flatnonzero(workspace.domains.split == "test")
    gap = table.copy()
    gap.loc[test[0], "score"] = np.nan
    stranger = pd.concat([table, pd.DataFrame({"path": ["no.png"], "score": [1.0]})])
    for wrong, options, text in (
        (gap, (), "1 score is not finite"),
        (pd.concat([table, table[:2]]), (), "2 images have more than one"),
        (stranger, (), "does not have"),
        (table.drop(index=test[:3]), (), "3 of "),
        (table.rename(columns={"score": "logit"}), (), "Expected the columns"),
        (table, ("--trained-on", "nobody"), "name only its generators"),
        (table, ("--name", " "), "need a name"),
    ):
        assert run(workspace, wrong, file, *options) == 2
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1
    several = gap.drop(index=test[1:3]).assign(score=-gap["score"])
    several.to_csv(file, index=False)
    base = ["import-scores", "--workspace", str(workspace.path), str(file)]
    assert main([*base, "--trained-on", "nobody"]) == 2
    error = capsys.readouterr().err
    for text in ("1 score is not finite", "2 of ", "name only its generators", "give --reversed"):
        assert text in error  # all at once
    assert error.count("Nothing was stored.") == error.count("\n") == 1
    file.unlink()
    assert main(base) == 2
    assert "There is no file of scores" in capsys.readouterr().err
    assert not (workspace.path / "results" / "imported").exists()


def test_rows_of_images_that_were_removed_are_left_out_when_told_and_counted(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, file = table_of(workspace, workspace.domains.generators[0]), tmp_path / "lab.csv"
    gone = int((workspace.images["generator"] == "gamma-diff").sum())
    path = str(workspace.path)
    assert run(workspace, table, file, "--trained-on", "none") == 0
    # scores that were not kept: the images are divided anew, then some are removed
    assert main(["splits", "--workspace", path, "--seed", "5"]) == 0
    capsys.readouterr()
    assert main(["remove", "--workspace", path, "--generators", "gamma-diff"]) == 0
    said = capsys.readouterr().out
    assert "import-scores" in said and "--ignore-unknown" in said
    changed = Workspace.open(workspace.path)
    assert run(changed, table, file, "--trained-on", "none") == 2
    error = capsys.readouterr().err
    assert f"{gone} of {len(table)} scores are of images" in error and "--ignore-unknown" in error
    assert run(changed, table, file, "--trained-on", "none", "--ignore-unknown") == 0
    assert f"{gone} of {len(table)} scores were left out" in capsys.readouterr().out
    test = changed.images.loc[changed.images["split"] == "test", "path"]
    np.testing.assert_allclose(
        stored_import(changed, "lab").arrays("scores.npz")["test"],
        table.set_index("path")["score"].loc[test],
    )
    # test images without a score are never passed over
    less = table[table["path"] != test.iloc[0]]
    assert run(changed, less, file, "--ignore-unknown") == 2
    assert f"1 of {len(test)} test images lacks a score" in capsys.readouterr().err


def imported(workspace: Workspace, table: pd.DataFrame, file: Path, *options: str) -> int:
    """Without a threshold."""
    table.to_csv(file, index=False)
    return main(["import-scores", "--workspace", str(workspace.path), str(file), *options])


def test_a_threshold_that_no_image_exceeds_is_refused(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores of 0 and 1 with some real images at 1: above 1 lies none, so all would be real."""
    labels = workspace.domains.labels
    table = pd.DataFrame({"path": workspace.images["path"], "score": labels})
    table.loc[np.flatnonzero(labels == 0)[::3], "score"] = 1
    val = (workspace.domains.split == "val") & (labels == 0)
    tied = int(table["score"][val].sum())
    assert imported(workspace, table, tmp_path / "hard.csv") == 2
    error = capsys.readouterr().err
    assert f"{tied} of {val.sum()} score 1, beyond which no image lies: give --threshold" in error
    assert imported(workspace, table, tmp_path / "hard.csv", "--threshold", "0.5") == 0


def test_a_threshold_among_equal_scores_says_how_many_exceed_it(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = workspace.domains.labels
    table = pd.DataFrame({"path": workspace.images["path"], "score": labels.astype(float)})
    val = np.flatnonzero((workspace.domains.split == "val") & (labels == 0))
    table.loc[val, "score"] = 0.5
    assert imported(workspace, table, tmp_path / "steps.csv") == 0
    said = capsys.readouterr().out
    assert "Threshold 0.5: at most" in said
    assert f"0 lie beyond it, {len(val)} have exactly this score" in said


@pytest.mark.parametrize(
    ("text", "says"), [("0,73", "write 0.73"), ("73%", "write 73"), ("fake", "expected numbers")]
)
def test_scores_that_are_no_numbers_are_shown(
    text: str,
    says: str,
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = table_of(workspace, workspace.domains.generators[0]).astype({"score": object})
    table.loc[2, "score"] = text
    assert imported(workspace, table, tmp_path / "lab.csv") == 2
    error = capsys.readouterr().err
    assert f"got {text!r} in line 4 (1 such row)" in error and says in error


@pytest.mark.parametrize("way", ["/data/lab/{}", "C:\\lab\\{}", "{name}"])
def test_paths_of_another_machine_and_names_alone_are_found(
    way: str, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(workspace, workspace.domains.generators[0])
    images = workspace.all_images
    if way == "{name}":  # one image a name: the folder goes into it
        own = images["path"].str.replace("/", "-")
        images = images.assign(path=images["path"].str.rpartition("/")[0] + "/" + own)
    moved = cast(
        Workspace,
        SimpleNamespace(
            all_images=images,
            images=images[images["left_out"] == ""].reset_index(drop=True),
            domains=workspace.domains,
            manifest=workspace.manifest,
            path=workspace.path,
        ),
    )
    paths = moved.images["path"]
    keys = [way.format(path, name=path.rpartition("/")[2]) for path in paths]
    if way.startswith("C"):
        keys = [key.replace("/", "\\") for key in keys]
    matched, mistakes, said = matched_scores(moved, keys, table["score"], "path")
    assert not mistakes and matched.tolist() == table["score"].tolist()
    assert "Images were found by their paths below" in said or "names of their files" in said
    twice = [*keys[1:], keys[0].rpartition("/")[2].rpartition("\\")[2] + "x"]
    assert matched_scores(moved, twice, table["score"], "path")[1]


def test_scores_under_a_name_that_is_there_take_the_place_of_those(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = table_of(workspace, workspace.domains.generators[0])
    said = []
    for _ in range(2):
        assert run(workspace, table, tmp_path / "lab.csv", "--trained-on", "none") == 0
        said.append("take the place" in capsys.readouterr().out)
    assert said == [False, True]


def test_a_table_of_names_of_before_means_the_images_of_before(workspace: Workspace) -> None:
    """Also where some are gone, and where a new image bears a name of before."""
    names = workspace.images["path"].tolist()
    images = workspace.all_images.assign(path="a/" + workspace.all_images["path"])
    images.loc[0, "path"] = names[3]  # a new image, in the place of a removed one
    manifest = {**workspace.manifest, "before": {"0": "a/"}}
    changed = cast(Workspace, SimpleNamespace(all_images=images, manifest=manifest))
    now = _as_named_now(changed, names)
    assert now == [names[0], *(f"a/{name}" for name in names[1:])]
    assert _as_named_now(changed, [*images["path"]]) == [*images["path"]]


def test_two_rows_of_the_board_are_compared_as_the_board_compares_them(
    workspace: Workspace, tmp_path: Path
) -> None:
    for name in ("logistic", "ridge"):
        boards.measure_method(workspace, name)
    seen, other = workspace.domains.generators[:2]
    for name, generator in (("lab", seen), ("rival", other)):
        file = tmp_path / f"{name}.csv"
        assert run(workspace, table_of(workspace, generator), file, "--trained-on", generator) == 0
    table = boards.board(workspace).set_index("method")
    logistic = (workspace, "logistic")
    for name in ("ridge", "imported: lab"):
        both, row = boards.compare((workspace, name), logistic), table.loc[name]
        gap = both.change.mean(both.outside)
        ends = [row[f"difference{end}"] for end in ("", "_low", "_high")]
        assert [gap.value, gap.low, gap.high] == pytest.approx(ends)
        assert len(both.rows) == (
            1 if name == "imported: lab" else len(workspace.domains.generators)
        )
    both = boards.compare((workspace, "imported: lab"), (workspace, "imported: rival"))
    assert not both.outside[0, [both.a.test.index(one) for one in (seen, other)]].any()
    assert both.change.values == pytest.approx(both.a.values[M] - both.b.values[M])
