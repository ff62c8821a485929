"""Quality by antonym prompts and from opinion scores, and what is left at equal quality."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from aigi_core.audit import quality as of_images
from aigi_core.audit.separation import separation
from aigi_core.clip import quality_prompts
from aigi_core.clip.encoder import load_encoder
from aigi_core.clip.prompts import SPREAD, TextTower
from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.features import EmbeddingView
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace
from precompute.__main__ import main
from tests.tiny_clip import make_tiny_clip
from tests.tiny_workspace import make_tiny_workspace


@pytest.fixture
def workspace(synthetic_path: Path, tmp_path: Path) -> Workspace:
    return Workspace.open(Path(shutil.copytree(synthetic_path, tmp_path / "w")))


def test_antonyms_are_a_softmax_of_two_cosines() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    logits = 100 * rows[:4] @ rows[4:].T
    expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(of_images.antonym_quality(rows[:4], rows[4], rows[5]), expected)


def test_rank_correlation_is_spearmans_and_its_interval_covers() -> None:
    rng = np.random.default_rng(1)
    a = rng.standard_normal(200).round(1)
    b = 0.5 * a + rng.standard_normal(200)
    value, low, high = of_images.rank_correlation_of_images(a, b, np.array([""] * 200), draws=300)
    assert value == pytest.approx(spearmanr(a, b).statistic)
    assert low < value < high and high - low == pytest.approx(4 * np.sqrt(0.8 / 200), rel=0.3)
    flat = of_images.rank_correlation_of_images(np.ones(9), b[:9], np.array([""] * 9), draws=20)
    assert np.isnan(flat).all()


def test_quality_that_is_the_score_tells_everything(workspace: Workspace) -> None:
    """Planted: quality is the score of the first generator's own detector, turned round."""
    domains, first = workspace.domains, workspace.domains.generators[0]
    [scores] = score_detectors(train(workspace, [first]), workspace)
    sentence = of_images.store_quality(workspace, {"quality": -scores}, source="planted")
    stored = of_images.stored_quality(workspace)
    row = stored.table("by-generator").set_index("generator").loc[first]
    assert row["fakes"] == pytest.approx(-1) and row["reals"] == pytest.approx(-1)
    test = domains.rows(first, "test")
    expected = roc_auc_score(domains.labels[test], scores[test])
    assert row["auc"] == pytest.approx(expected) and row["auc_low"] <= expected <= row["auc_high"]
    assert len(stored.table("quality")) == len(domains)
    table = stored.table("by-generator")
    ordered = np.sort(table["p_value"])  # Holm: stop at the first that is not below .05 / (m - i)
    below = ordered < 0.05 / np.arange(len(ordered), 0, -1)
    tells = len(ordered) if below.all() else int(below.argmin())
    assert f"Quality alone separates fakes from real images for {tells} of" in sentence
    backwards = separation(scores[None], domains, [first], "two-sided")
    assert row["p_value"] == pytest.approx(backwards["p_value"].iloc[0]) and row["adjusted"] < 0.05
    # no fake has a real image like it: the sentence says so, and nothing is made up
    assert ("no stratum" in sentence) == ("change.parquet" not in stored.files)


def test_noise_for_quality_changes_nothing(workspace: Workspace) -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(len(workspace.domains))
    of_images.store_quality(workspace, {"quality": noise}, source="noise")
    means = of_images.stored_quality(workspace).table("means").set_index("cells")
    assert (means["change_low"] <= 0).all() and (means["change_high"] >= 0).all()


def test_strata_hold_equally_many_fakes(workspace: Workspace) -> None:
    rng, domains = np.random.default_rng(2), workspace.domains
    quality = rng.standard_normal(len(domains))
    for generator, codes in of_images.quality_strata(workspace, quality).items():
        rows = domains.rows(generator, ("train", "val", "test"))
        counts = np.bincount(codes[domains.labels[rows] > 0])
        assert len(counts) == 5 and np.ptp(counts) <= 1
        lowest = [quality[rows][codes == code].min() for code in range(5)]
        assert lowest == sorted(lowest)


