"""The page Methods: its board by link, and what it says where it was not computed."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.methods.zero_shot import ZeroShotMean
from aigi_core.transfer import finetuned, transfer_matrix
from aigi_core.transfer.board import UNKNOWN, board, board_of_imports, measure_method
from aigi_core.transfer.imported import import_scores
from aigi_core.workspace import Workspace
from precompute.methods import page_of
from tests.pages.reading import noted, tables, text_of

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


def test_any_two_detectors_are_compared_by_link(open_app: Open, measured: Workspace) -> None:
    link = {"part": "Compare two", "detector_a": "Nearest neighbours"}
    app = open_app(measured.path, "methods", **link)
    assert not app.exception and not app.error and not app.warning
    row = board(measured).set_index("method").loc["knn"]
    ends = [100 * row[f"difference{end}"] for end in ("", "_low", "_high")]
    said = "A minus B is {:+.1f} points (95% interval {:+.1f} to {:+.1f}".format(*ends)
    assert said in text_of(app) and f"**{row['ood']:.3f}**" in text_of(app)


def test_without_a_board_the_command_is_named(open_app: Open, synthetic: Workspace) -> None:
    app = open_app(synthetic.path, "methods")
    assert noted(app, "precompute methods")
    assert app.query_params["workspace"] == synthetic.digest


def axes_of(app: AppTest) -> list[str]:
    """The titles of its figures' values, each line of which has its n."""
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    names = [name for spec in specs for name in spec["layout"]["yaxis"]["ticktext"]]
    assert names and all("(n = " in name for name in names)
    return [spec["layout"]["xaxis"]["title"]["text"].replace("<br>", " ") for spec in specs]


def test_imported_scores_of_an_unknown_training_set(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    noise = np.random.default_rng(0).normal(size=len(workspace.domains))
    import_scores(workspace, "lab", 2 * workspace.domains.labels - 1 + noise, threshold=0.0)
    app = open_app(workspace.path, "methods")
    assert not app.exception and not app.error and not app.warning
    said = text_of(app)
    assert "accuracy over all generators of" in said and "not as out of domain" in said
    assert axes_of(app) == ["Balanced accuracy over all generators"]
    [table] = tables(app)
    assert "all generators" in table and "OOD" not in table
    measure_method(workspace, "logistic")
    app = open_app(workspace.path, "methods", which=f"lab{UNKNOWN}")
    assert not app.exception and not app.error and not app.warning
    assert "Of all cells its lowest" in text_of(app)
    assert "computed elsewhere and imported (job import-scores)" in text_of(app)
    assert "measured at a threshold of 0, given at its import" in text_of(app)
    assert "measured at its own threshold" not in text_of(app)
    assert axes_of(app) == ["Balanced accuracy out of domain or over all generators"]
    link = {"part": "Compare two", "detector_a": f"lab{UNKNOWN}"}
    app = open_app(workspace.path, "methods", **link)
    assert "A's threshold is 0, given at its import. Balanced accuracy compares" in text_of(app)
    app = open_app(workspace.path, "methods", part="All numbers")
    [table] = [one.set_index(one.columns[0]) for one in tables(app) if "OOD" in one]
    filled = (table[["OOD", "all generators"]] != "–").to_dict("list")
    unknown = [UNKNOWN in title for title in table.index]
    assert filled == {"OOD": [not one for one in unknown], "all generators": unknown}
    [head, _, *rows] = [
        line.split(" | ") for line in page_of(board(workspace)).splitlines() if line[:1] == "|"
    ]
    at = head.index("Out of domain"), head.index("Over all generators |")
    for row in rows:
        assert [row[k].startswith("-") for k in at] == [UNKNOWN in row[0], UNKNOWN not in row[0]]


def test_imported_scores_are_shown_without_a_board(
    open_app: Open, synthetic_path: Path, tmp_path: Path
) -> None:
    workspace = Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))
    seen = workspace.domains.generators[0]
    noise = np.random.default_rng(0).normal(size=len(workspace.domains))
    scores = 2 * workspace.domains.labels - 1 + noise
    import_scores(workspace, "lab", scores, threshold=0.0, trained_on=[seen])
    app = open_app(workspace.path, "methods")
    assert not app.exception and not app.error and not app.warning
    row = board_of_imports(workspace).iloc[0]
    measure_method(workspace, "logistic")
    compared = board(workspace).set_index("method").loc["imported: lab"]
    same = ["ood", "ood_low", "ood_high", "auc", "in_domain", "worst", "cells"]
    assert [row[one] for one in same] == [compared[one] for one in same]
    said = f"**{row['ood']:.3f}** (95% interval {row['ood_low']:.3f} to {row['ood_high']:.3f}"
    assert said in text_of(app) and f"{row['cells']} cells" in text_of(app)
    assert any("--methods logistic" in code.value for code in app.code)


@pytest.mark.parametrize("title", ["Ridge regression", "Nearest neighbours"])
def test_transfer_takes_a_method(open_app: Open, synthetic: Workspace, title: str) -> None:
    app = open_app(synthetic.path, "transfer", method=title, part="Words")
    assert not app.exception and not app.warning and not app.error
    # no weights: one sentence where words would stand
    assert noted(app, "no weights in the joint space") == (title == "Nearest neighbours")


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
    view = {"image": measured.images["content_hash"][row], "part": "Fine-tuned"}
    app = open_app(measured.path, "inspect", **view)
    assert not app.exception
    verdict = int(run.scores[row] > 0)
    assert f"{verdict} of 1 detector" in text_of(app)
    [table] = [table for table in tables(app) if "real as high" in table.columns]
    value, low, high = map(float, re.findall(r"[\d.]+", table["real as high"][0]))
    assert low <= value <= high
    settings = {"training": {"mode": "last", "objective": "captions"}, "encoder_sha256": ""}
    finetuned.store_runs(measured, "mine", [run], settings=settings, weights=[{}], about={})
    app = open_app(measured.path, "inspect", **view)
    [table] = [table for table in tables(app) if "real as high" in table.columns]
    captions = ["real photograph", f"image generated by {first}"]
    assert table["caption"].tolist() == [captions[domains.labels[row]]]
    outweighed = replace(run, scores=np.ones(len(domains)), named=0 * run.named)
    finetuned.store_runs(measured, "mine", [outweighed], settings=settings, weights=[{}], about={})
    said = "captions of all generators together are more probable"
    assert not any(said in caption.value for caption in app.caption)
    app = open_app(measured.path, "inspect", **view)
    assert any(said in caption.value for caption in app.caption)


def test_own_texts_are_a_row_by_link(open_app: Open, measured: Workspace) -> None:
    bank = measured.text_bank(measured.text_banks[0]).table["text"]
    texts = {"real_texts": f"{bank[0]}; {bank[1]}", "generated_texts": bank[2]}
    app = open_app(measured.path, "methods", **texts)
    assert not app.exception and not app.error
    rows = measured.text_bank(measured.text_banks[0]).embeddings[:3].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    own = ZeroShotMean((rows[:2], rows[2:]))
    names = measured.domains.generators
    scores = score_detectors(own.train(measured, names), measured)
    matrix = transfer_matrix(scores, measured.domains, names, metrics=["balanced_accuracy"])
    ood = matrix.mean("balanced_accuracy", ~matrix.in_domain)
    assert f"**{ood.value:.3f}** (95% interval {ood.low:.3f}" in text_of(app)
    assert "over 3 comparisons" in text_of(app)
    empty = open_app(measured.path, "methods", part="Your own texts")
    captions = [caption.value for caption in empty.caption]
    assert any("Type texts for both kinds" in caption for caption in captions)
