"""The task "real, or made by which generator": sources, and the images of each in every split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, SPLITS, Domains
from aigi_core.reprs import ShortRepr

REAL_SOURCE = "real"
"""All real images are one source; a generator of this name is shown as ``real (generator)``."""


@dataclass(frozen=True, eq=False, repr=False)
class SourceTask(ShortRepr):
    """Sources and who belongs to them.

    Attributes:
        names: the real images first, then generators in the workspace's order.
        source: [N] number of each image's source; -1 for images of generators that are left out.
        split, pool: [N] strings.
        group: [N] numbers.
        left_out: generator -> why it is no source.
    """

    names: tuple[str, ...]
    source: Int[np.ndarray, " N"]
    split: np.ndarray
    pool: np.ndarray
    group: Int[np.ndarray, " N"]
    left_out: dict[str, str]

    @classmethod
    def of(cls, domains: Domains, without: Iterable[str] = ()) -> SourceTask:
        """The task of a workspace.

        Args:
            without: generators that are no source.

        Raises:
            AigiError: fewer than two sources have images in every split.
        """
        given = set(without)
        left_out = {}
        for name in domains.generators:
            mine = domains.split[domains.generator == name]
            empty = [split for split in SPLITS if not (mine == split).any()]
            if name not in given and empty:
                left_out[name] = f"no image in the split {', '.join(empty)}"
        kept = [g for g in domains.generators if g not in given and g not in left_out]
        real = domains.labels != FAKE
        lacking = [s for s in SPLITS if not (real & (domains.split == s)).any()]
        if not kept or lacking:
            what = (
                f"real images in the split {', '.join(lacking)}"
                if lacking
                else "a generator with images in every split"
            )
            raise AigiError(f"Naming sources needs {what}: add images, or split them again.")
        source = np.full(len(domains), -1)
        source[real] = 0
        for number, name in enumerate(kept, 1):
            source[domains.generator == name] = number
        names = [REAL_SOURCE, *(f"{g} (generator)" if g == REAL_SOURCE else g for g in kept)]
        group = domains.groups
        return cls(tuple(names), source, domains.split, domains.pool, group, left_out)

    def rows(self, split: str) -> Int[np.ndarray, " n"]:
        """Rows of all sources' images in a split."""
        return np.flatnonzero((self.source >= 0) & (self.split == split))

    def rivals(self, rows: Int[np.ndarray, " n"]) -> Bool[np.ndarray, "n S"]:
        """Which sources have training images in the pool of each of these images: those that its
        content does not rule out.
        """
        train = self.rows("train")
        pools = {
            pool: np.isin(np.arange(len(self.names)), self.source[train[self.pool[train] == pool]])
            for pool in np.unique(self.pool[rows])
        }
        return np.stack([pools[pool] for pool in self.pool[rows]])
