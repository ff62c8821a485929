"""What chance would say: directions without meaning, as many as you like, to hold a list of words
against.

Two nulls. *Permutation*: shuffle the labels of the training images and train again, a few hundred
times; the directions that come out know the data but not the classes. *Random*: directions with the
covariance of the data, for what has no labels (an image, a head's mean). The p-value of a text is
family-wise (single-step max-T: Westfall and Young 1993): the share of null directions whose nearest
text, whichever it be, is at least as near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8

from aigi_core.errors import AigiError, NotGivenError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.manifest import Domains
from aigi_core.reprs import ShortRepr
from aigi_core.statements import ALPHA, counted, part_counted

Kind = Literal["permutation", "random"]
Side = Literal["nearest", "farthest"]
SIGNS: dict[Side, int] = {"nearest": 1, "farthest": -1}
"""Sides of a list of texts -> the sign of the direction that they lie along."""
Fit = Callable[[Int8[np.ndarray, "B n"]], Float[np.ndarray, "B d"]]
"""Directions trained on B sets of labels for the same images."""
DRAWS = 300
COUNTED = 50
"""How many of the nearest rows are counted by category."""


@dataclass(frozen=True, eq=False, repr=False)
class WordNull(ShortRepr):
    """Cosines of the nearest and the farthest rows of B directions without meaning.

    Attributes:
        nearest: [B, k] cosines, descending.
        farthest: [B, k] cosines, ascending.
        counts: side -> [B, categories], rows of each category among the first :data:`COUNTED`.
    """

    kind: Kind
    nearest: Float[np.ndarray, "B k"]
    farthest: Float[np.ndarray, "B k"]
    categories: tuple[str, ...]
    counts: dict[Side, Int[np.ndarray, "B categories"]]

    @property
    def draws(self) -> int:
        return len(self.nearest)

    def p_value(self, cosine: Float[np.ndarray, "*r"], side: Side = "nearest") -> np.ndarray:
        """Family-wise p-value of each cosine: (1 + null directions whose extreme row is as extreme)
        / (1 + draws).
        """
        top = self.nearest[:, 0] if side == "nearest" else -self.farthest[:, 0]
        value = np.asarray(cosine) if side == "nearest" else -np.asarray(cosine)
        # A direction compared with itself must tie: float32 searches round in the last digits.
        as_extreme = self.draws - np.searchsorted(np.sort(top), value - 1e-6, side="left")
        p: np.ndarray = (1 + as_extreme) / (1 + self.draws)
        return p

    def threshold(self, side: Side = "nearest") -> float:
        """The cosine beyond which a text's family-wise p-value is at most .05, whatever its rank;
        infinite where there are too few draws for any.
        """
        top = np.sort(self.nearest[:, 0] if side == "nearest" else -self.farthest[:, 0])[::-1]
        allowed = int(ALPHA * (1 + self.draws) + 1e-9) - 1
        return SIGNS[side] * (float(top[allowed]) + 1e-6 if allowed >= 0 else float("inf"))

    def band(
        self, side: Side = "nearest", confidence: float = 0.95
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Bounds, rank by rank, within which this share of the null directions lies."""
        low, high = np.quantile(
            getattr(self, side), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0
        )
        return low, high


def word_null(
    lexicon: Lexicon,
    directions: Float[np.ndarray, "B d"],
    kind: Kind,
    k: int = 20,
    extent: Float[np.ndarray, " B"] | None = None,
) -> WordNull:
    """Search the lexicon with null directions, both ways.

    Args:
        extent: length of each direction over the length of the one that is held against them, where
            lengths mean something (a difference of means): cosines are multiplied by it.
    """
    scale = np.ones(len(directions)) if extent is None else np.asarray(extent)
    names = lexicon.categories
    code = pd.Index(names).get_indexer(pd.Index(lexicon.table["category"]))
    sides: dict[Side, np.ndarray] = {}
    counts: dict[Side, np.ndarray] = {}
    for side, sign in SIGNS.items():
        cosines, rows = lexicon.search(sign * directions, max(k, COUNTED))
        sides[side] = sign * cosines[:, :k].astype(np.float64) * scale[:, None]
        counts[side] = category_counts(code[rows[:, :COUNTED]], len(names))
    return WordNull(kind, sides["nearest"], sides["farthest"], names, counts)


def category_counts(
    codes: Int8[np.ndarray, "B r"], categories: int
) -> Int[np.ndarray, "B categories"]:
    """How often each category (code from 0; -1 is none) occurs in each row."""
    return (
        np.stack([(codes == code).sum(axis=1) for code in range(categories)], axis=1, dtype=int)
        if categories
        else (np.zeros((len(codes), 0), int))
    )


