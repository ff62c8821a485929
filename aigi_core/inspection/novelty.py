"""How far an image lies from anything in a workspace, and what lies nearest.

Distances are 1 - cosine of embeddings. What is far is judged by the workspace itself: held-out
(test) images, each with its distance to the nearest image outside its own group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.explain.neighbours import cosines
from aigi_core.heads import blocks
from aigi_core.intervals import count_interval
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

MOST_HELD_OUT = 2000
"""Held-out images that distances are compared with; beyond that a seeded sample."""
MOST_PAIRS, FEWEST_HELD_OUT = 400_000_000, 400
"""Pairs of these and all images, above which the sample is smaller, and what it holds at least: a
share of 400 images is known to a standard error of 2.5 points at most."""
NEIGHBOURHOOD = 50
"""Nearest images whose sources are counted."""


@dataclass(frozen=True)
class Novelty:
    """An image's distance to a workspace, beside those of the workspace's own held-out images.

    Attributes:
        distance: 1 - cosine to the nearest image.
        farther_than: share of held-out images that lie nearer to theirs; ``low`` and ``high`` its
            95% interval (Wilson).
        n: held-out images.
    """

    distance: float
    farther_than: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Nearest:
    """How near some held-out (test) images lie to the images of each source outside their own
    group.

    Attributes:
        rows: [n] of the held-out images.
        sources: generators; "" for real images.
        cosines: [S, n] of the nearest image of each source; -1 where there is none.
    """

    rows: Int[np.ndarray, " n"]
    sources: np.ndarray
    cosines: Float[np.ndarray, "S n"]

    @property
    def distances(self) -> Float[np.ndarray, " n"]:
        """To the nearest image of any source, ascending."""
        return np.sort(1 - self.cosines.max(axis=0))


def nearest_of_held_out(workspace: Workspace, most: int = MOST_HELD_OUT, seed: int = 0) -> Nearest:
    """How near test images lie to each source, of at most ``most`` of them, and of fewer where all
    their pairs with images would be more than :data:`MOST_PAIRS`.

    Raises:
        AigiError: no test images.
    """
    domains = workspace.domains
    rows = np.flatnonzero(domains.split == "test")
    if not len(rows):
        raise AigiError(
            "The workspace has no test images to compare distances with: build it with splits."
        )
    most = min(most, max(FEWEST_HELD_OUT, MOST_PAIRS // len(domains)))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    group, (source, sources) = domains.groups, domains.numbered("generator")
    asked = unit_rows(workspace.embeddings[rows])
    best = np.full((len(sources), len(rows)), -1.0)
    for block in blocks(len(domains)):
        cosine = asked @ unit_rows(workspace.embeddings[block]).T
        cosine[group[rows][:, None] == group[block]] = -1.0
        for own in range(len(sources)):
            nearest = cosine[:, source[block] == own].max(axis=1, initial=-1.0)
            best[own] = np.maximum(best[own], nearest)
    return Nearest(rows, sources, best)


def held_out_distances(
    workspace: Workspace, most: int = MOST_HELD_OUT, seed: int = 0
) -> Float[np.ndarray, " n"]:
    """Distance of test images to the nearest image outside their own group, ascending.

    Raises:
        AigiError: no test images.
    """
    return nearest_of_held_out(workspace, most, seed).distances


def novelty(
    workspace: Workspace,
    embedding: Float[np.ndarray, " d"],
    held_out: Float[np.ndarray, " n"],
    row: int | None = None,
) -> Novelty:
    """How unlike anything in the workspace an image is.

    Args:
        embedding: not normalised.
        held_out: of :func:`held_out_distances`.
        row: the image's own row, where it is one of the workspace's: it and its group do not count.
    """
    cosine = _without_own(workspace, cosines(workspace, embedding), row)
    distance = float(1 - cosine.max())
    nearer = int(np.searchsorted(held_out, distance, side="left"))
    low, high = count_interval(nearer, len(held_out))
    return Novelty(distance, nearer / len(held_out), float(low), float(high), len(held_out))


def nearest_sources(
    workspace: Workspace,
    embedding: Float[np.ndarray, " d"],
    row: int | None = None,
    k: int = NEIGHBOURHOOD,
) -> pd.DataFrame:
    """Whose images lie nearest: every generator and every pool's real images, most over-represented
    first.

    Returns:
        Columns ``source, family, nearest`` (best cosine), ``among`` (images of it among the ``k``
        nearest), ``share, low, high`` (Wilson, images taken as independent), ``expected`` (its
        share of the workspace), ``n``.
    """
    cosine = _without_own(workspace, cosines(workspace, embedding), row)
    k = min(k, int(np.isfinite(cosine).sum()))
    near = np.argsort(-cosine, kind="stable")[:k]
    domains = workspace.domains
    pools = [f"real: {pool}" for pool in domains.numbered("pool")[1]]
    family_of = domains.family_of | dict.fromkeys(pools, "real")
    rows = []
    for name, mine in domains.sources():
        among = int(mine[near].sum())
        low, high = count_interval(among, k)
        rows.append(
            {
                "source": str(name),
                "family": family_of[str(name)],
                "nearest": float(cosine[mine].max()),
                "among": among,
                "share": among / k,
                "low": float(low),
                "high": float(high),
                "expected": float(mine.mean()),
                "n": int(mine.sum()),
            }
        )
    table = pd.DataFrame(rows)
    order = (table["share"] - table["expected"]).sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def row_of(workspace: Workspace, key: str) -> int | None:
    """The row of a file that is byte for byte one of the workspace's own, by SHA-256; None where it
    is new.
    """
    rows = np.flatnonzero(workspace.images["content_hash"].to_numpy() == key)
    return int(rows[0]) if len(rows) else None


def _without_own(
    workspace: Workspace, cosine: Float[np.ndarray, " N"], row: int | None
) -> Float[np.ndarray, " N"]:
    if row is None:
        return cosine
    group = workspace.domains.groups
    own = group == group[row]
    if own.all():
        raise AigiError(
            "All images of the workspace are in the group of this image, so none is left to"
            " compare it with: add images of other groups."
        )
    return np.where(own, -np.inf, cosine)
