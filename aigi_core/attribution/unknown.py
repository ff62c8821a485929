"""Open set: does a generator that was never seen come out as unknown?

Each generator is left out in turn: the sources are learnt without it, C or k and the limit below
which a source is "unknown" are set on validation images of the known sources, and its test images
are put among those of the known.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.attribution.named import mean_of_rates
from aigi_core.attribution.namers import Namer
from aigi_core.attribution.task import SourceTask
from aigi_core.intervals import rates_by_group
from aigi_core.manifest import Domains
from aigi_core.metrics import auc_of_images
from aigi_core.transfer.bootstrap import Estimate

OUTCOMES = ("unknown", "called_real", "false_attribution")
"""What becomes of an image of a generator that was left out."""


def open_set(
    features: Float[np.ndarray, "N d"],
    domains: Domains,
    method: type[Namer],
    tell: Callable[[str], None] = lambda step: None,
) -> pd.DataFrame:
    """One row a generator that is left out and has test images.

    Columns ``generator, n``; ``auc`` of the confidence in known test images over that in its own
    (1: it is always less sure of the unknown one); ``known_recall``, share of known test images
    that the limit lets through, sources weighing alike (aimed at: 95%, set on validation images);
    of its own images, ``unknown``, those below the limit, ``called_real``, and
    ``false_attribution``, those named as another generator (the three sum to 1); ``taken_for``,
    the known source that it is named as most often, and ``taken_share``. Rates and AUC have
    ``_low`` and ``_high``.
    """
    whole = SourceTask.of(domains)
    generators = [g for g in domains.generators if g not in whole.left_out]
    if len(generators) < 2:
        return pd.DataFrame()  # nothing would be left to know
    table = []
    for name in generators:
        tell(f"{method.title}, without {name}")
        task = SourceTask.of(domains, without=[name])
        namer = fitted(features, task, method)
        known = task.rows("test")
        own = np.flatnonzero((domains.generator == name) & (domains.split == "test"))
        scores = namer.scores(features[np.concatenate([own, known])])
        confidence, named = scores.max(axis=1), scores.argmax(axis=1)
        group = task.group[np.concatenate([own, known])]
        m, is_known = len(own), np.repeat([0, 1], [len(own), len(known)])
        passed = confidence >= namer.limit
        # The three outcomes of its own images are told apart on the same images.
        outcomes = np.stack(
            [~passed[:m], passed[:m] & (named[:m] == 0), passed[:m] & (named[:m] > 0)]
        )
        counts = np.bincount(named[:m], minlength=len(task.names))
        row: dict[str, object] = {"generator": name, "n": m}
        recall = mean_of_rates(passed[m:][None], task.source[known], group[m:])[0]
        shares, (lows, highs) = rates_by_group(outcomes.astype(float), group[:m])
        measured = {
            "auc": auc_of_images(confidence, is_known, group),
            "known_recall": (recall.value, recall.low, recall.high),
            **dict(zip(OUTCOMES, zip(shares, lows, highs, strict=True), strict=True)),
        }
        for column, bounds in measured.items():
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), bounds, strict=True))
        row |= {"taken_for": task.names[int(counts.argmax())], "taken_share": counts.max() / m}
        table.append(row)
    return pd.DataFrame(table)


def fitted(features: Float[np.ndarray, "N d"], task: SourceTask, method: type[Namer]) -> Namer:
    """A way of naming trained on a task's training images, with its limit set on validation."""
    train, val = (
        (features[rows], task.source[rows]) for rows in (task.rows("train"), task.rows("val"))
    )
    return method.fit(train, val)


def mean_over_generators(table: pd.DataFrame, column: str) -> Estimate:
    """A column of :func:`open_set` averaged over the generators; ``n`` counts them. Its interval
    adds their variances, as the generators' own images are different ones; it speaks of other
    images of these generators, not of other generators.
    """
    value, low, high = (table[f"{column}{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    mean = float(value.mean())
    down, up = (
        float(np.sqrt((side**2).sum())) / len(table) for side in (value - low, high - value)
    )
    return Estimate(mean, max(mean - down, 0.0), min(mean + up, 1.0), len(table))
