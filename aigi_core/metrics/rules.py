"""What the intervals of a page are, in words: one place, beside the code that makes them.

A page names what it shows; the line is composed from the rule of each. A metric's own rule is its
class's :attr:`~aigi_core.metrics.Metric.interval_rule`.
"""

from __future__ import annotations

from typing import Literal, get_args

from aigi_core.errors import AigiError
from aigi_core.metrics.contract import RATE_RULE
from aigi_core.metrics.registry import DEFAULT_METRIC, METRICS

Shown = Literal[
    "difference",
    "gap",
    "winner",
    "largest",
    "share",
    "shares by group",
    "component",
    "probability",
    "generators",
    "detectors",
    "geometry",
    "association",
    "draws",
]
RULES: dict[Shown, str] = {
    "gap": "Loss from in-domain to out-of-domain means: both intervals joined by square-and-add,"
    " with their correlation from 1,000 bootstrap draws.",
    "winner": "The highest or lowest of several: its bound is moved by the average gain of"
    " choosing, estimated from bootstrap draws.",
    "largest": "The largest or smallest of several: its bound is the one at which the intervals of"
    " all hold at once (Bonferroni).",
    "share": f"Shares: {RATE_RULE}, images taken as independent.",
    "shares by group": "Shares: the interval of a rate, with the spread of bootstrap draws of"
    " groups and at most as many images as there are groups.",
    "component": "Correlations of components: Fisher's z.",
    "probability": "Probabilities: percentiles of bootstrap draws of groups of the validation"
    " images.",
    "generators": "Percentiles of 2,000 bootstrap draws of generators.",
    "detectors": "Correlations over detectors: percentiles of bootstrap draws of detectors.",
    "geometry": "Measures of geometry: t interval from the spread of bootstrap draws, on a log"
    " scale where a measure is above 0.",
    "association": "Cramér's V: percentiles of bootstrap draws of groups, with and without one"
    " image per class added at random.",
    "draws": "Shifts: percentiles of bootstrap draws of groups.",
}


def intervals_in_words(metric: str | None = DEFAULT_METRIC, *shown: Shown) -> str:
    """The line of a page's protocol on its intervals.

    Args:
        metric: whose values the page shows, if any.
        shown: what else has an interval there.

    Raises:
        AigiError: nothing, or something without a rule.

    >>> print(intervals_in_words("auc", "winner"))  # doctest: +ELLIPSIS
    95%. AUC: Newcombe's fifth method with DeLong's variance; ... The highest or lowest of ...
    """
    unknown = [name for name in shown if name not in get_args(Shown)]
    if unknown or (metric is None and not shown):
        raise AigiError(
            f"There is no rule for {unknown[0]!r}; there are {', '.join(get_args(Shown))}."
            if unknown
            else "Name what the page shows: a metric, or one of the rules."
        )
    parts = ["95%."]
    if metric is not None:
        about = METRICS[metric]
        parts.append(
            f"{about.title}: {about.interval_rule}; images of one group (one prompt, one scene)"
            " count as fewer independent images; training images are not resampled."
        )
        if about.interval_holds:
            parts.append(f"Note: {about.interval_holds}.")
    for name in dict.fromkeys(shown):
        parts.append(_difference(metric) if name == "difference" else RULES[name])
    return " ".join(parts)


def _difference(metric: str | None) -> str:
    if metric is not None and not METRICS[metric].by_image:
        return (
            "Differences: percentiles of paired bootstrap draws; p from their standard deviation"
            f" and the t distribution. {BOTH}"
        )
    return (
        "Differences: paired image by image, with two differing images per class added (Bonett and"
        f" Price 2012); p by sign flips of groups. {BOTH}"
    )


BOTH = "A difference is claimed only where the interval and p agree."
"""These are two methods, which may disagree near .05."""
