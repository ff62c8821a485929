"""A generator that a workspace has never seen, from a few images: how every detector does on it,
how far it lies from what is known, which known generators it is like, and how it differs in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.residual import residual_direction
from aigi_core.errors import AigiError
from aigi_core.explain.lexicon import Lexicon
from aigi_core.explain.nulls import word_null
from aigi_core.explain.words import Words, words
from aigi_core.heads import EncodedImages, blocks
from aigi_core.inspection.novelty import held_out_distances
from aigi_core.intervals import LEVEL, count_interval
from aigi_core.manifest import FAKE, REAL, Domains
from aigi_core.reprs import ShortRepr
from aigi_core.transfer.matrix import TransferMatrix, transfer_matrix
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

LEAST = 10
"""Fewest images of a new generator: below that every interval covers nearly everything."""
FAR = 0.95
"""Quantile of the held-out images' distances beyond which an image counts as far."""


@dataclass(frozen=True, eq=False, repr=False)
class NewGenerator(ShortRepr):
    """What a workspace says of a new generator.

    Attributes:
        name, pool: what it is called, and the real images that it was compared with.
        matrix: one column, every detector on its images and the pool's real test images.
        distances: [n] 1 - cosine of each of its images to the nearest image of the workspace.
        far: one row: ``share`` of its images that lie farther than 95% of the workspace's own
            held-out images do, ``low, high``, ``n``; by chance .05.
        nearest: one row a known generator: ``generator``, ``images`` whose nearest known fake is
            by it, ``share``, ``low, high`` (which hold for all rows at once, so that the largest
            may be picked out), ``n``, and ``expected``, its share of the known fakes.
    """

    name: str
    pool: str
    matrix: TransferMatrix = field(repr=False)
    distances: Float[np.ndarray, " n"] = field(repr=False)
    far: pd.Series = field(repr=False)
    nearest: pd.DataFrame = field(repr=False)

    def __len__(self) -> int:
        return len(self.distances)


def describe_generator(
    workspace: Workspace,
    images: EncodedImages,
    detectors: Sequence[Detector],
    *,
    name: str,
    pool: str,
    draws: int = 1000,
) -> NewGenerator:
    """Measure all detectors on a new generator's images, and its place among the known ones.

    Args:
        images: its images, encoded by the workspace's own encoder with its preprocessing; none of
            them may have been trained on.
        detectors: of the workspace.
        pool: whose real test images they are compared with.

    Raises:
        AigiError: fewer than :data:`LEAST` images, a name or pool that is taken or unknown.
    """
    domains = workspace.domains
    n = len(images.embeddings)
    if n < LEAST:
        raise AigiError(f"A new generator needs at least {LEAST} images, got {n}: add more.")
    if not name.strip() or name in domains.generators:
        raise AigiError(
            f"The name {name!r} is {'taken' if name.strip() else 'empty'}: give the new generator a"
            " name of its own."
        )
    if pool not in set(domains.pool):
        raise AigiError(
            f"There is no pool {pool!r}; there are {', '.join(sorted(set(domains.pool)))}."
        )
    known = score_detectors(detectors, workspace)
    scores = np.concatenate([known, score_detectors(detectors, images)], axis=1)
    sets = [detector.training_set for detector in detectors]
    matrix = transfer_matrix(
        scores,
        _with_new(domains, n, name, pool),
        sets,
        [name],
        thresholds=np.array([detector.threshold for detector in detectors]),
        draws=draws,
    )
    distances, sources = _nearest(workspace, images.embeddings)
    limit = float(np.quantile(held_out_distances(workspace), FAR))
    return NewGenerator(
        name,
        pool,
        matrix,
        distances,
        _share(int((distances > limit).sum()), n),
        _sources(domains, sources, n),
    )


def residual_words(
    workspace: Workspace,
    images: EncodedImages,
    pool: str,
    lexicon: Lexicon,
    *,
    k: int = 12,
    draws: int = 300,
    seed: int = 0,
) -> Words:
    """Nearest and farthest texts of a new generator's residual: the difference between the mean
    directions of its images and of the pool's real training images (paper, resid_g), against the
    same with shuffled labels.
    """
    domains = workspace.domains
    real = (domains.labels == REAL) & (domains.pool == pool) & (domains.split == "train")
    if not real.any():
        raise AigiError(f"The pool {pool!r} has no real training images: choose another pool.")
    X = np.concatenate([images.embeddings, workspace.embeddings[np.flatnonzero(real)]])
    X = unit_rows(X).astype(np.float64)
    y = np.repeat([FAKE, REAL], [len(images.embeddings), int(real.sum())])
    rng = np.random.default_rng(seed)
    shuffled = np.stack([residual_direction(X, rng.permutation(y)) for _ in range(draws)])
    own = residual_direction(X, y)
    extent = np.linalg.norm(shuffled, axis=1) / np.linalg.norm(own)
    null = word_null(lexicon, shuffled, "permutation", k, extent)
    return words(lexicon, own, k, null=null, name="residual")


def _with_new(domains: Domains, n: int, name: str, pool: str) -> Domains:
    """The workspace's images with n test images of a new generator after them."""

    def longer(values: np.ndarray, value: str) -> np.ndarray:
        return np.concatenate([values.astype(object), np.full(n, value, object)]).astype(str)

    return replace(
        domains,
        labels=np.concatenate([domains.labels, np.full(n, FAKE, domains.labels.dtype)]),
        generator=longer(domains.generator, name),
        pool=longer(domains.pool, pool),
        split=longer(domains.split, "test"),
        group=np.concatenate(
            [domains.group.astype(object), [f"new image {i}" for i in range(n)]]
        ).astype(str),
        family_of={**domains.family_of, name: "other"},
    )


def _nearest(
    workspace: Workspace, embeddings: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    """Distance to the nearest image, and the generator of the nearest fake."""
    domains = workspace.domains
    asked = unit_rows(embeddings)
    best = np.full(len(asked), -np.inf)
    best_fake = best.copy()
    source = np.full(len(asked), "", object)
    for block in blocks(len(domains)):
        cosines = asked @ unit_rows(workspace.embeddings[block]).T
        best = np.maximum(best, cosines.max(axis=1))
        fake = domains.labels[block] == FAKE
        if fake.any():
            of_fakes = cosines[:, fake]
            at = of_fakes.argmax(axis=1)
            value = of_fakes[np.arange(len(asked)), at]
            closer = value > best_fake
            source[closer] = domains.generator[block][fake][at[closer]]
            best_fake = np.maximum(best_fake, value)
    return 1 - best, source


def _share(hits: int, n: int, level: float = LEVEL) -> pd.Series:
    bounds = count_interval(hits, n, level)
    return pd.Series(
        {"share": hits / n, "low": float(bounds.low), "high": float(bounds.high), "n": n}
    )


def _sources(domains: Domains, sources: np.ndarray, n: int) -> pd.DataFrame:
    fakes = domains.generator[domains.labels == FAKE]
    rows = []
    at_once = 1 - (1 - LEVEL) / len(domains.generators)
    for generator in domains.generators:
        images = int((sources == generator).sum())
        row = {"generator": generator, "images": images, **_share(images, n, at_once).to_dict()}
        rows.append(row | {"expected": float((fakes == generator).mean())})
    table = pd.DataFrame(rows).astype({"n": int})
    return table.sort_values("images", ascending=False, ignore_index=True)
