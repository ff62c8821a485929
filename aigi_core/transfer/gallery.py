"""The images that a detector is most certain of, right and wrong (Gaintseva et al. 2024,
galleries).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.errors import AigiError
from aigi_core.intervals import count_interval
from aigi_core.manifest import FAKE
from aigi_core.scores import check_scores
from aigi_core.statements import counted
from aigi_core.workspace import Workspace

VERDICTS = ("real as real", "real as fake", "fake as fake", "fake as real")
"""What an image is, and what the detector takes it for."""
FACTS = (
    "generator",
    "pool",
    "split",
    "width",
    "height",
    "format",
    "bytes",
    "jpeg_quality",
    "caption",
    "path",
)
SIZES = {
    "any size": (0, np.inf),
    "under 256 px": (0, 256),
    "256 to 511 px": (256, 512),
    "512 to 1,023 px": (512, 1024),
    "1,024 px and more": (1024, np.inf),
}
"""Sizes in words -> bounds of the shorter side, px; the upper one is not included."""
ORDERS = {
    "Most certain": ("certainty", False),
    "Least certain": ("certainty", True),
    "Largest": ("pixels", False),
    "Smallest": ("pixels", True),
    "Fewest bytes a pixel": ("bytes_per_pixel", True),
    "Most bytes a pixel": ("bytes_per_pixel", False),
}
"""Orders in words -> (column, ascending)."""


def gallery(
    workspace: Workspace,
    scores: Float[np.ndarray, " N"],
    tests: str | Sequence[str],
    *,
    threshold: float = 0.0,
    split: str = "test",
) -> pd.DataFrame:
    """Every image of one or several test sets with its verdict, the most certain first.

    Args:
        scores: [N] one detector's decision values for every image of the workspace.
        tests: generators; their pools' real images come along, once each.

    Returns:
        One row an image: ``row, verdict`` (one of :data:`VERDICTS`), ``right, score, certainty``
            (distance to the threshold), ``pixels, bytes_per_pixel`` and :data:`FACTS`
            (``generator`` is ``real`` for real images).

    Raises:
        AigiError: no or unknown generators, a side without images in the split, or scores that do
            not fit.
    """
    domains, values = workspace.domains, check_scores(scores)[0]
    if len(values) != len(domains):
        raise AigiError(
            f"Expected a score for each of the workspace's {counted(len(domains), 'image')}, got"
            f" {len(values)}."
        )
    rows = domains.rows(tests, split)
    fake, flagged = domains.labels[rows] == FAKE, values[rows] > threshold
    facts = workspace.images[list(FACTS)].iloc[rows].reset_index(drop=True)
    right = flagged == fake
    table = pd.DataFrame(
        {
            "row": rows,
            "verdict": np.array(VERDICTS)[2 * fake + ~right],
            "right": right,
            "score": values[rows],
            "certainty": np.abs(values[rows] - threshold),
            "pixels": facts["width"].astype(np.int64) * facts["height"],
        }
    )
    table["bytes_per_pixel"] = facts["bytes"] / table["pixels"]
    facts["generator"] = facts["generator"].where(fake, "real")
    return pd.concat([table, facts], axis=1).sort_values(
        "certainty", ascending=False, kind="stable", ignore_index=True
    )


def verdict_shares(images: pd.DataFrame) -> pd.DataFrame:
    """Shares of the four verdicts within their true class: ``verdict, images, of, share, low, high,
    median_certainty``; none of a class that has no image.

    Intervals are Wilson's at 95%, images taken as independent.
    """
    rows = []
    for verdict in VERDICTS:
        own = images[images["verdict"].str.startswith(verdict[:4])]
        if own.empty:
            continue
        hit = own[own["verdict"] == verdict]
        low, high = count_interval(len(hit), len(own))
        rows.append(
            {
                "verdict": verdict,
                "images": len(hit),
                "of": len(own),
                "share": len(hit) / len(own),
                "low": float(low),
                "high": float(high),
                "median_certainty": float(hit["certainty"].median()) if len(hit) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def arrange(
    images: pd.DataFrame,
    order: str = "Most certain",
    *,
    formats: Sequence[str] = (),
    size: str = "any size",
    subject: str = "",
) -> pd.DataFrame:
    """Images of a gallery in one of :data:`ORDERS`, those that :func:`filter_gallery` leaves."""
    if order not in ORDERS:
        raise AigiError(f"There is no order {order!r}; there are {', '.join(ORDERS)}.")
    column, ascending = ORDERS[order]
    chosen = filter_gallery(images, formats=formats, size=size, subject=subject)
    return chosen.sort_values(column, ascending=ascending, kind="stable", ignore_index=True)


def filter_gallery(
    images: pd.DataFrame,
    *,
    formats: Sequence[str] = (),
    size: str = "any size",
    subject: str = "",
) -> pd.DataFrame:
    """Images of a gallery that a filter leaves, in the order in which they are.

    Args:
        formats: only these file formats, where any are named.
        size: one of :data:`SIZES`.
        subject: only images whose caption, path or pool holds these words, in any order and case.
    """
    low, high = SIZES[size]
    shorter = images[["width", "height"]].min(axis=1)
    keep = (shorter >= low) & (shorter < high)
    if formats:
        keep &= images["format"].isin(formats)
    if words := subject.casefold().split():
        text = images["caption"].str.cat(images[["path", "pool"]], sep=" ").str.casefold()
        for word in words:
            keep &= text.str.contains(word, regex=False)
    return images[keep].reset_index(drop=True)
