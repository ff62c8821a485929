"""Draws of blocks: exact values, and draws that agree with counts of single images."""

import numpy as np
import pytest

from aigi_core.metrics import METRICS, evaluate, evaluate_blocks

ORDINARY = [name for name, metric in METRICS.items() if metric.threshold != "held out"]


def test_values_are_exact_and_draws_agree_with_counts_of_images() -> None:
    rng = np.random.default_rng(0)
    n, blocks = 6000, 60
    labels = rng.integers(0, 2, n)
    scores = rng.standard_normal((2, n)) + np.array([[1.5], [0.3]]) * labels
    scores[0, :50] = 0.25  # ties
    block = rng.integers(0, blocks, n)
    counts = rng.poisson(1, (40, blocks)).astype(np.float32)
    result = evaluate_blocks(scores, labels, block, counts, 0.2, ORDINARY)
    one_by_one = evaluate(scores, labels, counts[:, block], 0.2, ORDINARY)
    exact = evaluate(scores, labels, thresholds=0.2, metrics=ORDINARY)
    for name in ORDINARY:
        np.testing.assert_array_equal(result[name][:, 0], exact[name][:, 0])
        error = np.sqrt(((result[name][:, 1:] - one_by_one[name]) ** 2).mean(axis=1))
        assert (error < 0.12 * one_by_one[name].std(axis=1)).all(), name


def test_a_draw_without_a_class_is_no_number() -> None:
    labels, block = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])
    scores = np.array([[0.1, 0.2, 0.3, 0.4]])
    counts = np.array([[1, 0], [1, 1]], np.float32)
    result = evaluate_blocks(scores, labels, block, counts, 0.25, ["auc", "accuracy_fake"])
    assert np.isnan(result["auc"][0, 1]) and np.isnan(result["accuracy_fake"][0, 1])
    assert result["auc"][0, [0, 2]] == pytest.approx([1, 1])
