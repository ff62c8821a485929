"""The paper's protocol to the letter, against scikit-learn and NumPy."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from aigi_core.detectors import protocol as protocols
from aigi_core.detectors.components import search_components
from aigi_core.detectors.features import EmbeddingView, HeadsView, ResidualView
from aigi_core.detectors.head_points import KIND, HeadPoints, load_points, save_points
from aigi_core.detectors.heads import most_validated, score_heads
from aigi_core.detectors.presets import PRESETS, preset
from aigi_core.detectors.protocol import (
    PAPER_C,
    PAPER_MAX_ITER,
    PAPER_SOLVERS,
    Protocol,
    grid_fits,
    paper_points,
)
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.solvers.elimination import cut_at
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.heads import heads_alone, train_on_heads
from aigi_core.heads import all_heads
from aigi_core.workspace import Workspace
from precompute.search.points import keep_head_points
from precompute.search.stream import keep_stream_maps

PAPER = PRESETS["paper"]


def literal(
    X: np.ndarray, y: np.ndarray, solver: str, C: float, limit: int, **about: Any
) -> LogisticRegression:
    model = LogisticRegression(C=C, solver=solver, max_iter=limit, random_state=0, **about)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y)


def every_point(X: np.ndarray, y: np.ndarray) -> list[tuple[tuple, LogisticRegression]]:
    return [
        ((solver, C, limit), literal(X, y, solver, C, limit))
        for solver in PAPER_SOLVERS
        for C in PAPER_C
        for limit in PAPER_MAX_ITER
    ]


def chosen_by(
    fits: list[tuple[tuple, LogisticRegression]], X: np.ndarray, y: np.ndarray
) -> tuple[tuple, LogisticRegression, float]:
    """Best plain accuracy; ties by log-loss, smaller C, more iterations, lbfgs before saga."""

    def key(entry: tuple[tuple, LogisticRegression]) -> tuple:
        (solver, C, limit), model = entry
        f = model.decision_function(X)
        loss = np.logaddexp(0, -np.where(y > 0, f, -f)).mean()
        return -((f > 0) == (y > 0)).mean(), round(float(loss), 12), C, -limit, solver

    best = min(fits, key=key)
    return *best, -key(best)[0]


@pytest.fixture(scope="module")
def pixels(tiny: tuple[Path, str]) -> Workspace:
    """A workspace of real pictures with the maps to its encoder's residual stream."""
    import shutil

    copy = tiny[0].with_name("with stream maps")
    if not copy.exists():
        shutil.copytree(tiny[0], copy)
    return keep_stream_maps(copy, model=tiny[1])


def test_the_paper_s_preset_is_what_the_paper_says() -> None:
    """Every field, so that none is added, or falls back to ours, without a word here."""
    assert vars(PAPER) == {
        "name": "paper",
        "title": "Paper",
        "training": Protocol(grid="paper", class_weight=None),
        "metric": "accuracy",
        "cut": "last",
        "residual": "raw embeddings",
        "head_space": "stream",
        "head_penalty": "scored",
        "heads_leave_out_train": False,
        "word_bank": "tokens",
        "words_centred": False,
    }
    assert PAPER_MAX_ITER == (10, 50, 100, 500, 1000, 5000) and PAPER.training.C == PAPER_C
    assert len(PAPER_SOLVERS) * len(PAPER_C) * len(PAPER_MAX_ITER) == 96
    assert preset("ours").training == Protocol()
    assert all(getattr(PAPER, name) != value for name, value in vars(preset("ours")).items()), (
        "a switch that the paper's preset does not turn"
    )


