"""Heads: directions in the joint space, planted words, extreme images."""

from dataclasses import replace

import numpy as np
import pytest
from pandas.testing import assert_frame_equal
from scipy.stats import kstest

from aigi_core.detectors.detector import score_detectors
from aigi_core.detectors.features import HeadsView
from aigi_core.detectors.heads import score_heads
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.training import train
from aigi_core.errors import AigiError
from aigi_core.explain.heads import (
    Definition,
    extreme_images,
    growing,
    head_direction,
    head_outputs,
    head_words,
    heads_alone,
    heads_words,
    train_every_head,
    with_test,
)
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import permuted_labels
from aigi_core.explain.reading import read
from aigi_core.heads import all_heads, embedding_norms
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.transfer import transfer_matrix
from aigi_core.workspace import Workspace
from tests.explain.plain import contribution


def relative(workspace: Workspace, layer: int, head: int) -> np.ndarray:
    return contribution(workspace, layer, head) / embedding_norms(workspace)[:, None]


def test_definitions_equal_the_full_space(synthetic: Workspace) -> None:
    domains = synthetic.domains
    rows, C = domains.rows("alpha-gan", "train"), relative(synthetic, 0, 1)
    fake = domains.labels[rows] == 1
    difference = head_direction(synthetic, 0, 1, "alpha-gan", "difference", draws=5)
    assert difference.vector == pytest.approx(
        C[rows][fake].mean(0) - C[rows][~fake].mean(0), abs=1e-9
    )
    assert difference.kind == "permutation" and difference.null.shape == (5, 24)
    mean = head_direction(synthetic, 0, 1, "alpha-gan", "mean", draws=5)
    assert mean.vector == pytest.approx(C[rows].mean(0), abs=1e-9) and mean.kind == "random"


def test_weights_are_those_of_the_detector_on_this_head(synthetic: Workspace) -> None:
    [detector] = train(
        synthetic, ["beta-diff"], HeadsView(((1, 0),)), Protocol(C=(1.0,), refit=False)
    )
    result = head_direction(synthetic, 1, 0, "beta-diff", "weights", draws=3)
    expected = read(synthetic, detector).direction
    assert result.vector / np.linalg.norm(result.vector) == pytest.approx(
        expected / np.linalg.norm(expected), abs=1e-4
    )


@pytest.mark.parametrize("definition", ["difference", "weights", "mean"])
def test_null_lies_in_what_the_head_can_write(synthetic: Workspace, definition: Definition) -> None:
    Q, _ = head_outputs(synthetic, 1, 1, np.arange(3))
    result = head_direction(synthetic, 1, 1, "delta-ar", definition, draws=4)
    for vector in (result.vector, *result.null):
        assert vector == pytest.approx(Q @ (Q.T @ vector), abs=1e-9)


def test_planted_head_is_named_and_another_is_not(synthetic: Workspace) -> None:
    # The best text for the planted direction is put into the lexicon: the null must let it through.
    planted = head_direction(synthetic, 0, 0, "alpha-gan", "weights").vector
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"], centred=False)
    lexicon.vectors[11] = planted / np.linalg.norm(planted)
    for definition in ("difference", "weights"):
        words = head_words(
            synthetic, lexicon, 0, 0, generators="alpha-gan", definition=definition, draws=99
        )
        assert words.nearest["text"].iloc[0] == "phrases 11" and words.p_value <= 0.05, definition
    others = [head for head in all_heads(synthetic) if head != (0, 0)]
    p = [
        head_words(synthetic, lexicon, *head, generators="alpha-gan", draws=99).p_value
        for head in others
    ]
    assert np.median(p) > 0.1, "heads without a signal have no words"


@pytest.mark.parametrize("definition", ["difference", "weights", "mean"])
def test_all_heads_are_the_single_heads_corrected(
    synthetic: Workspace, definition: Definition
) -> None:
    lexicon = Lexicon.of(synthetic)
    table = heads_words(synthetic, lexicon, "beta-diff", definition, draws=49)
    assert len(table) == 6 and table["excess"].is_monotonic_decreasing
    for row in table.to_dict("records"):
        words = head_words(
            synthetic,
            lexicon,
            row["layer"],
            row["index"],
            generators="beta-diff",
            definition=definition,
            draws=49,
        )
        assert row["nearest"] == words.nearest["text"][0] and row["p_value"] == pytest.approx(
            words.p_value
        )
        assert row["cosine"] == pytest.approx(words.top_cosine, abs=1e-6)
    assert (table["p_all_heads"].diff().dropna() >= 0).all()
    # The clearest of six heads is less of a surprise than the same head alone would be.
    assert table["p_all_heads"].sum() > table["p_value"].sum()


