"""Images that occur twice, and where: across splits, labels, pools and generators.

Near duplicates are pairs of images whose embeddings lie closer together than different images do. What "closer than
different images do" means is measured in the collection itself (:func:`duplicate_threshold`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from aigi_core.errors import AigiError
from aigi_core.manifest import Domains
from aigi_core.resampling import wilson

BLOCK = 4096
"""Queries a search: the only thing that grows with it is a block of similarities."""
SIDES = ("split", "label", "pool", "generator")


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of images that show the same, and what set the limit.

    Attributes:
        pairs: one row a pair, most alike first: rows ``a < b``, ``similarity`` (cosine), ``exact`` (the same bytes),
            ``same_group``, and ``across_split``, ``across_label``, ``across_pool``, ``across_generator``.
        threshold: cosine from which a pair counts as a near duplicate.
        rule: where the threshold comes from, in words.
        nearest: [N] cosine of each image to its nearest other one.
        searched: neighbours looked up for each image; an image with more duplicates than that shows this many.
    """

    pairs: pd.DataFrame = field(repr=False)
    threshold: float
    rule: str
    nearest: Float[np.ndarray, " N"] = field(repr=False)
    searched: int

    def leaking_rows(self, domains: Domains, split: str = "test") -> Int[np.ndarray, " n"]:
        """Images of a split that have a duplicate in another: leave them out to see what the leak was worth."""
        across = self.pairs[self.pairs["across_split"]]
        rows = np.unique(across[["a", "b"]].to_numpy(int))
        leaking: np.ndarray = rows[domains.split[rows] == split]
        return leaking

    def summary(self, domains: Domains) -> pd.DataFrame:
        """How many pairs and images, for each kind of crossing.

        Returns:
            Columns ``crossing`` (``any``, ``exact``, ``across split``, ..., ``train or val / test``), ``pairs``,
            ``known`` (of them in one group, so kept together on purpose), ``images``, ``n`` (images in all), ``share``
            of images with ``low, high`` (Wilson).
        """
        p = self.pairs
        tests = domains.split[p[["a", "b"]].to_numpy(int)] == "test" if len(p) else np.zeros((0, 2), bool)
        kinds = {"any": np.ones(len(p), bool), "exact": p["exact"].to_numpy(bool)}
        kinds |= {f"across {side}": p[f"across_{side}"].to_numpy(bool) for side in SIDES}
        kinds["train or val / test"] = tests[:, 0] != tests[:, 1]
        rows = []
        for name, mask in kinds.items():
            images = len(np.unique(p.loc[mask, ["a", "b"]].to_numpy()))
            low, high = wilson(images, len(domains))
            rows.append(
                dict(crossing=name, pairs=int(mask.sum()), known=int((mask & p["same_group"]).sum()), images=images,
                     n=len(domains), share=images / len(domains), low=float(low), high=float(high))
            )  # fmt: skip
        return pd.DataFrame(rows)


def find_duplicates(
    embeddings: Float[np.ndarray, "N d"],
    images: pd.DataFrame,
    domains: Domains,
    *,
    threshold: float | None = None,
    neighbours: int = 10,
    alpha: float = 0.05,
) -> Duplicates:
    """All pairs of images with the same bytes, or with embeddings more alike than those of different images.

    Exact search (FAISS, inner product of unit rows), in blocks of queries.

    Args:
        images: [N] the kept rows, with ``content_hash``.
        threshold: cosine; by default that of :func:`duplicate_threshold` at ``alpha``.
        neighbours: looked up for each image.

    Raises:
        AigiError: arrays of different length, a row without direction, or fewer than 3 images.
    """
    if not len(embeddings) == len(images) == len(domains):
        raise AigiError(f"Got {len(embeddings)} embeddings, {len(images)} images and {len(domains)} rows of domains.")
    similarity, index = nearest_neighbours(embeddings, embeddings, neighbours + 1)
    itself = index == np.arange(len(index))[:, None]
    # Among identical rows the search may rank a copy above the image itself, or crowd the image out altogether.
    itself[~itself.any(axis=1), -1] = True
    k = similarity.shape[1] - 1
    similarity, index = similarity[~itself].reshape(-1, k), index[~itself].reshape(-1, k)
    rule = f"given: cosine {threshold}"
    if threshold is None:
        threshold = duplicate_threshold(similarity[:, 0], alpha)
        rule = (
            f"Weibull fit to the quartiles of {len(index):,} nearest-neighbour distances; "
            f"{alpha:g} image expected beyond the threshold if all images were different"
        )
    near = similarity >= threshold
    a, b = np.nonzero(near)[0], index[near]
    found = pd.DataFrame({"a": np.minimum(a, b), "b": np.maximum(a, b), "similarity": similarity[near]})
    exact = _same_bytes(images["content_hash"])
    cosine = (_unit(embeddings[exact[:, 0]]) * _unit(embeddings[exact[:, 1]])).sum(axis=1)
    found = pd.concat([found, pd.DataFrame({"a": exact[:, 0], "b": exact[:, 1], "similarity": cosine})])
    found = found.drop_duplicates(["a", "b"]).sort_values("similarity", ascending=False, kind="stable")
    found = found.reset_index(drop=True).astype({"a": int, "b": int, "similarity": float})
    left, right = found["a"].to_numpy(), found["b"].to_numpy()
    hashes = images["content_hash"].to_numpy()
    found["exact"] = hashes[left] == hashes[right]
    found["same_group"] = (domains.group[left] == domains.group[right]) & (domains.group[left] != "")
    for side in SIDES:
        values = domains.labels if side == "label" else getattr(domains, side)
        found[f"across_{side}"] = values[left] != values[right]
    return Duplicates(found, float(threshold), rule, similarity[:, 0], k)


