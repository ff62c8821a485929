"""Differences within pairs: where a fake shows what a real image of its group shows (same caption,
same scene, a reconstruction), content cancels and what is left is generation.

Fixed-effects estimate for clustered pairs: one difference a group, the mean of its fakes less the
mean of its real images; t interval over groups, sign-flip p-values, Benjamini-Hochberg over what is
compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.detectors.detector import Detector, require_direction, score_detectors
from aigi_core.errors import AigiError
from aigi_core.heads import all_heads, context_scales, contexts, head_map
from aigi_core.intervals import Groups, count_interval, mean_interval
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.significance import q_values, sign_flip
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows
from aigi_core.workspace import TextBank, Workspace

LEAST = 6
"""Fewest pairs: below that not even a difference of one sign in all of them reaches .05."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Groups that hold fakes of one generator and real images of its pools.

    Attributes:
        groups: [G] their names.
        rows: [n] rows of the workspace. pair: [n] which group each belongs to. fake: [n] its class.
    """

    generator: str
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    rows: Int[np.ndarray, " n"] = field(repr=False)
    pair: Int[np.ndarray, " n"] = field(repr=False)
    fake: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.groups)

    def differences(self, values: Float[np.ndarray, "K n"]) -> Float[np.ndarray, "K G"]:
        """Mean of a group's fakes less the mean of its real images."""
        means = []
        for of_class in (self.fake, ~self.fake):
            counts = np.bincount(self.pair[of_class], minlength=len(self))
            member = self.pair[of_class][:, None] == np.arange(len(self))
            sums = values[:, of_class] @ member
            means.append(sums / counts)
        difference: np.ndarray = means[0] - means[1]
        return difference


def find_pairs(domains: Domains, generator: str, splits: Sequence[str] = ("test",)) -> Pairs:
    """The pairs of one generator in the given splits.

    Raises:
        AigiError: unknown generator, or fewer than :data:`LEAST` pairs.
    """
    inside = np.isin(domains.split, splits) & np.isin(domains.pool, domains.pools_of(generator))
    fake = inside & (domains.generator == generator)
    real = inside & (domains.labels == REAL)
    shared = np.intersect1d(domains.group[fake], domains.group[real])
    if len(shared) < LEAST:
        raise AigiError(
            f"{generator} has {counted(len(shared), 'pair')} with real images of its own group in"
            " the split"
            f" {' + '.join(splits)}, at least {LEAST} are needed: name pairs in a manifest's column"
            " 'group' (or 'pair')."
        )
    rows = np.flatnonzero((fake | real) & np.isin(domains.group, shared))
    pair = np.searchsorted(shared, domains.group[rows])
    return Pairs(
        generator,
        tuple(splits),
        tuple(shared.tolist()),
        rows,
        pair,
        domains.labels[rows] == FAKE,
    )


def generators_with_pairs(domains: Domains, splits: Sequence[str] = ("test",)) -> tuple[str, ...]:
    """Generators that :func:`find_pairs` accepts."""
    paired = []
    for name in domains.generators:
        try:
            find_pairs(domains, name, splits)
        except AigiError:
            continue
        paired.append(name)
    return tuple(paired)


def paired_table(
    pairs: Pairs, names: Sequence[str], values: Float[np.ndarray, "K n"]
) -> pd.DataFrame:
    """Differences within pairs of several values of the same images.

    Args:
        names: [K] what the values are. values: [K, n] of ``pairs.rows``.

    Returns:
        One row a value: ``name``, ``difference`` (mean over pairs), ``low, high`` (95%, t over
        pairs), ``n`` (pairs), ``p``, ``q`` (Benjamini-Hochberg over the rows), ``share`` of pairs
        in which the fake's value is higher (ties count half) with ``share_low, share_high``,
        ``unpaired`` (difference of all these fakes and real images, one image one vote).
    """
    differences = pairs.differences(np.asarray(values, float))
    n = len(pairs)
    mean = differences.mean(axis=1)
    low, high = mean_interval(differences)
    p = sign_flip(differences / n, Groups.of(np.arange(n)), mean)
    higher = (differences > 0).sum(axis=1) + 0.5 * (differences == 0).sum(axis=1)
    share = [count_interval(hits, n) for hits in higher]
    return pd.DataFrame(
        {
            "name": list(names),
            "difference": mean,
            "low": low,
            "high": high,
            "n": n,
            "p": p,
            "q": q_values(p),
            "share": higher / n,
            "share_low": [float(bounds.low) for bounds in share],
            "share_high": [float(bounds.high) for bounds in share],
            "unpaired": values[:, pairs.fake].mean(axis=1) - values[:, ~pairs.fake].mean(axis=1),
        }
    )


def paired_scores(
    workspace: Workspace, pairs: Pairs, detectors: Sequence[Detector]
) -> pd.DataFrame:
    """Differences within pairs of detectors' log-odds (:func:`paired_table`)."""
    names = [detector.name for detector in detectors]
    return paired_table(pairs, names, score_detectors(detectors, workspace, pairs.rows))


def paired_heads(workspace: Workspace, pairs: Pairs, detector: Detector) -> pd.DataFrame:
    """Differences within pairs of what each attention head adds to a detector's log-odds; further
    columns ``layer`` and ``head``.

    Raises:
        NotGivenError: the encoder has no heads that add up.
    """
    weights = np.asarray(require_direction(detector).joint_weights(workspace)[0], float)
    scale = context_scales(workspace, pairs.rows)
    heads = all_heads(workspace)
    values = np.empty((len(heads), len(pairs.rows)))
    for k, head in enumerate(heads):
        direction = head_map(workspace, head) @ weights
        for block, context in contexts(workspace, head, pairs.rows, scale):
            values[k, block] = context @ direction
    table = paired_table(pairs, [f"head {layer}.{index}" for layer, index in heads], values)
    return table.assign(layer=[h[0] for h in heads], head=[h[1] for h in heads])


def paired_words(workspace: Workspace, pairs: Pairs, bank: TextBank) -> pd.DataFrame:
    """Differences within pairs of the cosine between image and text (:func:`paired_table`)."""
    images = unit_rows(np.asarray(workspace.embeddings[pairs.rows], float))
    texts = unit_rows(np.asarray(bank.embeddings, float))
    return paired_table(pairs, bank.table["text"].tolist(), texts @ images.T)