def test_a_planted_head_stands_out_among_all(synthetic: Workspace) -> None:
    planted = head_direction(synthetic, 0, 0, "alpha-gan").vector
    lexicon = Lexicon.of(synthetic, ["phrases", "vocabulary"], centred=False)
    lexicon.vectors[11] = planted / np.linalg.norm(planted)
    table = heads_words(synthetic, lexicon, "alpha-gan", draws=99)
    assert table["head"][0] == "0.0" and table["p_all_heads"][0] <= 0.05 < table["p_all_heads"][1]


def test_p_values_over_all_heads_are_uniform_where_labels_mean_nothing(
    synthetic: Workspace,
) -> None:
    lexicon, domains, p = Lexicon.of(synthetic), synthetic.domains, []
    rows = domains.rows("beta-diff", "train")
    for seed in range(40):
        [labels] = permuted_labels(domains, rows, 1, seed=1000 + seed)
        generator = domains.generator.copy()
        generator[rows] = np.where(labels == 1, "beta-diff", "")
        shuffled = Workspace(synthetic.path, synthetic.manifest)
        shuffled.__dict__["domains"] = replace(
            domains,
            labels=np.where(
                np.isin(np.arange(len(domains)), rows), generator == "beta-diff", domains.labels
            ).astype(np.int8),
            generator=generator,
        )
        p.append(
            heads_words(shuffled, lexicon, "beta-diff", draws=39, seed=seed)["p_all_heads"].min()
        )
    assert kstest(p, "uniform").pvalue > 0.01


def test_extreme_images(synthetic: Workspace) -> None:
    direction = np.random.default_rng(0).standard_normal(24)
    along = relative(synthetic, 1, 2) @ direction / np.linalg.norm(direction)
    rows = synthetic.domains.rows("gamma-diff", "test")
    table = extreme_images(synthetic, 1, 2, direction, k=4, rows=rows)
    most, least = (table[table["side"] == side] for side in ("most", "least"))
    order = rows[np.argsort(-along[rows])]
    assert (
        most["row"].tolist() == order[:4].tolist()
        and least["row"].tolist() == order[::-1][:4].tolist()
    )
    assert most["value"].to_numpy() == pytest.approx(along[order[:4]], abs=1e-9)
    assert most["path"].tolist() == synthetic.images["path"].iloc[order[:4]].tolist()
    real = along[rows[synthetic.domains.labels[rows] == 0]]
    expected = (most["value"] - real.mean()) / real.std(ddof=1)
    assert most["deviation"].to_numpy() == pytest.approx(expected)


def test_refusals(synthetic: Workspace) -> None:
    with pytest.raises(AigiError, match="no head 0 in layer 7"):
        head_direction(synthetic, 7, 0, "alpha-gan")
    with pytest.raises(AigiError, match="one of difference, weights, mean"):
        head_direction(synthetic, 0, 0, "alpha-gan", "median")  # type: ignore[arg-type]
    with pytest.raises(AigiError, match="no generator 'none'"):
        head_direction(synthetic, 0, 0, "none")
    with pytest.raises(AigiError, match="length zero"):
        extreme_images(synthetic, 0, 0, np.zeros(24))
    with pytest.raises(AigiError, match="No images"):
        extreme_images(synthetic, 0, 0, np.ones(24), rows=np.array([], int))


def test_heads_alone_and_together_are_measured_on_other_generators(synthetic: Workspace) -> None:
    scores = score_heads(synthetic, "beta-diff", "alpha-gan")
    matrix = heads_alone(synthetic, "beta-diff", draws=50)
    table = with_test(scores, matrix)
    assert (table["generators"] == 2).all() and table["head"][
        0
    ] == f"{table['layer'][0]}.{table['index'][0]}"
    for at in (0, 5):
        head = scores.top(6)[at]
        detector = train(synthetic, ["beta-diff"], HeadsView((head,)))
        alone = transfer_matrix(
            score_detectors(detector, synthetic), synthetic.domains, ["beta-diff"], draws=50
        )
        values = dict(zip(alone.test, alone.values[DEFAULT_METRIC][0], strict=True))
        assert table["in_domain"][at] == pytest.approx(values["beta-diff"])
        assert table["ood"][at] == pytest.approx((values["gamma-diff"] + values["delta-ar"]) / 2)
    pairs = train_every_head(synthetic, "beta-diff")
    once = with_test(
        score_heads(synthetic, "beta-diff", "alpha-gan", trained=[twin for _, twin in pairs]),
        heads_alone(synthetic, "beta-diff", draws=50, trained=[whole for whole, _ in pairs]),
    )
    assert_frame_equal(once, table, rtol=1e-12)
    grown = growing(synthetic, "beta-diff", scores.top(3), ("alpha-gan",))
    assert grown["value"][0] == pytest.approx(table["ood"][0]) and list(grown["heads"]) == [1, 2, 3]
    assert list(grown["head"]) == list(table["head"][:3]) and (grown["low"] <= grown["high"]).all()
