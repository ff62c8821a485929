"""Attribution against scikit-learn, SciPy and plain loops, on planted data."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, precision_score, recall_score
from sklearn.neighbors import NearestNeighbors

from aigi_core.attribution import attribute, load_attribution
from aigi_core.attribution.named import Named, mean_of_rates
from aigi_core.attribution.namers import (
    MultinomialRegression,
    SourceNeighbours,
    limit_of,
    mean_recall,
)
from aigi_core.attribution.report import AttributionSettings
from aigi_core.attribution.task import SourceTask
from aigi_core.attribution.tree import PERMUTATIONS, confusion_tree, residual_tree
from aigi_core.attribution.unknown import mean_over_generators, open_set
from aigi_core.detectors.features import EmbeddingView
from aigi_core.errors import AigiError, WorkspaceError
from aigi_core.manifest import Domains
from aigi_core.workspace import Workspace
from precompute.__main__ import main

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def data() -> dict[str, Data]:
    """Three sources on a sphere, of unequal size."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((3, 12))
    splits = {}
    for split, size in (("train", 40), ("val", 25), ("test", 50)):
        y = np.repeat([0, 1, 2], [2 * size, size, size // 2])
        X = centres[y] + 2.0 * rng.standard_normal((len(y), 12))
        splits[split] = (X / np.linalg.norm(X, axis=1, keepdims=True), y)
    return splits


def named_of(truth: np.ndarray, named: np.ndarray, group: np.ndarray | None = None) -> Named:
    rows = np.arange(len(truth))
    names = ("real", *(f"g{i}" for i in range(1, int(truth.max()) + 1)))
    return Named(
        names, rows, truth, named, named, np.full(len(rows), 2), rows if group is None else group
    )


def test_the_regression_is_scikit_learns(data: dict[str, Data]) -> None:
    ours = MultinomialRegression.fit(data["train"], data["val"])
    C = ours.parameters["C"]
    model = LogisticRegression(C=C, class_weight="balanced", tol=1e-8, max_iter=5000)
    model.fit(*data["train"])
    X, y = data["test"]
    assert np.allclose(ours.scores(X), model.predict_proba(X), atol=2e-3)
    recalls = [
        recall_score(
            data["val"][1],
            LogisticRegression(C=C, class_weight="balanced", max_iter=5000, tol=1e-8)
            .fit(*data["train"])
            .predict(data["val"][0]),
            average="macro",
        )
        for C in MultinomialRegression.CS
    ]
    assert ours.parameters["recall by C"] == pytest.approx(recalls, abs=0.03)
    assert mean_recall(ours.scores(X), y) == pytest.approx(
        recall_score(y, ours.scores(X).argmax(axis=1), average="macro")
    )


def test_two_sources_give_the_probabilities_of_the_binary_model(data: dict[str, Data]) -> None:
    two = {split: (X[y < 2], y[y < 2]) for split, (X, y) in data.items()}
    ours = MultinomialRegression.fit(two["train"], two["val"])
    model = LogisticRegression(
        C=ours.parameters["C"], class_weight="balanced", tol=1e-8, max_iter=5000
    ).fit(*two["train"])
    X = two["test"][0]
    assert np.allclose(ours.scores(X), model.predict_proba(X), atol=2e-3)


def test_neighbours_are_scikit_learns(data: dict[str, Data]) -> None:
    ours = SourceNeighbours.fit(data["train"], data["val"])
    bank, of = data["train"]
    X = data["test"][0]
    for source in range(3):
        near = NearestNeighbors(n_neighbors=ours.k, metric="cosine").fit(bank[of == source])
        expected = 1 - near.kneighbors(X)[0].mean(axis=1)
        assert np.allclose(ours.scores(X)[:, source], expected)


def test_the_limit_lets_the_promised_share_of_every_source_weigh_alike(
    data: dict[str, Data],
) -> None:
    namer = MultinomialRegression.fit(data["train"], data["val"])
    confidence, y = namer.scores(data["val"][0]).max(axis=1), data["val"][1]

    def kept(limit: float) -> float:
        return float(np.mean([(confidence[y == s] >= limit).mean() for s in range(3)]))

    assert kept(namer.limit) >= 0.95 - 1e-9
    assert kept(float(np.nextafter(namer.limit, 1))) < 0.95
    assert limit_of(confidence, y, 1.0) == confidence.min()


def test_confusions_recall_and_precision_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], [60, 30, 20])
    guess = np.where(rng.random(len(truth)) < 0.6, truth, rng.integers(0, 3, len(truth)))
    named = named_of(truth, guess)
    rate, (low, high), n = named.confusion()
    assert np.allclose(rate, confusion_matrix(truth, guess, normalize="true"))
    assert (low <= rate).all() and (rate <= high).all() and n.tolist() == [60, 30, 20]
    table = named.by_source()
    assert np.allclose(table["recall"], recall_score(truth, guess, average=None))
    assert np.allclose(table["precision"], precision_score(truth, guess, average=None))
    assert table["in_pool_chance"].tolist() == [0.5] * 3
    whole = named.mean_recall()
    assert whole.value == pytest.approx(recall_score(truth, guess, average="macro"))
    assert whole.low < whole.value < whole.high
    perfect = named_of(truth, truth)
    assert perfect.mean_recall().low < 1 and np.diag(perfect.confusion()[1].low).max() < 1


