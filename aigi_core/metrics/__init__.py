"""Metrics of a detector on labelled images: one registry.

Labels: fake = 1 is the positive class. A higher score means fake; an image is flagged where its
score is above the threshold. A new metric is one file and one name in
:data:`aigi_core.metrics.registry.METRICS`.
"""

from aigi_core.metrics.blocks import evaluate_blocks
from aigi_core.metrics.contract import Column, CurveMetric, Metric, RateMetric
from aigi_core.metrics.evaluation import (
    auc_of_images,
    evaluate,
    ranking_metrics,
    threshold_metrics,
)
from aigi_core.metrics.registry import DEFAULT_METRIC, METRICS, check_metrics
from aigi_core.metrics.rules import intervals_in_words

__all__ = [
    "DEFAULT_METRIC",
    "METRICS",
    "Column",
    "CurveMetric",
    "Metric",
    "RateMetric",
    "auc_of_images",
    "check_metrics",
    "evaluate",
    "evaluate_blocks",
    "intervals_in_words",
    "ranking_metrics",
    "threshold_metrics",
]
