"""Tables of images with planted confounds, and features that carry a planted sign of generation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from aigi_core.workspace import Workspace
from tests.factory import make_images, make_workspace, put_images

CLEAN, CONFOUNDED, PARTLY, SIZED = "alpha-gan", "beta-diff", "gamma-diff", "delta-ar"


def planted_images(per_class: int = 80, seed: int = 0) -> pd.DataFrame:
    """Facts drawn alike for all images, but: beta-diff is PNG, gamma-diff is PNG in 3 of 4,
    delta-ar is 512 px wide.

    All others are JPEG of quality 75 to 95 and 200 to 400 px wide, one in five reals of
    gamma-diff's pool is a PNG.
    """
    rng = np.random.default_rng(seed)
    images = make_images(per_class, seed)
    n = len(images)
    images["width"] = rng.integers(200, 400, n).astype(np.int32)
    images["height"] = rng.integers(200, 400, n).astype(np.int32)
    images["bytes"] = (images["width"] * images["height"] * rng.uniform(0.2, 0.6, n)).astype(
        np.int64
    )
    png = (images["generator"] == CONFOUNDED) | (
        (images["generator"] == PARTLY) & (rng.random(n) < 0.75)
    )
    png |= (images["label"] == 0) & (images["pool"] == "general") & (rng.random(n) < 0.2)
    images["format"] = np.where(png, "PNG", "JPEG")
    images["jpeg_quality"] = np.where(png, np.nan, rng.integers(75, 96, n)).astype(np.float32)
    images.loc[images["generator"] == SIZED, "width"] = 512
    return images


def clean_images(per_class: int = 80, seed: int = 0) -> pd.DataFrame:
    """Every fact drawn alike for fakes and real images."""
    images = planted_images(per_class, seed)
    columns = ["width", "height", "bytes", "format", "jpeg_quality"]
    order = np.random.default_rng(seed + 1).permutation(len(images))
    images[columns] = images[columns].to_numpy()[order]
    return images.astype(
        {"width": "int32", "height": "int32", "bytes": "int64", "jpeg_quality": "float32"}
    )


def workspace(path: Path, images: pd.DataFrame) -> Workspace:
    """A synthetic workspace with these images in place of its own."""
    make_workspace(path, per_class=80)
    put_images(path, images)
    return Workspace.open(path)
