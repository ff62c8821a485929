"""A tree of generators: which are alike, and how surely.

Two distances. *Residuals*: 1 - cosine of the generators' residual directions (Norm(mean of fakes)
- Norm(mean of real images of their own pools), Gaintseva et al. 2024). *Confusions*: 1 - the share
of two generators' test images that are named as the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.attribution.named import Named
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, Domains
from aigi_core.reprs import ShortRepr
from aigi_core.resampling import group_weights
from aigi_core.vectors import unit_rows

PERMUTATIONS = 999


@dataclass(frozen=True, eq=False, repr=False)
class GeneratorTree(ShortRepr):
    """Average linkage of generators.

    Attributes:
        names: [G] generators.
        distances: [G, G].
        linkage: [G-1, 4] as SciPy has it: the two clusters joined, their distance, their size.
        cophenetic: correlation of the distances with those in the tree (Sokal and Rohlf 1962).
        chance: the same after the distances were shuffled: mean, and 95th percentile.
        p_value: share of shuffled distances whose tree fits as well.
        stability: [G-1] share of bootstrap draws of images whose tree joins the same generators at
            some place (Felsenstein 1985).
        draws: how many draws, and how many times distances were shuffled.
    """

    names: tuple[str, ...]
    distances: Float[np.ndarray, "G G"]
    linkage: Float[np.ndarray, "G-1 4"]
    cophenetic: float
    chance: tuple[float, float]
    p_value: float
    stability: Float[np.ndarray, " G-1"]
    draws: int

    @property
    def clades(self) -> list[frozenset[str]]:
        """The generators below each join, in the order of ``linkage``."""
        return [frozenset(self.names[i] for i in clade) for clade in _clades(self.linkage)]

    def table(self) -> pd.DataFrame:
        """One row a join, the closest first: ``generators, distance, stability``."""
        order = {name: i for i, name in enumerate(self.names)}
        return pd.DataFrame(
            {
                "generators": [", ".join(sorted(c, key=order.__getitem__)) for c in self.clades],
                "size": self.linkage[:, 3].astype(int),
                "distance": self.linkage[:, 2],
                "stability": self.stability,
            }
        )

    def nearer_within(self, kind: Sequence[str], seed: int = 0) -> tuple[float, float]:
        """By how much two generators of one kind (family, pool) lie nearer than two of different
        kinds, and its one-sided p-value when kinds are shuffled; NaN where all are of one kind, or
        none shares its kind.
        """
        names = np.asarray(kind)
        first, second = np.triu_indices(len(names), 1)
        rng = np.random.default_rng(seed)
        labels = np.stack([names, *(rng.permutation(names) for _ in range(PERMUTATIONS))])
        same = labels[:, first] == labels[:, second]
        pairs = int(same[0].sum())  # as many however kinds are shuffled
        if pairs in (0, len(first)):
            return float("nan"), float("nan")
        distances = self.distances[first, second]
        within = same @ distances
        gaps = (distances.sum() - within) / (len(first) - pairs) - within / pairs
        return float(gaps[0]), float((gaps >= gaps[0] - 1e-12).mean())


def residual_tree(
    features: Float[np.ndarray, "N d"],
    domains: Domains,
    generators: Sequence[str],
    draws: int = 1000,
    seed: int = 0,
) -> GeneratorTree:
    """The tree of residual directions, of all images; draws are of groups, real images shared by
    several generators being drawn once for all of them.
    """
    group = domains.groups
    stratum = np.char.add(
        np.char.add(domains.pool.astype(str), "\n"), domains.generator.astype(str)
    )
    members = [
        tuple(
            (domains.labels == label)
            & np.isin(domains.pool, domains.pools_of(name))
            & ((domains.generator == name) | (label != FAKE))
            for label in (FAKE, 1 - FAKE)
        )
        for name in generators
    ]
    weights = group_weights(group, draws, strata=stratum, seed=seed).astype(np.float64)

    def distances(counts: Float[np.ndarray, "B N"]) -> Float[np.ndarray, "B G G"]:
        means: dict[bytes, np.ndarray] = {}
        residuals = []
        for sides in members:
            for mine in sides:  # real images of a pool serve many generators
                if mine.tobytes() not in means:
                    mean = counts[:, mine] @ features[mine]
                    means[mine.tobytes()] = unit_rows(mean, keep_zeros=True)
            fake, real = (means[mine.tobytes()] for mine in sides)
            residuals.append(unit_rows(fake - real, keep_zeros=True))
        unit = np.stack(residuals, axis=1)
        distance: np.ndarray = 1 - unit @ unit.transpose(0, 2, 1)
        return distance

    return _tree(generators, distances(np.ones((1, len(domains))))[0], distances(weights), seed)


def confusion_tree(named: Named, draws: int = 1000, seed: int = 0) -> GeneratorTree:
    """The tree of confusions among generators; draws are of groups of test images."""
    size = len(named.names)
    hit = np.zeros((len(named.rows), size * size))
    hit[np.arange(len(named.rows)), named.truth * size + named.named] = 1
    of = np.eye(size)[named.truth]

    def distances(counts: Float[np.ndarray, "B n"]) -> Float[np.ndarray, "B G G"]:
        shares = (counts @ hit).reshape(-1, size, size)
        shares /= np.maximum(counts @ of, 1)[:, :, None]
        both = (shares + shares.transpose(0, 2, 1)) / 2
        distance: np.ndarray = 1 - both[:, 1:, 1:]
        return distance

    weights = group_weights(named.group, draws, strata=named.truth, seed=seed).astype(np.float64)
    whole = distances(np.ones((1, len(named.rows))))[0]
    return _tree(named.names[1:], whole, distances(weights), seed)


def _tree(
    names: Sequence[str],
    distances: Float[np.ndarray, "G G"],
    drawn: Float[np.ndarray, "B G G"],
    seed: int,
) -> GeneratorTree:
    from scipy.cluster.hierarchy import cophenet, linkage
    from scipy.spatial.distance import squareform

    if len(names) < 3:
        raise AigiError(
            f"A tree needs at least three generators, there are {len(names)}: add images of others."
        )
    own = distances.copy()
    np.fill_diagonal(own, 0)
    flat = squareform(own, checks=False)
    made = linkage(flat, "average")
    seen = dict.fromkeys(_clades(made), 0)
    for each in drawn:
        np.fill_diagonal(each, 0)
        for clade in _clades(linkage(squareform(each, checks=False), "average")):
            if clade in seen:
                seen[clade] += 1
    fit = float(cophenet(made, flat)[0])
    rng = np.random.default_rng(seed)
    shuffled = []
    for _ in range(len(drawn)):
        other = rng.permutation(flat)
        shuffled.append(float(cophenet(linkage(other, "average"), other)[0]))
    return GeneratorTree(
        tuple(names),
        own,
        made,
        fit,
        (float(np.mean(shuffled)), float(np.quantile(shuffled, 0.95))),
        float((1 + (np.array(shuffled) >= fit - 1e-12).sum()) / (1 + len(shuffled))),
        np.array([seen[clade] / max(len(drawn), 1) for clade in _clades(made)]),
        len(drawn),
    )


def _clades(linkage: Float[np.ndarray, "G-1 4"]) -> list[frozenset[int]]:
    size = len(linkage) + 1
    below = [frozenset([i]) for i in range(size)]
    for left, right in linkage[:, :2].astype(int):
        below.append(below[left] | below[right])
    return below[size:]
