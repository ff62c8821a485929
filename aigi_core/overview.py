"""What a workspace holds, as tables: generators with their numbers and file facts, real pools, examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Int

from aigi_core.errors import AigiError
from aigi_core.manifest import FAKE, REAL, SPLITS
from aigi_core.workspace import Workspace


def describe(workspace: Workspace) -> pd.DataFrame:
    """One row a source of images: each generator in the workspace's order, then each pool's real images.

    Columns: ``source`` (generator, or ``real: pool``), ``family`` (``real`` for photographs), ``pools``, ``train``,
    ``val``, ``test`` (images), ``format`` (shares of the file formats), ``size`` (median width x height, px),
    ``jpeg_quality`` (median estimate; NaN without JPEG files).
    """
    images, domains = workspace.images, workspace.domains
    fakes = images[images["label"] == FAKE]
    parts = [(name, domains.family_of[name], fakes[fakes["generator"] == name]) for name in domains.generators]
    reals = images[images["label"] == REAL]
    parts += [(f"real: {pool}", "real", part) for pool, part in reals.groupby("pool")]
    if not parts:
        raise AigiError("This workspace holds no images: build it again from a folder that has some.")
    return pd.DataFrame([{"source": name, "family": family, **_facts(part)} for name, family, part in parts])


def _facts(part: pd.DataFrame) -> dict[str, object]:
    shares = part["format"].value_counts(normalize=True)
    quality = part["jpeg_quality"].dropna()
    return {
        "pools": ", ".join(sorted(part["pool"].unique())),
        **{split: int((part["split"] == split).sum()) for split in SPLITS},
        "format": ", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
        "size": f"{part['width'].median():.0f} × {part['height'].median():.0f}",
        "jpeg_quality": float(quality.median()) if len(quality) else np.nan,
    }


def examples(workspace: Workspace, generator: str | None, count: int = 2) -> Int[np.ndarray, " n"]:
    """Rows of a few images of a generator (of real images for None): always the same ones, in no telling order."""
    images = workspace.images
    chosen = images[images["generator"] == generator] if generator else images[images["label"] == REAL]
    # The content hash is as good as random and does not change when images are added or split anew.
    rows: np.ndarray = chosen.sort_values("content_hash").index.to_numpy()[:count]
    return rows
