"""The lines of pages on their intervals are composed in one place, from what the intervals are."""

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from aigi_core.errors import AigiError
from aigi_core.intervals import rate_interval
from aigi_core.metrics import METRICS, Column, intervals_in_words
from aigi_core.metrics.contract import CurveMetric

PAGES = sorted((Path(__file__).parents[2] / "pages").glob("*.py"))


def test_a_metric_says_whether_images_have_a_share_of_their_own() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    column = Column(
        np.arange(40), labels, np.arange(40), rng.normal(labels, 1, (2, 40)), np.zeros(2)
    )
    for metric in METRICS.values():
        assert metric.by_image == (metric.contributions(column) is not None), metric.name
        line = intervals_in_words(metric.name, "difference")
        assert ("sign flips" in line) == metric.by_image and metric.interval_rule in line
        draws = isinstance(metric, CurveMetric) and not metric.by_image
        assert ("draws of groups" in metric.interval_rule) == draws, metric.name
        assert metric.interval_holds in line


def test_the_rule_of_a_rate_is_what_its_interval_is() -> None:
    exact = binomtest(27, 30).proportion_ci(0.93, "exact")
    assert "Clopper and Pearson's exact" in METRICS["accuracy_fake"].interval_rule
    assert np.allclose(rate_interval(0.9, 30), (exact.low, exact.high))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_words_its_intervals_itself(page: Path) -> None:
    for node in ast.walk(ast.parse(page.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr != "protocol":
            continue
        for keyword in node.keywords:
            words = " ".join(
                part.value
                for part in ast.walk(keyword.value)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            )
            assert "Wilson" not in words and "95%" not in words, (page.name, keyword.arg)
            if keyword.arg == "intervals":
                assert "intervals_in_words" in ast.unparse(keyword.value)


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(AigiError, match="no rule for 'luck'"):
        intervals_in_words(None, "luck")  # type: ignore[arg-type]
    with pytest.raises(AigiError, match="Name what the page shows"):
        intervals_in_words(None)
