"""A synthetic workspace of any size, written block by block: embeddings like CLIP's, generators
that share their real images, groups of three.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from aigi_core import SCHEMA_VERSION
from aigi_core.manifest import COLUMNS, FAKE
from aigi_core.workspace import Workspace, describe_file, write_manifest

BLOCK = 50_000


def write_large_workspace(
    path: Path, images: int, generators: int = 8, width: int = 768, seed: int = 0
) -> Workspace:
    """Half of the images are real, the others are spread evenly over the generators, in an order
    that mixes all of them; splits 7 : 3 of 10 for training and validation against test.

    Variances fall as 1 / rank^0.8; each generator's fakes are shifted by a direction common to all
    and one of its own, so that detectors transfer in part.
    """
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True, exist_ok=True)
    of = rng.integers(-generators, generators, images)
    basis = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
    spread = np.arange(1, width + 1, dtype=np.float32) ** np.float32(-0.4)
    spread /= np.linalg.norm(spread)

    def draw(count: int) -> np.ndarray:
        drawn: np.ndarray = (rng.standard_normal((count, width), np.float32) * spread) @ basis.T
        return drawn

    mean = rng.standard_normal(width).astype(np.float32)
    mean /= np.linalg.norm(mean)
    shift = 0.175 * draw(1) + 0.25 * draw(generators)
    embeddings = np.lib.format.open_memmap(
        path / "embeddings.npy", "w+", np.float32, (images, width)
    )
    for start in range(0, images, BLOCK):
        own = of[start : start + BLOCK]
        part = mean + draw(len(own))
        part[own >= 0] += shift[own[own >= 0]]
        embeddings[start : start + BLOCK] = part
    embeddings.flush()
    group = np.arange(images) // 3
    lot = np.random.default_rng(seed + 1).random(group[-1] + 1)[group]
    table = pd.DataFrame(
        {
            "path": [f"{i:09d}.png" for i in range(images)],
            "label": np.where(of >= 0, FAKE, 0),
            "generator": np.where(of >= 0, np.char.add("generator ", of.astype(str)), ""),
            "family": np.where(of >= 0, np.where(of % 2 == 0, "gan", "diffusion"), ""),
            "pool": "pool",
            "group": group.astype(str),
            "split": np.where(lot < 0.56, "train", np.where(lot < 0.7, "val", "test")),
            "width": 512,
            "height": 512,
            "format": "PNG",
            "mode": "RGB",
            "bytes": rng.integers(50_000, 500_000, images),
            "jpeg_quality": np.nan,
            "has_metadata": False,
            "content_hash": [f"{i:064x}" for i in range(images)],
        }
    )
    for name in COLUMNS:
        if name not in table:
            table[name] = ""
    table[list(COLUMNS)].astype(COLUMNS).to_parquet(path / "images.parquet", index=False)
    files = ["images.parquet", "embeddings.npy"]
    encoder = dict(
        library="synthetic",
        model="synthetic",
        pretrained="none",
        weights_sha256="0" * 64,
        preprocessing={},
        preprocessing_sha256="0" * 64,
        embedding_width=width,
        gives={"heads": "", "lacks": {"heads": "a synthetic workspace holds embeddings only"}},
        precision="fp32",
    )
    write_manifest(
        path,
        {
            "schema_version": SCHEMA_VERSION,
            "name": f"synthetic {images}",
            "encoder": encoder,
            "text": {},
            "tools": {},
            "files": {name: describe_file(path, name) for name in files},
        },
    )
    return Workspace.open(path)
