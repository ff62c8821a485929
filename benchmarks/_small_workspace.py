"""A small synthetic workspace with known structure: fakes differ from reals along one planted
direction a family.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from aigi_core import SCHEMA_VERSION
from aigi_core.manifest import COLUMNS, validate_images
from aigi_core.soundness import rows_record
from aigi_core.workspace import describe_file, write_manifest

GENERATORS = (
    ("alpha-gan", "gan", "faces"),
    ("beta-diff", "diffusion", "general"),
    ("gamma-diff", "diffusion", "general"),
    ("delta-ar", "autoregressive", "general"),
)


def make_images(per_class: int = 40, seed: int = 0) -> pd.DataFrame:
    """A valid table of images: `per_class` fakes a generator and as many reals a pool, split 11:3:6
    of 20.
    """
    rows: list[dict[str, object]] = []
    wanted = [(name, family, pool, 1) for name, family, pool in GENERATORS] + [
        ("", "", p, 0) for p in ("faces", "general")
    ]
    for name, family, pool, label in wanted:
        for i in range(per_class):
            stem = f"{pool}/{name or 'real'}/{i:04d}"
            split = "train" if i % 20 < 11 else "val" if i % 20 < 14 else "test"
            rows.append(
                dict(
                    path=f"{stem}.png",
                    source_url="",
                    label=label,
                    generator=name,
                    family=family,
                    pool=pool,
                    group=stem,
                    split=split,
                    width=256,
                    height=256,
                    format="PNG",
                    mode="RGB",
                    bytes=90_000 + i,
                    jpeg_quality=np.nan,
                    has_metadata=False,
                    content_hash=sha256(f"{stem}{seed}".encode()).hexdigest(),
                    preview_hash="",
                    caption="",
                    note="",
                    left_out="",
                )
            )
    return validate_images(pd.DataFrame(rows, columns=list(COLUMNS)))


def make_workspace(
    path: Path,
    *,
    per_class: int = 40,
    layers: int = 2,
    heads: int = 3,
    head_width: int = 8,
    d: int = 24,
    seed: int = 0,
) -> Path:
    """Write a valid workspace of random features in which heads, maps and embeddings add up
    exactly.

    The planted sign of each family lies in head (0, 0), so that some head carries every detector.
    """
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True, exist_ok=True)
    images = make_images(per_class, seed)
    n = len(images)
    maps = rng.standard_normal((layers, heads, head_width, d)).astype(np.float32) / np.sqrt(d)
    z = rng.standard_normal((layers, heads, n, head_width)).astype(np.float32)
    for family in ("gan", "diffusion", "autoregressive"):
        z[0, 0, (images["family"] == family).to_numpy()] += 1.2 * rng.standard_normal(head_width)
    z = z.astype(np.float16)
    std = (1 + 0.1 * rng.random(n)).astype(np.float32)
    contributions = np.einsum("lhnk,lhkd->nd", z.astype(np.float32), maps) / std[:, None]
    remainder = rng.standard_normal(d) + 0.1 * rng.standard_normal((n, d))
    np.save(path / "embeddings.npy", (contributions + remainder).astype(np.float32))
    np.save(path / "heads.npy", z)
    np.save(path / "ln_post.npy", np.stack([np.zeros(n, np.float32), std], axis=1))
    np.savez(path / "decomposition.npz", head_maps=maps, beta=np.zeros(d, np.float32))
    images.to_parquet(path / "images.parquet", index=False)
    files = ["images.parquet", "embeddings.npy", "heads.npy", "ln_post.npy", "decomposition.npz"]
    text = {}
    (path / "text").mkdir(exist_ok=True)
    for bank, size in (("vocabulary", 200), ("phrases", 60)):
        vectors = rng.standard_normal((size, d))
        np.save(
            path / "text" / f"{bank}.npy",
            (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16),
        )
        table = pd.DataFrame(
            {
                "text": [f"{bank} {i}" for i in range(size)],
                "category": [f"kind {i % 5}" for i in range(size)],
            }
        )
        table.to_parquet(path / "text" / f"{bank}.parquet", index=False)
        files += [f"text/{bank}.npy", f"text/{bank}.parquet"]
        text[bank] = {"texts": size}
    encoder = dict(
        library="synthetic",
        model="synthetic",
        pretrained="none",
        weights_sha256="0" * 64,
        preprocessing={},
        preprocessing_sha256="0" * 64,
        layers=layers,
        heads=heads,
        head_width=head_width,
        width=heads * head_width,
        embedding_width=d,
        precision="fp32",
    )
    described = {name: describe_file(path, name) for name in files}
    write_manifest(
        path,
        {
            "schema_version": SCHEMA_VERSION,
            "name": "synthetic",
            "encoder": encoder,
            "text": text,
            "tools": {},
            "files": described,
            "rows": rows_record(pd.read_parquet(path / "images.parquet"), described),
        },
    )
    return path
