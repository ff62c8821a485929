"""How images were generated, where their table says it: does the number of sampling steps change
how well they are found, and do the images of one prompt get the same answer?

Both take scores of all images by detectors that are given, and count for a model's images only
detectors that were not trained on any image of that model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.errors import NotGivenError
from aigi_core.intervals import difference_interval, interval_of_draws, rate_of_draws
from aigi_core.manifest import FAKE, STEPS, Domains, models
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.resampling import group_weights
from aigi_core.significance import bootstrap_p_value, q_values
from aigi_core.transfer.matrix import TrainSet, transfer_matrix

LEAST_PROMPTS = 6
"""Fewest prompts of a generator that are looked at."""
DRAWS = 1000


def by_steps(
    images: pd.DataFrame,
    scores: Float[np.ndarray, "K N"],
    sets: Sequence[TrainSet],
    thresholds: Float[np.ndarray, " K"] | float = 0.0,
    *,
    metric: str = DEFAULT_METRIC,
) -> pd.DataFrame:
    """How well each model's test images are found, by number of sampling steps.

    Args:
        images: the workspace's kept rows.
        scores: of all of them. sets: the generators that each detector was trained on.

    Returns:
        One row a model and number of steps, models with one number left out: ``model, steps``,
        ``value, low, high`` (mean over detectors), ``n`` (detectors), ``n_fake``, and the
        difference from the model's fewest steps, on the same real images and by the same
        detectors: ``change, change_low, change_high`` (missing for the fewest).

    Raises:
        NotGivenError: no column of steps, or no model with several numbers of steps that a
            detector of other models can be tested on.
    """
    domains = Domains.from_images(images)
    if STEPS not in images.columns:
        raise NotGivenError(
            "The table of images has no column 'steps' (the sampling steps of each fake):"
            " add it to the manifest, as 'generate' does, to see here how well fakes are"
            " detected at each number of steps."
        )
    model = models(images)
    steps = pd.to_numeric(images[STEPS], errors="coerce").to_numpy(float)
    tested = (domains.labels == FAKE) & (domains.split == "test") & np.isfinite(steps)
    known = pd.DataFrame({"model": model[tested], "steps": steps[tested]})
    several = known.groupby("model")["steps"].nunique()
    unseen = {str(name): _unseen(domains, model, str(name), sets) for name in several.index}
    chosen = [str(name) for name in several.index[several > 1] if unseen[str(name)].any()]
    if not chosen:
        raise NotGivenError(
            "Expected a model that has test images of several numbers of steps and a"
            " detector trained on another model, and found none: add images of a second"
            " model, because steps are compared within one model by detectors of other"
            " models."
        )
    cells = known[known["model"].isin(chosen)].value_counts(sort=False).sort_index()
    names = [f"{one} at {count:g} steps" for one, count in cells.index]
    generator = domains.generator.astype(object)
    for (one, count), name in zip(cells.index, names, strict=True):
        generator[tested & (model == one) & (steps == count)] = name
    families = domains.family_of | dict.fromkeys(names, "")
    renamed = replace(domains, generator=generator.astype(str), family_of=families)
    matrix = transfer_matrix(
        scores, renamed, list(sets), names, thresholds=thresholds, metrics=(metric,)
    )
    rows = []
    of = [one for one, _ in cells.index]
    for at, (one, count) in enumerate(cells.index):
        first = of.index(one)
        parts = [unseen[one][:, None] & (np.arange(len(names)) == t) for t in (at, first)]
        value, fewest = (matrix.mean(metric, part) for part in parts)
        row = {"model": one, "steps": count, **vars(value), "n_fake": int(cells.iloc[at])}
        if at != first:
            draws = np.stack([matrix.mean_draws(metric, part) for part in parts])
            alike = np.corrcoef(draws)[0, 1] if draws.std(axis=1).min() > 0 else 0.0
            low, high = difference_interval(
                (value.value, fewest.value),
                (value.interval, fewest.interval),
                float(np.clip(alike, 0, 1)),
            )
            row |= {
                "change": value.value - fewest.value,
                "change_low": float(low),
                "change_high": float(high),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def same_answer(
    images: pd.DataFrame,
    scores: Float[np.ndarray, "K N"],
    sets: Sequence[TrainSet],
    thresholds: Float[np.ndarray, " K"] | float = 0.0,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """How often two test images of one prompt (one group) by one generator get the same answer,
    beside two images of different prompts.

    Args:
        images, scores, sets, thresholds: as in :func:`by_steps`.

    Returns:
        One row a generator: ``name``, ``value`` with ``low, high`` (share of pairs within a prompt,
        prompts weighing alike, mean over detectors), ``n`` (prompts), ``images``, ``detectors``,
        ``different_prompts`` (the share for pairs across prompts) and ``change, change_low,
        change_high`` (the first share less the second) with ``p`` and ``q`` (Benjamini-Hochberg
        over generators). Intervals are over prompts.

    Raises:
        NotGivenError: no generator has :data:`LEAST_PROMPTS` groups of several images, and a
            detector that was trained on another model.
    """
    domains, model = Domains.from_images(images), models(images)
    flagged = scores > np.broadcast_to(np.asarray(thresholds, float), (len(sets),))[:, None]
    rows = []
    for name in domains.generators:
        mine = np.flatnonzero((domains.generator == name) & (domains.split == "test"))
        mine = mine[domains.group[mine] != ""]
        group, number, size = np.unique(
            domains.group[mine], return_inverse=True, return_counts=True
        )
        several = size > 1
        own = np.unique(model[mine])
        unseen = np.ones(len(sets), bool)
        for one in own:
            unseen &= _unseen(domains, model, str(one), sets)
        if several.sum() < LEAST_PROMPTS or not unseen.any():
            continue
        answers = flagged[np.ix_(unseen, mine)].astype(float)
        hits = np.stack([np.bincount(number, row, len(group)) for row in answers])[:, several]
        rows.append(
            {"name": name}
            | _agreement(hits, size[several], seed)
            | {"images": int(size[several].sum()), "detectors": int(unseen.sum())}
        )
    if not rows:
        raise NotGivenError(
            f"Expected a generator that has {LEAST_PROMPTS} groups of several test images and"
            " a detector trained on another model, and found none: name each image's prompt"
            " in the manifest's column 'group' to see here whether the images of one prompt"
            " get the same answer."
        )
    table = pd.DataFrame(rows)
    return table.assign(q=q_values(table["p"].to_numpy()))


def _unseen(
    domains: Domains, model: np.ndarray, name: str, sets: Sequence[TrainSet]
) -> Bool[np.ndarray, " K"]:
    """Which detectors were trained on no generator that holds images of a model."""
    own = set(domains.generator[(model == name) & (domains.labels == FAKE)].tolist())
    return np.array([not own & set(names) for names in sets])


def _agreement(
    hits: Float[np.ndarray, "K G"], size: Int[np.ndarray, " G"], seed: int
) -> dict[str, float | int]:
    """Shares of pairs with one answer within and across groups, and their difference.

    Args:
        hits: flagged images of each group. size: its images, at least two.
    """
    misses, n = size - hits, len(size)
    within = (hits * (hits - 1) + misses * (misses - 1)) / (size * (size - 1))
    rate = hits / size
    drawn = group_weights(np.arange(n), DRAWS, seed=seed).astype(float)
    weights = np.concatenate([np.ones((1, n)), drawn])
    total, squares = weights.sum(axis=1), (weights**2).sum(axis=1)
    inside = weights @ within.mean(axis=0) / total
    across = np.zeros(len(weights))
    for share in (rate, 1 - rate):  # pairs of different prompts, also where a draw repeats one
        pairs = (weights @ share.T) ** 2 - weights**2 @ (share**2).T
        with np.errstate(invalid="ignore"):  # a draw of one prompt alone has none
            across += pairs.mean(axis=1) / (total**2 - squares)
    low, high = rate_of_draws(inside[0], inside[1:], n)
    change = inside - across
    change_low, change_high = interval_of_draws(change[0], change[1:], n - 1)
    p = bootstrap_p_value(change[:1], change[1:, None], n - 1)
    return {
        "value": float(inside[0]),
        "low": float(low),
        "high": float(high),
        "n": n,
        "different_prompts": float(across[0]),
        "change": float(change[0]),
        "change_low": float(change_low),
        "change_high": float(change_high),
        "p": float(p[0]),
    }
