"""Images in two dimensions: principal components, or t-SNE as a job, and what such a map cannot
show.

Trustworthiness (Venna and Kaski 2001) is 1 minus a penalty for points that are near each other on
the map and not in the embedding. Agreement is the share of a point's nearest points that are of its
own generator (real images count as one); shuffled labels give what chance would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from aigi_core import results
from aigi_core.errors import AigiError
from aigi_core.heads import blocks
from aigi_core.manifest import FAKE
from aigi_core.results import ResultKind
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

Method = Literal["pca", "tsne"]
TITLES: dict[Method, str] = {"pca": "Principal components (PCA)", "tsne": "t-SNE"}
KIND = ResultKind("map", "map of the images", job="map", format=1)
MEASURED = 5000
"""Images, drawn at random, on which a map of more is measured: its cost grows with their square."""
CELLED, SIDE = 20_000, 96
"""Points beyond which a map is drawn as cells, and their number along its longer axis."""
SECONDS = 2e-5
"""Seconds of a core that principal components take an image (docs/scale.md)."""
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
        measured: images on which trustworthiness and agreement were measured: all, or
            :data:`MEASURED` random ones, among which then the nearest are sought.
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
    measured: int


def image_map(
    workspace: Workspace,
    settings: MapSettings | None = None,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> ImageMap:
    """Project the normalised embeddings of all images to two dimensions.

    Args:
        tell: told how many images of how many were read, in two passes.

    Raises:
        AigiError: fewer than :data:`NEIGHBOURS` + 2 images, an unknown method, or t-SNE without
            its package.
    """
    wanted = settings or MapSettings()
    E = workspace.embeddings
    if len(E) < NEIGHBOURS + 2 or wanted.method not in get_args(Method):
        raise AigiError(
            f"A map needs at least {NEIGHBOURS + 2} images and one of the methods"
            f" {', '.join(get_args(Method))}; there are {counted(len(E), 'image')}, asked for"
            f" {wanted.method!r}."
        )
    mean, axes, explained_variance = _principal(E, lambda done: tell(done, 2 * len(E)))
    points = _projected(E, mean, axes, lambda done: tell(len(E) + done, 2 * len(E)))
    if wanted.method == "tsne":
        points = _tsne(unit_rows(np.asarray(E, np.float64)) - mean, points, wanted)
    domains = workspace.domains
    rng = np.random.default_rng(wanted.seed)
    some = np.arange(len(E))
    if len(E) > MEASURED:
        some = np.sort(rng.choice(len(E), MEASURED, replace=False))
    source = np.where(domains.labels[some] == FAKE, domains.generator[some].astype(str), "real")
    X = unit_rows(np.asarray(E[some], np.float64)) - mean
    near, far = _neighbours(points[some]), _neighbours(X)
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
        len(E),
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
    content: dict[str, Any] = {
        "measured": stored.content.get("n"),  # once all were
        **stored.content,
    }
    if names != set(content):
        raise stored.damaged(f"expected {', '.join(sorted(names))}, got {sorted(stored.content)}")
    for name in ("agreement_chance", "explained_variance"):
        content[name] = content[name] and tuple(content[name])
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
            "family": images["family"].where(pd.Series(fake, images.index), "real"),
            "split": domains.split.astype(str),
            "format": images["format"],
            "path": images["path"],
        }
    )


def cells_table(points: pd.DataFrame, by: str) -> pd.DataFrame:
    """The points counted in a grid of square cells, :data:`SIDE` along the longer axis; cells
    without images are left out.

    Args:
        points: :func:`points_table` with the column ``by``, a text or a number.

    Returns:
        One row a cell: ``cell`` (number), ``x, y`` (its middle), ``images``, ``by`` (the commonest
        text, or the mean number) and, of a text, ``share`` of the cell's images that have it.
    """
    cell = cells_of(points)
    grouped = points.assign(cell=cell).groupby("cell", sort=True)
    table = grouped[["x", "y"]].mean().assign(images=grouped.size())
    if pd.api.types.is_numeric_dtype(points[by]):
        return table.assign(**{by: grouped[by].mean()}).reset_index()
    code, names = pd.factorize(points[by])
    counts = np.zeros((len(table), len(names)), int)
    np.add.at(counts, (np.searchsorted(table.index, cell), code), 1)
    most = counts.argmax(axis=1)
    share = counts.max(axis=1) / table["images"]
    return table.assign(**{by: names[most], "share": share}).reset_index()


def cells_of(points: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """The cell of each point (see :func:`cells_table`)."""
    xy = points[["x", "y"]].to_numpy(float)
    low, reach = xy.min(axis=0), float(np.ptp(xy, axis=0).max()) or 1.0
    place = np.minimum((xy - low) / reach * SIDE, SIDE - 1).astype(int)
    cells: np.ndarray = place[:, 0] * SIDE + place[:, 1]
    return cells


def _principal(
    E: Float[np.ndarray, "N d"], tell: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Mean of the unit rows, [d, 2] axes, and their shares of variance, in blocks of rows: products
    of a block in its own precision, sums of blocks in float64."""
    mean, products = np.zeros(E.shape[1]), np.zeros((E.shape[1], E.shape[1]))
    for part in blocks(len(E)):
        X = unit_rows(_exact(E[part]))
        mean += X.sum(axis=0, dtype=np.float64)
        products += X.T @ X
        tell(part.stop)
    mean /= len(E)
    values, vectors = np.linalg.eigh(products - len(E) * np.outer(mean, mean))
    axes = vectors[:, [-1, -2]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # the same way every time
    total = max(float(values.sum()), 1e-300)
    return mean, axes, (float(values[-1] / total), float(values[-2] / total))


def _projected(
    E: np.ndarray, mean: np.ndarray, axes: np.ndarray, tell: Callable[[int], None]
) -> Float[np.ndarray, "N 2"]:
    points = np.empty((len(E), 2))
    for part in blocks(len(E)):
        X = unit_rows(_exact(E[part]))
        points[part] = X @ axes.astype(X.dtype) - mean @ axes
        tell(part.stop)
    return points


def _exact(rows: np.ndarray) -> np.ndarray:
    """As they are stored, at least in float32."""
    return np.asarray(rows, np.promote_types(rows.dtype, np.float32))


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
