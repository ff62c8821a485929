"""Marks that every image of a generator carries at the same place: a colour bar, a logo, a frame.

Where images carry the same mark, their pixels vary far less from image to image than pixels
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8

from aigi_core.errors import AigiError
from aigi_core.manifest import REAL, Domains
from aigi_core.significance import holm
from aigi_core.statements import counted

SMALLEST = 8
NULL_IMAGES = 64
"""Images a draw of the null: more would cost time and change little."""
AT_A_TIME = 2**26
"""Values of pixels that are sorted at once."""


@dataclass(frozen=True)
class Overlay:
    """The place where a generator's images vary least.

    Attributes:
        ratio: spread there over the median spread of the image; 1 is as elsewhere, 0 the same in
            every image. left, top, right, bottom: the place, as fractions of width and height.
        colour: median colour at the point that varies least, as ``#rrggbb``.
        p_value: of equally many real images to show as low a ratio anywhere.
    """

    generator: str
    ratio: float
    left: float
    top: float
    right: float
    bottom: float
    colour: str
    p_value: float
    n_fake: int
    n_real: int


def find_overlays(
    pixels: UInt8[np.ndarray, "N s s 3"],
    domains: Domains,
    *,
    draws: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """Look for a common mark in each generator's images.

    Spread is that of a pixel's value over images, robust to a minority without the mark (the
    interquartile range), averaged over colours. The null draws real images of the same pools, so
    that frames which real images have too do not count; it draws at most as many, and fewer images
    vary less by chance, so p-values err on the safe side.

    Args:
        pixels: every image squeezed to the same small square, so that its corners stay corners.

    Returns:
        One row a generator: the fields of :class:`Overlay` and ``adjusted`` (Holm over generators).
    """
    if pixels.ndim != 4 or len(pixels) != len(domains):
        raise AigiError(
            f"Expected one small square a row for {counted(len(domains), 'image')}, got shape"
            f" {pixels.shape}."
        )
    rng = np.random.default_rng(seed)
    nulls: dict[tuple[tuple[str, ...], int], np.ndarray] = {}
    marks = []
    for name in domains.generators:
        pools = domains.pools_of(name)
        fakes = np.flatnonzero(domains.generator == name)
        reals = np.flatnonzero((domains.labels == REAL) & np.isin(domains.pool, pools))
        size = min(len(fakes), len(reals) // 2, NULL_IMAGES)
        if size < SMALLEST:
            raise AigiError(
                f"A common mark of {name!r} needs at least {SMALLEST} fakes and {2 * SMALLEST} real"
                " images in its pools."
            )
        if (pools, size) not in nulls:
            samples = (rng.choice(reals, size, replace=False) for _ in range(draws))
            nulls[pools, size] = np.array(
                [_relative_spread(pixels, rows).min() for rows in samples]
            )
        relative = _relative_spread(pixels, fakes)
        at = divmod(int(relative.argmin()), relative.shape[1])
        p = (1 + int((nulls[pools, size] <= relative[at]).sum())) / (1 + draws)
        left, top, right, bottom = (side / relative.shape[0] for side in _extent(relative, *at))
        colour = "#" + "".join(
            f"{value:02x}" for value in np.median(pixels[fakes, at[0], at[1]], axis=0).astype(int)
        )
        marks.append(
            vars(
                Overlay(
                    name,
                    float(relative[at]),
                    left,
                    top,
                    right,
                    bottom,
                    colour,
                    p,
                    len(fakes),
                    len(reals),
                )
            )
        )
    table = pd.DataFrame(marks)
    table["adjusted"] = holm(table["p_value"].to_numpy())
    return table


def _relative_spread(
    pixels: UInt8[np.ndarray, "N s s 3"], rows: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "s s"]:
    n, s = len(rows), pixels.shape[1]
    quarter = n // 4
    spread = np.empty((s, s), np.float32)
    height = max(1, AT_A_TIME // (n * s * 3))
    for top in range(0, s, height):
        part = pixels[rows, top : top + height]
        values = np.ascontiguousarray(part.reshape(n, -1).T)
        values.partition([quarter, n - 1 - quarter], axis=1)
        between = values[:, n - 1 - quarter].astype(np.float32) - values[:, quarter]
        spread[top : top + height] = between.reshape(-1, s, 3).mean(axis=2)
    relative: np.ndarray = spread / max(float(np.median(spread)), 1e-6)
    return relative


def _extent(relative: Float[np.ndarray, "s s"], y: int, x: int) -> tuple[int, int, int, int]:
    """The box around the connected pixels that vary at most half as much as the image does."""
    low = relative <= max(0.5, float(relative[y, x]))
    seen = np.zeros_like(relative, bool)
    stack = [(int(y), int(x))]
    while stack:
        i, j = stack.pop()
        if 0 <= i < low.shape[0] and 0 <= j < low.shape[1] and low[i, j] and not seen[i, j]:
            seen[i, j] = True
            stack += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