def permuted_labels(
    domains: Domains, rows: Int[np.ndarray, " n"], draws: int = DRAWS, seed: int = 0
) -> Int8[np.ndarray, "B n"]:
    """Shuffled labels of training images that respect pools and groups.

    Labels move within a pool only. Groups that hold both labels (a real and its translation)
    shuffle theirs within. Groups of one label exchange it as wholes: in random order they become
    fake as long as the number of fakes allows. That is an exact permutation where groups of both
    classes are of like sizes (single images, say); where fakes come in sets of one prompt and reals
    alone, it keeps the sets together, which is what matters to chance.

    Raises:
        AigiError: no two images may exchange their labels, or no draws.
    """
    if draws < 1:
        raise AigiError(f"A permutation null needs at least one draw, got {draws}.")
    rng = np.random.default_rng(seed)
    labels = domains.labels[rows]
    shuffled = np.tile(labels.astype(np.int8), (draws, 1))
    whole: dict[str, list[np.ndarray]] = {}
    movable = False
    for group in _members(domains.group_numbers(rows)):
        if labels[group].min() < labels[group].max():
            shuffled[:, group] = rng.permuted(shuffled[:, group], axis=1)
            movable = True
        else:
            whole.setdefault(str(domains.pool[rows[group[0]]]), []).append(group)
    for groups in whole.values():
        own = labels[[group[0] for group in groups]]
        if own.min() < own.max():
            fakes = int(sum(len(group) for group, label in zip(groups, own, strict=True) if label))
            _assign(shuffled, groups, fakes, rng)
            movable = True
    if not movable:
        raise AigiError(
            "The labels cannot be shuffled, because no pool holds two groups of images with"
            " different labels: use the random null, or give images smaller groups."
        )
    return shuffled


def random_members(
    domains: Domains, among: Int[np.ndarray, " n"], members: int, draws: int = DRAWS, seed: int = 0
) -> Int8[np.ndarray, "B n"]:
    """Random sets of about so many images, drawn by whole groups: 1 for a member, 0 for the rest.

    Raises:
        AigiError: no such set (none of the images, or all of them), or no draws. NotGivenError: one
            group holds all images.
    """
    if draws < 1 or not 0 < members < len(among):
        raise AigiError(
            f"A set of {part_counted(members, len(among), 'image')} cannot be drawn at"
            " random: choose fewer images, or others."
        )
    drawn = np.zeros((draws, len(among)), np.int8)
    _assign(drawn, _members(domains.group_numbers(among)), members, np.random.default_rng(seed))
    if drawn.all(axis=1).any():
        raise NotGivenError(
            f"Sets cannot be drawn at random, because all {counted(len(among), 'image')} are"
            " in one group: give the same group only to images that belong together."
        )
    return drawn


def _members(index: Int[np.ndarray, " n"]) -> list[np.ndarray]:
    """Positions of the images of each group."""
    order = np.argsort(index, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(index[order])) + 1)


def _assign(
    into: Int8[np.ndarray, "B n"], groups: list[np.ndarray], count: int, rng: np.random.Generator
) -> None:
    """Give whole groups, in random order, a 1 as long as no more than ``count`` images have one;
    the others a 0.

    Where even the first group is too large it gets its 1 all the same, so that no draw is without
    one.
    """
    sizes = np.array([len(group) for group in groups])
    order = rng.permuted(np.tile(np.arange(len(groups)), (len(into), 1)), axis=1)
    chosen = np.zeros(order.shape, bool)
    total = np.zeros(len(into), int)
    draw = np.arange(len(into))
    for at in order.T:
        fits = total + sizes[at] <= count
        chosen[draw, at] = fits
        total += np.where(fits, sizes[at], 0)
    none = total == 0
    chosen[draw[none], order[none, 0]] = True
    into[:, np.concatenate(groups)] = np.repeat(chosen, sizes, axis=1)


def permutation_directions(
    fit: Fit, domains: Domains, rows: Int[np.ndarray, " n"], draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, "B d"]:
    """Directions trained on shuffled labels."""
    return np.asarray(fit(permuted_labels(domains, rows, draws, seed)))


def random_directions(
    X: Float[np.ndarray, "n d"], draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, "B d"]:
    """Gaussian directions with the covariance of the rows of X; raises AigiError where they do not
    vary.
    """
    X = np.asarray(X, np.float64)
    centred = X - X.mean(axis=0)
    if len(X) < 2 or not (np.abs(centred) > 1e-12 * np.abs(X).max()).any():
        raise AigiError("Random directions need images that differ: choose at least two.")
    drawn: np.ndarray = (
        np.random.default_rng(seed).standard_normal((draws, len(X))) @ centred / np.sqrt(len(X) - 1)
    )
    return drawn


def mean_difference(
    X: Float[np.ndarray, "n d"], labels: Int8[np.ndarray, "B n"]
) -> Float[np.ndarray, "B d"]:
    """Mean of the fakes less mean of the reals, for B sets of labels."""
    fakes = labels.sum(axis=1, keepdims=True)
    weights = np.where(labels > 0, 1 / fakes, -1 / (labels.shape[1] - fakes))
    difference: np.ndarray = weights @ np.asarray(X, np.float64)
    return difference