def test_the_document_names_every_switch_and_every_decision() -> None:
    page = (Path(__file__).parents[2] / "docs" / "method.md").read_text("utf-8")
    switches = page.split("## Two protocols")[1].split("## Eighteen")[0]
    named = {
        field
        for names in re.findall(r"\(`([^)]*)`\) \|", switches)
        for field in re.split(r"`?, `", names)
    }
    assert {name.split(".")[0] for name in named} == set(vars(PAPER)) - {"name", "title"}
    decisions = page.split("## Eighteen")[1].split("### What each")[0]
    rows = re.findall(r"^\| (\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", decisions, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 19))
    assert all(cell.strip() for row in rows for cell in row)
    with pytest.raises(AigiError, match="no protocol 'theirs': choose ours or paper"):
        preset("theirs")


def test_fits_that_are_not_made_again_are_those_of_scikit_learn(synthetic: Workspace) -> None:
    rows = synthetic.domains.rows("beta-diff", "train")
    X, y = EmbeddingView().matrix(synthetic, rows), synthetic.domains.labels[rows]
    points, fits = grid_fits(X, y, PAPER.training)
    expected = every_point(X, y)
    assert points == [point for point, _ in expected]
    assert len({id(fit) for fit in fits}) < 96, "no fit was spared"
    for (point, model), fit in zip(expected, fits, strict=True):
        np.testing.assert_array_equal(fit.weights, model.coef_, err_msg=str(point))
        np.testing.assert_array_equal(fit.intercept, model.intercept_, err_msg=str(point))


@pytest.mark.parametrize(
    "how", [{"class_weight": "balanced"}, {"fit_intercept": False}, {"C": (100.0, 0.01)}]
)
def test_other_grids_are_those_of_scikit_learn_too(synthetic: Workspace, how: Any) -> None:
    rows = synthetic.domains.rows("gamma-diff", "train")
    X, y = EmbeddingView().matrix(synthetic, rows)[:, :5], synthetic.domains.labels[rows]
    points, fits = grid_fits(X, y, replace(PAPER.training, **how))
    about = {name: value for name, value in how.items() if name != "C"}
    seen = set()
    for (solver, C, max_iter), fit in zip(points, fits, strict=True):
        if max_iter > 100:
            continue
        model = literal(X, y, solver, C, max_iter, **about)
        seen.add(int(model.n_iter_[0]) == max_iter)
        np.testing.assert_array_equal(fit.weights, model.coef_)
        np.testing.assert_array_equal(fit.intercept, model.intercept_)
    assert "C" not in how or seen == {True, False}, "nothing was stopped early"


def test_the_same_grid_is_walked_once(
    synthetic: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = synthetic.domains.rows("delta-ar", "train")
    X, y = EmbeddingView().matrix(synthetic, rows)[:, :7], synthetic.domains.labels[rows]
    _, fits = grid_fits(X, y, PAPER.training)

    def refuse(*_: object) -> None:
        raise AssertionError("walked again")

    monkeypatch.setattr(protocols, "early_stopped", refuse)
    assert grid_fits(X.copy(), y.copy(), PAPER.training)[1] is fits
    for features, labels in ((X + 1e-9, y), (X, 1 - y)):
        with pytest.raises(AssertionError, match="walked again"):
            grid_fits(features, labels, PAPER.training)
    with pytest.raises(AigiError, match="finite features of images of both classes"):
        grid_fits(X, np.zeros(len(X), int), PAPER.training)


def test_a_detector_of_the_paper_s_protocol(synthetic: Workspace) -> None:
    domains = synthetic.domains
    [mine] = train(synthetic, ["gamma-diff"], protocol=PAPER.training)
    blocks = [domains.rows("gamma-diff", split) for split in ("train", "val")]
    X = [EmbeddingView().matrix(synthetic, rows) for rows in blocks]
    y = [domains.labels[rows] for rows in blocks]
    point, _, _ = chosen_by(every_point(X[0], y[0]), X[1], y[1])
    model = literal(np.concatenate(X), np.concatenate(y), *point)
    np.testing.assert_allclose(mine.weights, model.coef_[0], rtol=1e-12)
    assert mine.provenance["validation"]["chosen"] == list(point)


def test_residuals_of_raw_means_and_dot_products(synthetic: Workspace) -> None:
    domains, E = synthetic.domains, synthetic.embeddings.astype(np.float64)
    protocol = Protocol(C=(1.0,), class_weight=None, refit=False)
    [mine] = train_residual(synthetic, ["beta-diff"], protocol, means=PAPER.residual)
    rows = domains.rows("beta-diff", "train")
    fake = domains.labels[rows] == 1
    means = [E[rows[chosen]].mean(axis=0) for chosen in (fake, ~fake)]
    residual = means[0] / np.linalg.norm(means[0]) - means[1] / np.linalg.norm(means[1])
    feature = E @ residual
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000)
    model.fit(feature[rows, None], domains.labels[rows])
    expected = model.decision_function(feature[:, None])
    np.testing.assert_allclose(mine.decision_function(synthetic), expected, rtol=1e-5, atol=1e-6)
    by_weights = E @ mine.joint_weights(synthetic)[0] + mine.bias
    np.testing.assert_allclose(mine.decision_function(synthetic), by_weights, rtol=1e-9)
    [ours] = train_residual(synthetic, ["beta-diff"], protocol)
    assert isinstance(ours.view, ResidualView) and ours.view.normalise
    assert not np.allclose(ours.decision_function(synthetic), expected)


