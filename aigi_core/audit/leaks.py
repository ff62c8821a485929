"""Images that occur twice, and where: across splits, labels, pools and generators.

Near duplicates are pairs of images that lie far closer together than their neighbourhood is dense:
satellite pictures of one city are all alike without being copies. How much closer chance would
bring the nearest of different images is worked out from the collection itself
(:func:`duplicate_limit`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.intervals import count_interval
from aigi_core.manifest import Domains
from aigi_core.nearest import nearest_neighbours
from aigi_core.reprs import ShortRepr
from aigi_core.statements import ALPHA, counted
from aigi_core.vectors import unit_rows

IDENTICAL = 2e-3
"""Distance below which unit rows in float32 count as the same."""
SMALLEST_SET = 20
CROSSED = ("split", "label", "pool", "generator")


@dataclass(frozen=True, eq=False, repr=False)
class Duplicates(ShortRepr):
    """Pairs of images that show the same, and what set the limit.

    Attributes:
        pairs: one row a pair, most alike first: rows ``a < b``, ``similarity`` (cosine), ``exact``
            (the same bytes), ``closeness`` (their distance over the local one: the distance to the
            tenth neighbour), ``same_group``, and ``across_split``, ``across_label``,
            ``across_pool``, ``across_generator``.
        rule: what made a pair a near duplicate, in words.
        nearest: [N] cosine of each image to its nearest other one.
        searched: neighbours looked up for each image; an image with more duplicates than that shows
            this many.
    """

    pairs: pd.DataFrame = field(repr=False)
    rule: str
    nearest: Float[np.ndarray, " N"] = field(repr=False)
    searched: int

    def summary(self, domains: Domains) -> pd.DataFrame:
        """How many pairs and images, for each kind of crossing.

        Returns:
            Columns ``crossing`` (``any``, ``exact``, ``across split``, ..., ``train or val /
            test``), ``pairs``, ``known`` (of them in one group, so kept together on purpose),
            ``images``, ``n`` (images in all), ``share`` of images with ``low, high`` (Wilson).
        """
        p = self.pairs
        tests = (
            domains.split[p[["a", "b"]].to_numpy(int)] == "test"
            if len(p)
            else np.zeros((0, 2), bool)
        )
        kinds = {"any": np.ones(len(p), bool), "exact": p["exact"].to_numpy(bool)}
        kinds |= {f"across {side}": p[f"across_{side}"].to_numpy(bool) for side in CROSSED}
        kinds["train or val / test"] = tests[:, 0] != tests[:, 1]
        rows = []
        for name, mask in kinds.items():
            images = len(np.unique(p.loc[mask, ["a", "b"]].to_numpy()))
            low, high = count_interval(images, len(domains))
            rows.append(
                dict(
                    crossing=name,
                    pairs=int(mask.sum()),
                    known=int((mask & p["same_group"]).sum()),
                    images=images,
                    n=len(domains),
                    share=images / len(domains),
                    low=float(low),
                    high=float(high),
                )
            )
        return pd.DataFrame(rows)


def find_duplicates(
    embeddings: Float[np.ndarray, "N d"],
    images: pd.DataFrame,
    domains: Domains,
    *,
    threshold: float | None = None,
    neighbours: int = 10,
    alpha: float = ALPHA,
) -> Duplicates:
    """All pairs of images with the same bytes, or with embeddings more alike than those of
    different images.

    The search is exact up to a size (:func:`aigi_core.nearest.nearest_neighbours`); beyond, the
    rule says which share of the neighbours it found.

    Args:
        images: [N] the kept rows, with ``content_hash``.
        threshold: a cosine from which pairs count; by default the rule of :func:`duplicate_limit`
            for each generator's fakes and each pool's real images, or embeddings that are the same.
        neighbours: looked up for each image, and what its local distance is measured by. A burst of
            more copies than that, none of them identical, looks like a dense neighbourhood: raise
            it, or give a threshold.

    Raises:
        AigiError: arrays of different length, a row without direction, or fewer images than
            neighbours.
    """
    if not len(embeddings) == len(images) == len(domains):
        raise AigiError(
            f"Got {counted(len(embeddings), 'embedding')}, {counted(len(images), 'image')} and"
            f" {counted(len(domains), 'row')} of"
            " domains."
        )
    similarity, index, how = nearest_neighbours(embeddings, embeddings, neighbours + 1)
    itself = index == np.arange(len(index))[:, None]
    # Among identical rows the search may rank a copy above the image itself, or crowd the image out
    # altogether.
    itself[~itself.any(axis=1), -1] = True
    similarity, index = (
        similarity[~itself].reshape(-1, neighbours),
        index[~itself].reshape(-1, neighbours),
    )
    distance = _distance(similarity)
    local = np.maximum(distance[:, -1], IDENTICAL)
    closeness = distance / np.minimum(local[:, None], local[index])
    if threshold is None:
        limits = _limits(distance[:, 0] / local, domains, neighbours, alpha)
        near = (closeness <= np.minimum(limits[:, None], limits[index])) | (distance < IDENTICAL)
        rule = (
            f"closer than {limits.min():.2f} to {limits.max():.2f} (by set of images) of the"
            f" distance to the {neighbours}th neighbour; by chance {alpha:g} of"
            f" {counted(len(index), 'image')} would be as close"
        )
    else:
        near, rule = similarity >= threshold, f"cosine of at least {threshold:g}, as given"
    rule += f"; {how}" if how else ""
    a, b = np.nonzero(near)[0], index[near]
    pairs = pd.DataFrame(
        {"a": np.minimum(a, b), "b": np.maximum(a, b), "similarity": similarity[near]}
    )
    exact = _same_bytes(images["content_hash"])
    first, second = (unit_rows(np.asarray(embeddings[side], np.float32)) for side in exact.T)
    cosine = (first * second).sum(axis=1)
    pairs = pd.concat(
        [pairs, pd.DataFrame({"a": exact[:, 0], "b": exact[:, 1], "similarity": cosine})]
    )
    pairs = pairs.drop_duplicates(["a", "b"]).sort_values(
        "similarity", ascending=False, kind="stable"
    )
    pairs = pairs.reset_index(drop=True).astype({"a": int, "b": int, "similarity": float})
    left, right = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    pairs["closeness"] = _distance(pairs["similarity"].to_numpy()) / np.minimum(
        local[left], local[right]
    )
    hashes = images["content_hash"].to_numpy()
    pairs["exact"] = hashes[left] == hashes[right]
    pairs["same_group"] = (domains.group[left] == domains.group[right]) & (
        domains.group[left] != ""
    )
    for side in CROSSED:
        values = domains.labels if side == "label" else getattr(domains, side)
        pairs[f"across_{side}"] = values[left] != values[right]
    return Duplicates(pairs, rule, similarity[:, 0], neighbours)


def duplicate_limit(closeness: Float[np.ndarray, " n"], k: int, expected: float) -> float:
    """How close, relative to its k-th neighbour, the nearest of different images comes by chance.

    Where images lie evenly in a small neighbourhood of m dimensions, the share of its volume within
    the nearest neighbour's distance, closeness ** m, follows Beta(1, k - 1): the smallest of k - 1
    uniform numbers. The dimension is read off the observed closeness (the smaller of those found at
    its 35th and 50th percentile: fewer dimensions make a stricter limit), which a third of copies
    cannot reach; the law then gives the closeness wanted.

    Args:
        closeness: each image's distance to its nearest neighbour over that to its k-th.
        expected: share of images that may undercut the limit by chance.

    Raises:
        AigiError: fewer than 20 images, or half of them identical to another.
    """
    if len(closeness) < SMALLEST_SET:
        raise AigiError(
            f"A limit for near duplicates needs at least {SMALLEST_SET} images, got"
            f" {len(closeness)}: give a threshold."
        )
    levels = np.array([0.35, 0.5])
    observed = np.minimum(np.quantile(closeness, levels), 0.999)
    if observed[1] < 1e-3:
        raise AigiError(
            "More than half of the images have an identical copy: remove the copies, or give"
            " a threshold."
        )
    usable = observed >= 1e-3
    volume = -np.expm1(np.log1p(-levels[usable]) / (k - 1))
    dimension = float((np.log(volume) / np.log(observed[usable])).min())
    smallest = -np.expm1(np.log1p(-expected) / (k - 1))
    return float(smallest ** (1 / dimension))


def _limits(
    closeness: Float[np.ndarray, " N"], domains: Domains, k: int, alpha: float
) -> Float[np.ndarray, " N"]:
    """Each image's limit, from the set it belongs to: a generator's fakes or a pool's real
    images.
    """
    share = alpha / len(closeness)
    everywhere = duplicate_limit(closeness, k, share)
    limits = np.full(len(closeness), everywhere)
    sets = np.where(domains.generator == "", domains.pool, np.char.add("\0", domains.generator))
    for name in np.unique(sets):
        mine = sets == name
        if mine.sum() >= SMALLEST_SET and np.quantile(closeness[mine], 0.5) >= 1e-3:
            # No set is taken for less than half as many dimensions as all images: it would be full
            # of copies.
            limits[mine] = max(duplicate_limit(closeness[mine], k, share), everywhere**2)
    return limits


def straddling_groups(domains: Domains) -> pd.DataFrame:
    """Groups with images on more than one side of a split.

    Returns:
        One row a group: ``group, images, splits, generators, pools``; empty where every group keeps
            to one side.
    """
    named = domains.group != ""
    table = pd.DataFrame(
        {
            "group": domains.group,
            "split": domains.split,
            "generator": domains.generator,
            "pool": domains.pool,
        }
    )[named]
    both = table.groupby("group")["split"].transform("nunique") > 1
    joined = table[both].groupby("group", sort=True)
    if not both.any():
        return pd.DataFrame(columns=["group", "images", "splits", "generators", "pools"])
    return pd.DataFrame(
        {
            "images": joined.size(),
            "splits": joined["split"].agg(_listed),
            "generators": joined["generator"].agg(_listed),
            "pools": joined["pool"].agg(_listed),
        }
    ).reset_index()


def _distance(cosine: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    distance: np.ndarray = np.sqrt(np.maximum(2 - 2 * np.asarray(cosine, float), 0))
    return distance


def _same_bytes(hashes: pd.Series) -> Int[np.ndarray, "p 2"]:
    """Pairs of each image with the next one of the same content."""
    hashes = hashes.reset_index(drop=True)
    copies = hashes[(hashes != "") & hashes.duplicated(keep=False)]
    pairs = [
        (first, second)
        for _, rows in copies.groupby(copies).groups.items()
        for first, second in pairwise(rows)
    ]
    return np.array(pairs, int).reshape(-1, 2)


def _listed(values: pd.Series) -> str:
    return ", ".join(sorted({value or "real" for value in values}))