def test_opinion_scores_are_learnt_and_judged_on_validation_images(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = EmbeddingView().matrix(workspace)
    opinion = 3 + 10 * rows[:, 0]
    split = workspace.domains.split
    monkeypatch.setattr(of_images, "FEWEST", 30)
    learnt = of_images.learnt_quality(workspace, opinion)
    val = split == "val"
    assert learnt.n == val.sum() and learnt.low <= learnt.correlation <= learnt.high
    assert learnt.correlation == pytest.approx(
        spearmanr(learnt.quality[val], opinion[val]).statistic
    )
    assert learnt.correlation > 0.5
    few = np.where(np.arange(len(split)) < 20, opinion, np.nan)
    with pytest.raises(AigiError, match="rate more"):
        of_images.learnt_quality(workspace, few)
    with pytest.raises(AigiError, match="give scores that differ"):
        of_images.learnt_quality(workspace, np.ones(len(split)))


def test_learned_prompts_are_joined_to_the_image_as_published(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network by hand, what training moves, and that the texts act as a bias once trained."""
    tower = load_encoder(make_tiny_clip(tmp_path / "tiny"), None, device="cpu").text_tower
    assert tower is not None
    rows = EmbeddingView().matrix(workspace)
    d = rows.shape[1]
    widen = torch.tensor(np.random.default_rng(0).standard_normal((tower_width(tower), d))).float()
    wide = TextTower(tower.embedding, lambda texts: tower.forward(texts) @ widen)
    monkeypatch.setattr(quality_prompts, "EPOCHS", 40)
    monkeypatch.setattr(quality_prompts, "VECTORS", 4)
    monkeypatch.setattr(of_images, "FEWEST", 30)
    opinion = 3 + 10 * rows[:, 0]
    learnt = of_images.learnt_quality(workspace, opinion, wide)
    assert learnt.correlation > 0.5
    known = np.arange(60)
    network = quality_prompts.learn_quality(
        wide, rows[known], (opinion[known] - 3) / opinion[known].std(), known
    )
    first = SPREAD * np.random.default_rng(0).standard_normal((4, wide.width))
    assert np.abs(network.context.detach().numpy() - first).max() > 0.01  # the prompts are learnt
    given = quality_prompts.quality_of(network, rows)
    with torch.no_grad():
        texts = wide.after(network.context[None], quality_prompts.CATEGORIES)[0].numpy()
        (W, b), (v, c) = (
            (layer.weight.numpy(), layer.bias.numpy()) for layer in (network.first, network.second)
        )
    assert texts.shape == (6, d) and W.shape == (512, 7 * d)
    joined = np.hstack([rows, np.tile(texts.ravel(), (len(rows), 1))]) * np.sqrt(d)
    by_hand = np.maximum(joined @ W.T + b, 0) @ v[0] + c[0]
    np.testing.assert_allclose(given, by_hand, atol=1e-4)
    bias = b + np.sqrt(d) * W[:, d:] @ texts.ravel()
    alone = np.maximum(np.sqrt(d) * rows @ W[:, :d].T + bias, 0) @ v[0] + c[0]
    np.testing.assert_allclose(alone, by_hand, atol=1e-4)
    again = of_images.learnt_quality(workspace, opinion, wide)
    np.testing.assert_array_equal(again.quality, learnt.quality)


def tower_width(tower: TextTower) -> int:
    """Of the space that a text tower maps to."""
    with torch.no_grad():
        return int(tower.forward(["a"]).shape[1])


def test_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = make_tiny_workspace(tmp_path, per_kind=60)
    base = ["quality", "--workspace", str(path), "--model", model, "--device", "cpu"]
    assert main(base) == 0
    assert "Quality alone" in capsys.readouterr().out
    opened = Workspace.open(path)
    stored = of_images.stored_quality(opened).table("quality")
    assert (
        list(stored) == list(of_images.ANTONYMS)
        and stored.to_numpy().min() >= 0
        and stored.to_numpy().max() <= 1
    )
    file = tmp_path / "opinion.csv"
    rated = pd.DataFrame({"path": opened.images["path"]})
    rated["score"] = 3 + 10 * EmbeddingView().matrix(opened)[:, 0]
    rated.to_csv(file, index=False)
    monkeypatch.setattr(of_images, "FEWEST", 5)
    monkeypatch.setattr("aigi_core.clip.quality_prompts.EPOCHS", 2)
    assert main([*base, "--scores", str(file)]) == 0
    content = of_images.stored_quality(opened).content
    assert content["source"] == "opinion scores in opinion.csv and learned prompts"
    assert content["validation"]["n"] == (opened.domains.split == "val").sum()
    capsys.readouterr()
    table = pd.DataFrame({"path": opened.images["path"][:3], "score": [1.0, 2.0, np.nan]})
    for wrong, sentence in (
        (table, "no finite score"),
        (table.iloc[[0, 0]], "stands twice"),
        (table.iloc[:1].assign(path="no.png"), "not in the workspace"),
        (table.rename(columns={"score": "mark"}), "Expected the columns"),
    ):
        wrong.to_csv(file, index=False)
        assert main([*base, "--scores", str(file)]) == 2
        assert sentence in capsys.readouterr().err