def test_cut_rules() -> None:
    accuracy = np.array([0.6, 0.9, 0.7, 0.9, 0.9, 0.8])
    loss = np.array([0.1, 0.5, 0.1, 0.3, 0.4, 0.1])
    assert cut_at(accuracy, loss, "first") == 1
    assert cut_at(accuracy, loss, "last") == 4
    assert cut_at(accuracy, loss, "log-loss") == cut_at(accuracy, loss) == 3


def test_a_search_can_be_cut_by_every_rule(synthetic: Workspace) -> None:
    protocol = Protocol(C=(1.0,), class_weight=None)
    result = search_components(synthetic, ("alpha-gan", "beta-diff"), protocol, C=1.0, workers=1)
    for rule in ("first", "last", "log-loss"):
        removed = None
        for one in (result.forward, result.backward):
            best = np.flatnonzero(one.accuracy == one.accuracy.max())
            cut = {"first": best[0], "last": best[-1], "log-loss": one.cut}[rule]
            mine = set(one.removed[:cut].tolist())
            removed = mine if removed is None else removed & mine
        assert result.removed_at(rule) == tuple(sorted(removed or ()))
    assert result.removed == result.removed_at("log-loss")
    assert len(result.removed_at("first")) <= len(result.removed_at("last"))


def test_head_features_are_the_outputs_in_the_residual_stream(
    pixels: Workspace, tiny: tuple[Path, str]
) -> None:
    """The oracle multiplies contexts with the encoder's own slice of the output projection."""
    from aigi_core.clip.encoder import load_encoder

    block = load_encoder(tiny[1], None, device="cpu").tower.transformer.resblocks[1]
    weight = block.attn.out_proj.weight.detach().double().numpy()
    head_width = pixels.heads.shape[3]
    for head in range(pixels.heads.shape[1]):
        part = weight[:, head * head_width : (head + 1) * head_width]
        outputs = pixels.heads[1, head].astype(np.float64) @ part.T
        mine = HeadsView(((1, head),), space="stream").matrix(pixels)
        np.testing.assert_allclose(mine @ mine.T, outputs @ outputs.T, rtol=1e-4, atol=1e-6)
    with pytest.raises(AigiError, match="no direction in the joint space"):
        HeadsView(((1, 0),), space="stream").joint_weights(pixels.decomposition, np.ones(2))


def test_the_maps_are_stored_once_and_leave_the_digest(
    pixels: Workspace, tiny: tuple[Path, str]
) -> None:
    file = pixels.path / "stream_maps.npy"
    before = file.stat().st_mtime_ns
    assert keep_stream_maps(pixels.path).digest == Workspace.open(tiny[0]).digest
    assert file.stat().st_mtime_ns == before
    with pytest.raises(AigiError, match="search --workspace .* --protocol paper'"):
        HeadsView(((0, 0),), space="stream").matrix(Workspace.open(tiny[0]))


