"""Images in two dimensions: principal components, or t-SNE as a job, and what such a map cannot
show.

Trustworthiness (Venna and Kaski 2001) is 1 minus a penalty for points that are near each other on
the map and not in the embedding. Agreement is the share of a point's nearest points that are of its
own generator (real images count as one); shuffled labels give what chance would.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core import results
from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE
from aigi_core.results import ResultKind
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

Method = Literal["pca", "tsne"]
TITLES: dict[Method, str] = {"pca": "Principal components (PCA)", "tsne": "t-SNE"}
KIND = ResultKind("map", "map of the images", job="map", format=1)
NEIGHBOURS = 12
DRAWS = 200
_BLOCK = 512


@dataclass(frozen=True)
class MapSettings:
    """How a map is made."""

    method: Method = "tsne"
    perplexity: float = 30.0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class ImageMap:
    """A map of all images of a workspace.

    Attributes:
        points: [N, 2].
        trustworthiness: of the map; 1 is best, random points give about .5.
        shuffled: trustworthiness of a map of the same size whose points are in random order.
        agreement: mean share of the nearest points of the same source, on the map.
        agreement_embedding: the same in the embedding itself.
        agreement_chance: mean, low and high end (95%) of that share on the map with shuffled
            sources.
        explained_variance: share of variance of each of the two axes; None for what is no linear
            map.
        n: images.
    """

    method: Method
    points: Float[np.ndarray, "N 2"] = field(repr=False)
    trustworthiness: float
    shuffled: float
    agreement: float
    agreement_embedding: float
    agreement_chance: tuple[float, float, float]
    explained_variance: tuple[float, float] | None
    n: int


def image_map(workspace: Workspace, settings: MapSettings | None = None) -> ImageMap:
    """Project the normalised embeddings of all images to two dimensions.

    Raises:
        AigiError: fewer than :data:`NEIGHBOURS` + 2 images, an unknown method, or t-SNE without
            its package.
    """
    wanted = settings or MapSettings()
    X = np.asarray(workspace.embeddings, np.float64)
    if len(X) < NEIGHBOURS + 2 or wanted.method not in get_args(Method):
        raise AigiError(
            f"A map needs at least {NEIGHBOURS + 2} images and one of the methods"
            f" {', '.join(get_args(Method))}; there are {counted(len(X), 'image')}, asked for"
            f" {wanted.method!r}."
        )
    X = unit_rows(X)
    X -= X.mean(axis=0)
    axes, explained_variance = _principal(X)
    points = axes if wanted.method == "pca" else _tsne(X, axes, wanted)
    domains = workspace.domains
    source = np.where(domains.labels == FAKE, domains.generator.astype(str), "real")
    near, far = _neighbours(points), _neighbours(X)
    rng = np.random.default_rng(wanted.seed)
    drawn = [_agreement(near, rng.permutation(source)) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return ImageMap(
        wanted.method,
        points.astype(np.float32),
        trustworthiness(X, near),
        trustworthiness(X, near[rng.permutation(len(X))]),
        _agreement(near, source),
        _agreement(far, source),
        (float(np.mean(drawn)), float(low), float(high)),
        explained_variance if wanted.method == "pca" else None,
        len(X),
    )


def trustworthiness(X: Float[np.ndarray, "N d"], near: Int[np.ndarray, "N k"]) -> float:
    """How far the nearest points of a map (``near``, rows of X) are near in X, too.

    Equal to ``sklearn.manifold.trustworthiness``, in blocks of rows.
    """
    n, k = near.shape
    penalty = 0
    squares = (X**2).sum(axis=1)
    for start in range(0, n, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, n))
        distance = squares[rows, None] + squares[None] - 2 * X[rows] @ X.T
        distance[np.arange(len(rows)), rows] = -np.inf
        own = np.take_along_axis(distance, near[rows], axis=1)
        for column in own.T:
            rank = (distance < column[:, None]).sum(axis=1)
            penalty += int(np.maximum(rank - k, 0).sum())
    return float(1 - penalty * 2 / (n * k * (2 * n - 3 * k - 1)))


def save_map(workspace: Workspace, made: ImageMap, settings: MapSettings, about: Any) -> None:
    """Publish a map among the workspace's results."""
    content = {name: value for name, value in asdict(made).items() if name != "points"}
    results.publish(
        workspace,
        KIND,
        asdict(settings),
        {"points.npz": {"points": made.points}},
        content=content,
        about=about,
    )


def load_map(workspace: Workspace, settings: MapSettings | None = None) -> ImageMap:
    """Read a map.

    Raises:
        WorkspaceError: not computed, outdated or damaged; says what to run.
    """
    stored = results.load(workspace, KIND, asdict(settings or MapSettings()))
    points = stored.arrays("points.npz")["points"]
    names = {one.name for one in fields(ImageMap)} - {"points"}
    if names != set(stored.content):
        raise stored.damaged(f"expected {', '.join(sorted(names))}, got {sorted(stored.content)}")
    content = stored.content | {"agreement_chance": tuple(stored.content["agreement_chance"])}
    return ImageMap(points=points, **content)


def points_table(workspace: Workspace, made: ImageMap) -> pd.DataFrame:
    """One row an image: ``row, x, y, source, family, split, format, path``."""
    images, domains = workspace.images, workspace.domains
    fake = domains.labels == FAKE
    return pd.DataFrame(
        {
            "row": np.arange(len(images)),
            "x": made.points[:, 0],
            "y": made.points[:, 1],
            "source": np.where(fake, domains.generator.astype(str), "real"),
            "family": images["family"].where(pd.Series(fake, images.index), "real").to_numpy(str),
            "split": domains.split.astype(str),
            "format": images["format"].to_numpy(str),
            "path": images["path"].to_numpy(str),
        }
    )


def _principal(X: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    values, vectors = np.linalg.eigh(X.T @ X)
    vectors = vectors[:, [-1, -2]]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), [0, 1]])  # the same way every time
    total = max(float(values.sum()), 1e-300)
    return X @ vectors, (float(values[-1] / total), float(values[-2] / total))


def _tsne(X: np.ndarray, start: np.ndarray, settings: MapSettings) -> np.ndarray:
    try:
        from openTSNE import TSNE  # an extra: only the job needs it
    except ImportError as error:
        raise AigiError(
            "t-SNE needs the package of requirements-map.txt: run 'pip install -r"
            " requirements-map.txt', or use the principal components."
        ) from error
    perplexity = min(settings.perplexity, (len(X) - 1) / 3)
    scaled = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    made = TSNE(
        perplexity=perplexity, initialization=scaled, random_state=settings.seed, n_jobs=1
    ).fit(X)
    return np.asarray(made)


def _neighbours(points: np.ndarray, k: int = NEIGHBOURS) -> Int[np.ndarray, "N k"]:
    squares = (points**2).sum(axis=1)
    nearest = np.empty((len(points), k), int)
    for start in range(0, len(points), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(points)))
        distance = squares[rows, None] + squares[None] - 2 * points[rows] @ points.T
        distance[np.arange(len(rows)), rows] = np.inf
        nearest[rows] = np.argpartition(distance, k, axis=1)[:, :k]
    return nearest


def _agreement(near: Int[np.ndarray, "N k"], source: np.ndarray) -> float:
    return float((source[near] == source[:, None]).mean())
