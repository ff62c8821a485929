"""A new generator's column is the matrix's own; its place and its words are checked by planting."""

from __future__ import annotations

import numpy as np
import pytest

from aigi_core.detectors import train
from aigi_core.detectors.detector import score_detectors
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.heads import EncodedImages
from aigi_core.inspection.new_generator import describe_generator, residual_words
from aigi_core.intervals import count_interval
from aigi_core.transfer import transfer_matrix
from aigi_core.workspace import Workspace
from ui.bodies.new_generator import stats


def taken(workspace: Workspace, rows: np.ndarray) -> EncodedImages:
    return EncodedImages(
        np.asarray(workspace.embeddings[rows]),
        np.asarray(workspace.heads[:, :, rows]),
        np.asarray(workspace.ln_post[rows]),
        workspace.decomposition,
    )


def test_its_column_is_that_of_the_same_images_in_the_workspace(synthetic: Workspace) -> None:
    """Test images of a known generator, brought anew under another name."""
    domains = synthetic.domains
    rows = np.flatnonzero((domains.generator == "beta-diff") & (domains.split == "test"))
    detectors = train(synthetic, domains.generators)
    result = describe_generator(
        synthetic, taken(synthetic, rows), detectors, name="new", pool="general"
    )
    whole = transfer_matrix(
        score_detectors(detectors, synthetic), domains, domains.generators, ["beta-diff"]
    )
    own = result.matrix.to_frame(["accuracy", "auc"]).drop(columns=["test"])
    expected = whole.to_frame(["accuracy", "auc"]).drop(columns=["test"])
    assert own["value"].tolist() == pytest.approx(expected["value"].tolist())
    assert len(result) == len(rows) == 12
    assert (result.distances < 1e-5).all()  # they are in the workspace
    assert result.far["share"] == 0
    top = result.nearest.iloc[0]
    assert (top["generator"], top["share"], top["n"]) == ("beta-diff", 1, 12)
    assert result.nearest["images"].sum() == 12
    assert result.nearest["expected"].sum() == pytest.approx(1)


def test_the_nearest_generators_tie_and_have_one_interval(synthetic: Workspace) -> None:
    domains = synthetic.domains
    names = ("alpha-gan", "beta-diff")
    rows = [np.flatnonzero((domains.generator == one) & (domains.split == "test")) for one in names]
    images = taken(synthetic, np.concatenate([mine[:6] for mine in rows]))
    detectors = train(synthetic, domains.generators)
    result = describe_generator(synthetic, images, detectors, name="new", pool="general")
    wanted = count_interval(6, 12, 1 - 0.05 / len(domains.generators))
    for row in result.nearest.head(2).itertuples():
        assert row.share == 0.5 and (row.low, row.high) == (wanted.low, wanted.high)
    tile = stats(result)[-1]
    assert tile.label == "Nearest: alpha-gan, beta-diff" and tile.n == "6 of 12 images each"
    assert tile.interval == (wanted.low, wanted.high) and "2 generators have it" in tile.help


def test_what_lies_nowhere_near_is_far(synthetic: Workspace) -> None:
    rng = np.random.default_rng(0)
    away = taken(synthetic, np.arange(12))
    opposite = -np.asarray(synthetic.embeddings).mean(axis=0)
    strange = EncodedImages(
        opposite + 0.1 * rng.standard_normal(away.embeddings.shape).astype(np.float32),
        away.heads,
        away.ln_post,
        away.decomposition,
    )
    detectors = train(synthetic, ["beta-diff"])
    result = describe_generator(synthetic, strange, detectors, name="new", pool="general")
    assert result.far["share"] == 1
    assert result.far["low"] > 0.7


def test_the_words_of_its_residual_have_a_null(synthetic: Workspace) -> None:
    bank = synthetic.text_bank("phrases")
    lexicon = Lexicon.of(synthetic, "phrases", centred=False)
    images = taken(synthetic, np.arange(40))
    real = (synthetic.domains.labels == 0) & (synthetic.domains.pool == "general")
    base = np.asarray(synthetic.embeddings[np.flatnonzero(real)[:40]])
    moved = base + 60 * np.asarray(bank.embeddings[7], np.float32)
    planted = EncodedImages(moved, images.heads, images.ln_post, images.decomposition)
    words = residual_words(synthetic, planted, "general", lexicon, draws=100)
    first = words.nearest.iloc[0]
    assert first["text"] == "phrases 7"
    assert first["p_value"] <= 0.01
    nothing = EncodedImages(base, images.heads, images.ln_post, images.decomposition)
    assert residual_words(synthetic, nothing, "general", lexicon, draws=100).p_value > 0.01


@pytest.mark.parametrize(
    ("rows", "name", "pool", "message"),
    [
        (5, "new", "general", "at least 10 images, got 5"),
        (12, "beta-diff", "general", "is taken"),
        (12, " ", "general", "is empty"),
        (12, "new", "nowhere", "there are faces, general"),
    ],
)
def test_what_cannot_be(
    synthetic: Workspace, rows: int, name: str, pool: str, message: str
) -> None:
    detectors = train(synthetic, ["beta-diff"])
    with pytest.raises(AigiError, match=message):
        describe_generator(
            synthetic, taken(synthetic, np.arange(rows)), detectors, name=name, pool=pool
        )