def nearest_neighbours(
    queries: Float[np.ndarray, "Q d"], base: Float[np.ndarray, "N d"], k: int
) -> tuple[Float[np.ndarray, "Q k"], Int[np.ndarray, "Q k"]]:
    """Cosine and row of the k nearest base images of each query, nearest first, exactly.

    Raises:
        AigiError: fewer than k base images, values that are not finite, or a row of zeros.
    """
    import faiss  # here, because most readers of an audit need no index

    if len(base) < max(k, 2):
        raise AigiError(f"Expected at least {max(k, 2)} images to search among, got {len(base)}.")
    index = faiss.IndexFlatIP(base.shape[1])
    for start in range(0, len(base), BLOCK):
        index.add(_unit(base[start : start + BLOCK]))
    found = [index.search(_unit(queries[start : start + BLOCK]), k) for start in range(0, len(queries), BLOCK)]
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])


def duplicate_threshold(nearest: Float[np.ndarray, " N"], alpha: float = 0.05) -> float:
    """The cosine beyond which a pair is more alike than the nearest neighbours of this collection are by chance.

    The distance from an image to the nearest of many others follows a Weibull law (the smallest of many: Fisher and
    Tippett 1928), whose shape is the data's local dimension. It is fitted to the quartiles of the observed distances,
    which a quarter of duplicates cannot move, and extrapolated to where ``alpha`` of the N images is expected.
    Where images come in dense and sparse regions the fit is wider and the threshold stricter.

    Args:
        nearest: cosine of each image to its nearest other one.

    Raises:
        AigiError: fewer than 20 images (no law can be fitted), or half of the images are identical to another.
    """
    if len(nearest) < 20:
        raise AigiError(
            f"A threshold for near duplicates needs at least 20 images, got {len(nearest)}: give a threshold."
        )
    distance = np.sqrt(np.maximum(2 - 2 * np.asarray(nearest, float), 0))
    lower, median, upper = np.quantile(distance, [0.25, 0.5, 0.75])
    if median < 1e-3:
        raise AigiError("More than half of the images have an identical twin: remove the copies, or give a threshold.")
    if lower < 1e-3:  # more than a quarter of copies: the upper half is all there is to go by
        shape = (_weibull(0.75) - _weibull(0.5)) / max(np.log(upper / median), 1e-6)
    else:
        shape = (_weibull(0.75) - _weibull(0.25)) / max(np.log(upper / lower), 1e-6)
    limit = median * np.exp((_weibull(alpha / len(nearest)) - _weibull(0.5)) / shape)
    return float(1 - limit**2 / 2)


def straddling_groups(domains: Domains) -> pd.DataFrame:
    """Groups with images on more than one side of a split.

    Returns:
        One row a group: ``group, images, splits, generators, pools``; empty where every group keeps to one side.
    """
    named = domains.group != ""
    table = pd.DataFrame({"group": domains.group, "split": domains.split, "generator": domains.generator,
                          "pool": domains.pool})[named]  # fmt: skip
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


def _weibull(p: float) -> float:
    return float(np.log(-np.log1p(-p)))


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    rows = np.array(rows, np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad: Bool[np.ndarray, " n"] = ~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0)
    if bad.any():
        raise AigiError(f"{int(bad.sum())} embeddings are zero or not finite: encode those images again.")
    unit: np.ndarray = rows / norms
    return unit


def _same_bytes(hashes: pd.Series) -> Int[np.ndarray, "p 2"]:
    """Pairs of each image with the next one of the same content."""
    hashes = hashes.reset_index(drop=True)
    copies = hashes[(hashes != "") & hashes.duplicated(keep=False)]
    pairs = [(first, second) for _, rows in copies.groupby(copies).groups.items() for first, second in pairwise(rows)]
    return np.array(pairs, int).reshape(-1, 2)


def _listed(values: pd.Series) -> str:
    return ", ".join(sorted({value or "real" for value in values}))