def test_images_of_few_groups_give_wide_intervals() -> None:
    truth = np.repeat([0, 1], 60)
    guess = np.where(np.arange(120) % 60 < 40, truth, 1 - truth)
    alone, grouped = named_of(truth, guess), named_of(truth, guess, np.arange(120) // 20)
    widths = [
        (high - low)[0, 0] for low, high in (each.confusion()[1] for each in (alone, grouped))
    ]
    assert widths[1] > 2 * widths[0]
    spans = [each.mean_recall().high - each.mean_recall().low for each in (alone, grouped)]
    assert spans[1] > 1.5 * spans[0]


def test_the_interval_of_the_mean_covers() -> None:
    rng = np.random.default_rng(2)
    stratum = np.repeat([0, 1, 2], [80, 40, 20])
    rates = np.array([0.9, 0.6, 0.3])
    covered = 0
    for seed in range(100):
        right = rng.random(len(stratum)) < rates[stratum]
        [one] = mean_of_rates(right[None], stratum, np.arange(len(stratum)), 300, seed)
        covered += one.low <= rates.mean() <= one.high
    assert covered >= 89  # 95 expected; below 89 with probability .004


def test_two_ways_are_compared_image_by_image() -> None:
    truth = np.repeat([0, 1], 50)
    better = named_of(truth, np.where(np.arange(100) % 50 < 45, truth, 1 - truth))
    worse = named_of(truth, np.where(np.arange(100) % 50 < 30, truth, 1 - truth))
    gap = better.less(worse)
    assert gap.value == pytest.approx(0.3) and 0 < gap.low < 0.3 < gap.high
    assert gap.p_value < 0.001 and better.less(better).p_value == 1


def test_an_unseen_generator_that_lies_elsewhere_is_unknown(synthetic: Workspace) -> None:
    domains = synthetic.domains
    rng = np.random.default_rng(0)
    place = np.eye(8)
    order = {name: i + 1 for i, name in enumerate(domains.generators)}
    at = np.array([order.get(name, 0) for name in domains.generator])
    X = place[at] + 0.1 * rng.standard_normal((len(at), 8))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    table = open_set(X, domains, MultinomialRegression)
    assert table["generator"].tolist() == list(domains.generators)
    sums = table[["unknown", "called_real", "false_attribution"]].sum(axis=1)
    assert np.allclose(sums, 1) and (table["auc"] > 0.99).all()
    assert (table["unknown"] > 0.9).all() and (table["known_recall"] > 0.8).all()
    mean = mean_over_generators(table, "unknown")
    assert mean.value == pytest.approx(table["unknown"].mean()) and mean.n == len(table)
    # Put in the place of another generator, it is named as that one.
    twin = domains.generators[1]
    moved = X.copy()
    moved[domains.generator == twin] = X[domains.generator == domains.generators[2]]
    row = open_set(moved, domains, MultinomialRegression).iloc[1]
    assert row["taken_for"] == domains.generators[2] and row["false_attribution"] > 0.8
    assert row["auc"] == pytest.approx(0.5, abs=0.25)


def test_the_tree_is_scipys_and_finds_planted_twins(synthetic: Workspace) -> None:
    domains = synthetic.domains
    rng = np.random.default_rng(0)
    names = domains.generators
    kinds = {name: i // 2 for i, name in enumerate(names)}
    X = rng.standard_normal((len(domains), 16)) * 0.3 + 1
    for name, kind in kinds.items():
        X[domains.generator == name, kind] += 3
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    tree = residual_tree(X, domains, names, draws=50)
    residuals = []
    for name in names:
        fake = domains.generator == name
        real = (domains.labels == 0) & np.isin(domains.pool, domains.pools_of(name))
        means = [X[mine].mean(axis=0) for mine in (fake, real)]
        means = [mean / np.linalg.norm(mean) for mean in means]
        residuals.append(means[0] - means[1])
    flat = pdist(np.array(residuals), "cosine")
    assert np.allclose(squareform(flat), tree.distances)
    assert np.allclose(linkage(flat, "average"), tree.linkage)
    assert tree.cophenetic == pytest.approx(cophenet(linkage(flat, "average"), flat)[0])
    assert frozenset(names[:2]) in tree.clades and frozenset(names[2:]) in tree.clades
    twins = [frozenset(names[:2]), frozenset(names[2:])]
    assert all(tree.stability[tree.clades.index(pair)] > 0.9 for pair in twins)
    gap, p = tree.nearer_within([str(kinds[name]) for name in names])
    assert gap > 0.5 and p < 0.5
    assert np.isnan(tree.nearer_within(["one"] * len(names))[0])
    # the same, one pair at a time
    labels = [str(kinds[name]) for name in names]
    rng, gaps = np.random.default_rng(0), []
    for drawn in [labels, *(rng.permutation(np.asarray(labels)) for _ in range(PERMUTATIONS))]:
        pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
        own = [tree.distances[i, j] for i, j in pairs if drawn[i] == drawn[j]]
        other = [tree.distances[i, j] for i, j in pairs if drawn[i] != drawn[j]]
        gaps.append(np.mean(other) - np.mean(own))
    assert gap == pytest.approx(gaps[0])
    assert p == np.mean(np.array(gaps) >= gaps[0] - 1e-12)


def test_confusions_make_a_tree() -> None:
    truth = np.repeat(np.arange(5), 40)
    guess = truth.copy()
    guess[(np.arange(200) % 4 == 0) & (truth == 1)] = 2
    tree = confusion_tree(named_of(truth, guess), draws=40)
    assert tree.distances[0, 1] == pytest.approx(1 - 0.125)
    assert tree.clades[0] == frozenset(["g1", "g2"]) and tree.stability[0] == 1
    with pytest.raises(AigiError, match="three generators"):
        confusion_tree(named_of(truth[:80], truth[:80]), draws=40)


def test_the_job_stores_what_pages_read(
    synthetic_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(synthetic_path, tmp_path / "w"))
    workspace = Workspace.open(path)
    with pytest.raises(WorkspaceError, match="precompute attribution"):
        load_attribution(workspace)
    command = ["attribution", "--workspace", str(path), "--draws", "20"]
    assert main([*command[:-1], "3"]) == 2 and "at least 20" in capsys.readouterr().err
    assert main(command) == 0 and "mean recall" in capsys.readouterr().out
    assert main(command) == 0 and "already" in capsys.readouterr().out
    made, stored = attribute(workspace, AttributionSettings(20)), load_attribution(workspace)
    for name, own in made.named.items():
        assert own.by_source().equals(stored.named[name].by_source())
        assert made.unknown[name].equals(stored.unknown[name])
    for name, tree in made.trees.items():
        assert tree.table().equals(stored.trees[name].table())
    row = int(stored.named["regression"].rows[0])
    sources = stored.likely_sources(workspace.embeddings[row])
    assert sources["probability"].sum() == pytest.approx(1)
    named = stored.named["regression"].named[0]
    assert sources["source"][0] == stored.names[named]
    limit = stored.regression.limit
    assert sources.attrs["unknown"] == (sources["probability"][0] < limit)
    certain = replace(stored, regression=replace(stored.regression, limit=2.0))
    assert certain.likely_sources(workspace.embeddings[row]).attrs["unknown"]


def test_a_generator_without_test_images_is_left_out_and_named(synthetic: Workspace) -> None:
    images = synthetic.images.copy()
    gone = (images["generator"] == "beta-diff") & (images["split"] == "test")
    task = SourceTask.of(Domains.from_images(images[~gone]))
    assert task.left_out == {"beta-diff": "no image in the split test"}
    assert "beta-diff" not in task.names and (task.source == -1).any()
    only_real = Domains.from_images(images[images["label"] == 0])
    with pytest.raises(AigiError, match="a generator with images in every split"):
        SourceTask.of(only_real)


def test_rivals_are_the_sources_of_an_images_pool(synthetic: Workspace) -> None:
    task = SourceTask.of(synthetic.domains)
    rows = task.rows("test")
    rivals = task.rivals(rows)
    faces = task.pool[rows] == "faces"
    assert {task.names[i] for i in np.flatnonzero(rivals[faces][0])} == {"real", "alpha-gan"}
    assert rivals[np.arange(len(rows)), task.source[rows]].all()
    X = EmbeddingView().matrix(synthetic, rows)
    assert len(X) == len(rows)
