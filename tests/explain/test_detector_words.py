"""Detectors of every view read, explained, and held against their own training on shuffled
labels.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from aigi_core.detectors.detector import Detector
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.residual import residual_direction, residual_directions, train_residual
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.detector_words import (
    content_words,
    detector_words,
    null_directions,
    words_table,
)
from aigi_core.explain.evidence import evidence
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nameability import nameability
from aigi_core.explain.reading import read, scores
from aigi_core.transfer import DEFAULT_METRIC, transfer_matrix
from aigi_core.workspace import Workspace

VIEWS: list[FeatureView | None] = [
    EmbeddingView(),
    EmbeddingView(normalise=False),
    EmbeddingView(without=(0, 5, 23)),
    HeadsView(((0, 0), (1, 2))),
    None,
]


def detectors(workspace: Workspace, view: FeatureView | None) -> list[Detector]:
    """One a generator; None stands for the residual."""
    sets, protocol = workspace.domains.generators, Protocol(C=(0.1, 1.0))
    return (
        train_residual(workspace, sets, protocol)
        if view is None
        else train(workspace, sets, view, protocol)
    )


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_reading_scores_as_the_detector_does(
    synthetic: Workspace, view: FeatureView | None
) -> None:
    trained = detectors(synthetic, view)
    own = np.stack([detector.decision_function(synthetic) for detector in trained])
    readings = [read(synthetic, detector) for detector in trained]
    assert scores(synthetic, readings) == pytest.approx(own, abs=1e-9)
    result = evidence(synthetic, readings[0])
    assert result.bias + result.heads.sum(axis=(1, 2)) + result.remainder == pytest.approx(
        own[0], abs=1e-9
    )
    if isinstance(view, HeadsView):
        assert result.remainder == pytest.approx(0, abs=1e-9), (
            "heads are all that such a detector sees"
        )
        assert not result.heads[:, 0, 1:].any()


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_null_retrains_the_same_kind_of_detector(
    synthetic: Workspace, view: FeatureView | None
) -> None:
    detector = detectors(synthetic, view)[1]
    rows = synthetic.domains.rows(detector.training_set, ("train", "val"))
    null = null_directions(synthetic, detector, draws=3, seed=5)
    assert null.shape == (3, 24) and np.isfinite(null).all() and (null != 0).any(axis=1).all()
    # With the true labels in place of shuffled ones the null's own fit gives the detector's
    # direction.
    labels = synthetic.domains.labels[rows][None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aigi_core.explain.detector_words.permuted_labels", lambda *_: labels)
        same = null_directions(synthetic, detector, draws=1)[0]
    direction = read(synthetic, detector).direction
    assert abs(same @ direction) / np.linalg.norm(same) / np.linalg.norm(
        direction
    ) == pytest.approx(1, abs=1e-6)


def test_residuals_equal_the_detectors(synthetic: Workspace) -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 6)) + 1, (rng.random((4, 30)) < 0.5).astype(np.int8)
    assert residual_directions(X, Y) == pytest.approx(
        np.stack([residual_direction(X, y) for y in Y])
    )


def test_words_and_table_of_all_detectors(synthetic: Workspace) -> None:
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"])
    trained = detectors(synthetic, EmbeddingView())
    result = [detector_words(synthetic, lexicon, detector, k=5, draws=39) for detector in trained]
    assert all(1 / 40 <= text.p_value <= 1 for text in result)
    readings = [read(synthetic, detector) for detector in trained]
    matrix = transfer_matrix(
        scores(synthetic, readings),
        synthetic.domains,
        synthetic.domains.generators,
        metrics=(DEFAULT_METRIC,),
        draws=5,
    )
    table = words_table(result, matrix)
    assert table["detector"].tolist() == list(synthetic.domains.generators)
    assert (table["q_value"] >= table["p_value"] - 1e-12).all()
    assert table["nameable"].to_numpy() == pytest.approx([text.top_cosine for text in result])
    assert table["in_domain"].to_numpy() == pytest.approx(np.diag(matrix.values[DEFAULT_METRIC]))
    assert nameability(table, draws=50).correlations["n"].tolist()[0] == 4
    with pytest.raises(AigiError, match="4 detectors, words came for 3"):
        words_table(result[:3], matrix)


def with_arrays(workspace: Workspace, **arrays: object) -> Workspace:
    """The workspace with other embeddings or domains in place of what its cached properties would
    read.
    """
    changed = Workspace(workspace.path, workspace.manifest)
    changed.__dict__.update(arrays)
    return changed


def test_content_of_a_training_set_is_named(synthetic: Workspace) -> None:
    # Everything in the pool "faces", real and fake, is moved along one text: no detector's weights
    # can say so.
    lexicon = Lexicon.of(synthetic, centred=False)
    E = np.array(synthetic.embeddings)
    E[synthetic.domains.pool == "faces"] += (
        3 * np.linalg.norm(E, axis=1).mean() * lexicon.vectors[8]
    )
    shifted = with_arrays(synthetic, embeddings=E)
    words = content_words(shifted, lexicon, "alpha-gan", draws=99)
    assert words.nearest["text"].iloc[0] == "phrases 8" and words.p_value == pytest.approx(0.01)
    # The direction of a random set may lie near to a text; that it moves as far along one is
    # another matter.
    by_direction = content_words(shifted, lexicon, "alpha-gan", draws=99, extent=False)
    assert (
        by_direction.top_cosine == words.top_cosine
        and words.chance[2] < 0.7 * by_direction.chance[2]
    )
    assert content_words(synthetic, lexicon, "beta-diff", draws=99, k=3).draws == 99
    with pytest.raises(AigiError, match="nothing to be compared with"):
        content_words(synthetic, lexicon, synthetic.domains.generators)


@pytest.mark.parametrize("extent", [True, False])
def test_p_values_of_random_training_sets_are_uniform(synthetic: Workspace, extent: bool) -> None:
    lexicon, n, p = Lexicon.of(synthetic), len(synthetic.domains), []
    for seed in range(60):
        inside = np.random.default_rng(seed).random(n) < 0.4
        generator = np.where(inside & (np.arange(n) % 2 == 0), "x", "")
        domains = replace(
            synthetic.domains,
            labels=(generator != "").astype(np.int8),
            generator=generator,
            pool=np.where(inside, "a", "b"),
            family_of={"x": "gan"},
        )
        changed = with_arrays(synthetic, domains=domains)
        p.append(content_words(changed, lexicon, "x", draws=39, seed=seed, extent=extent).p_value)
    assert kstest(p, "uniform").pvalue > 0.01


def test_another_encoder_is_refused(synthetic: Workspace) -> None:
    detector = detectors(synthetic, EmbeddingView())[0]
    provenance = detector.provenance | {
        "encoder": {"model": "ViT-X", "pretrained": "y", "weights_sha256": "1" * 64}
    }
    with pytest.raises(AigiError, match="trained on ViT-X"):
        read(synthetic, replace(detector, provenance=provenance))
    with pytest.raises(AigiError, match="needs 7 features"):
        read(synthetic, replace(detector, view=EmbeddingView(), weights=np.ones(7), provenance={}))