def test_a_head_s_penalty_is_chosen_on_the_generator_that_scores_it(pixels: Workspace) -> None:
    domains = pixels.domains
    trained, scored = domains.generators[:2]
    mine = score_heads(
        pixels,
        trained,
        scored,
        PAPER.training,
        heads=[(0, 1)],
        space=PAPER.head_space,
        penalty=PAPER.head_penalty,
    ).table.iloc[0]
    X = HeadsView(((0, 1),), space="stream").matrix(pixels)
    rows = {"train": domains.rows(trained, "train"), "score": domains.rows(scored, "val")}
    fits = every_point(X[rows["train"]], domains.labels[rows["train"]])
    point, _, accuracy = chosen_by(fits, X[rows["score"]], domains.labels[rows["score"]])
    assert (mine["C"], mine["accuracy"]) == (point[1], pytest.approx(accuracy))


def test_points_that_a_job_found_give_the_same_heads(pixels: Workspace, tmp_path: Path) -> None:
    """Each of 96 points was tried for every head before; now one is fitted."""
    import shutil

    workspace = Workspace.open(shutil.copytree(pixels.path, tmp_path / "w"))
    assert load_points(workspace, PAPER) is None
    keep_head_points(workspace, PRESETS["ours"], print)
    assert not workspace.result_path(KIND.name, "").exists()  # exact fits walk no grid
    keep_head_points(workspace, PAPER, print)
    points = load_points(workspace, PAPER)
    assert points is not None
    trained, scored = workspace.domains.generators[:2]
    how = dict(space=PAPER.head_space, penalty=PAPER.head_penalty)
    found, walked = (
        score_heads(workspace, trained, scored, PAPER.training, points=known, **how)
        for known in (points, None)
    )
    pd.testing.assert_frame_equal(found.table, walked.table, check_exact=True)
    assert vars(found.best) == vars(walked.best)
    matrices = [
        heads_alone(workspace, trained, PAPER.metric, used=PAPER, points=known, draws=20)
        for known in (points, None)
    ]
    assert (matrices[0].values[PAPER.metric] == matrices[1].values[PAPER.metric]).all()
    top = tuple((int(layer), int(head)) for layer, head in points.best[0])
    other = most_validated(workspace.domains, workspace.domains.generators[1:])
    assert top == score_heads(workspace, trained, other, PAPER.training, **how).top(len(top))
    together = HeadsView(top, space=PAPER.head_space)
    one = train_on_heads(workspace, trained, together, PAPER, points)
    (all_tried,) = train(workspace, [trained], together, PAPER.training)
    assert (one.weights == all_tried.weights).all() and one.bias == all_tried.bias
    assert one.provenance["validation"] == {"chosen": all_tried.provenance["validation"]["chosen"]}
    assert points.point((trained, scored), top, trained) is None


@pytest.mark.parametrize("damage", ["shape", "number"])
def test_points_that_are_none_are_not_used(pixels: Workspace, tmp_path: Path, damage: str) -> None:
    import shutil

    workspace = Workspace.open(shutil.copytree(pixels.path, tmp_path / "w"))
    names, heads = workspace.domains.generators, all_heads(workspace)
    alone = np.zeros((len(names), len(heads), len(names)), np.uint8)
    alone[0, 0, 0] = 96 if damage == "number" else 0
    best, together = np.zeros((len(names), 1, 2), np.int16), np.zeros(len(names), np.uint8)
    grid = paper_points(PAPER.training)
    given = alone[1:] if damage == "shape" else alone
    save_points(workspace, PAPER, HeadPoints(grid, names, heads, given, best, together))
    assert load_points(workspace, PAPER) is None
