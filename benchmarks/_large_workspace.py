"""A synthetic workspace of any size, written block by block: embeddings like CLIP's, generators
that share their real images, groups of three, file facts that give two generators away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from aigi_core import SCHEMA_VERSION
from aigi_core.clip.phrases import OWN_PHRASES, read_phrases
from aigi_core.manifest import COLUMNS, FAKE
from aigi_core.soundness import rows_record
from aigi_core.workspace import Workspace, describe_file, write_manifest

BLOCK = 50_000
"""Images written at a time; a twenty-fifth of it with heads."""


@dataclass(frozen=True)
class HeadShape:
    """Attention heads of a synthetic encoder."""

    layers: int
    heads: int
    head_width: int


def write_large_workspace(
    path: Path,
    images: int,
    generators: int = 8,
    width: int = 768,
    seed: int = 0,
    *,
    model: str = "synthetic",
    head_shape: HeadShape | None = None,
    texts: bool = False,
) -> Workspace:
    """Half of the images are real, the others are spread evenly over the generators, in an order
    that mixes all of them; splits 7 : 3 of 10 for training and validation against test.

    Variances fall as 1 / rank^0.8; each generator's fakes are shifted by a direction common to all
    and one of its own, so that detectors transfer in part. Fakes of generator 0 are PNG files
    where all others are JPEG, and those of generator 1 measure 1,024 pixels where all others
    measure 512: an audit must find both.

    Args:
        head_shape: write heads, too. The embedding's spread comes from the first heads of the last
            layer, as many as its width needs; all others add a little noise.
        texts: write the project's phrases, too, each as a direction drawn at random.
    """
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True, exist_ok=True)
    of = rng.integers(-generators, generators, images)
    files = ["images.parquet", "embeddings.npy"]
    _write_features(path, of, generators, width, rng, head_shape)
    gives: dict[str, Any] = {
        "gives": {"heads": "", "lacks": {"heads": "a synthetic workspace holds embeddings only"}},
        **dict.fromkeys(("layers", "heads", "head_width"), 0),
    }
    if head_shape is not None:
        files += ["heads.npy", "ln_post.npy", "decomposition.npz"]
        gives = vars(head_shape) | {"width": head_shape.heads * head_shape.head_width}
    _table(of, rng, seed).to_parquet(path / "images.parquet", index=False)
    encoder = dict(
        library="synthetic",
        model=model,
        pretrained="none",
        weights_sha256="0" * 64,
        preprocessing={},
        preprocessing_sha256="0" * 64,
        embedding_width=width,
        precision="fp32",
        **gives,
    )
    bank = {"phrases": _write_phrases(path, width, seed)} if texts else {}
    files += [f"text/{name}.{suffix}" for name in bank for suffix in ("npy", "parquet")]
    described = {name: describe_file(path, name) for name in files}
    write_manifest(
        path,
        {
            "schema_version": SCHEMA_VERSION,
            "name": f"synthetic {images}",
            "encoder": encoder,
            "text": bank,
            "tools": {},
            "files": described,
            "rows": rows_record(pd.read_parquet(path / "images.parquet"), described),
        },
    )
    return Workspace.open(path)


def _write_features(
    path: Path,
    of: Int[np.ndarray, " N"],
    generators: int,
    width: int,
    rng: np.random.Generator,
    shape: HeadShape | None,
) -> None:
    """``embeddings.npy``, and the three files of heads where they are asked for."""
    basis = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
    spread = np.arange(1, width + 1, dtype=np.float32) ** np.float32(-0.4)
    spread /= np.linalg.norm(spread)

    def draw(count: int) -> Float32[np.ndarray, "count width"]:
        """In the basis of the spectrum."""
        return rng.standard_normal((count, width), np.float32) * spread

    mean = rng.standard_normal(width).astype(np.float32)
    mean /= np.linalg.norm(mean)
    shift = 0.175 * draw(1) + 0.25 * draw(generators)
    embeddings = np.lib.format.open_memmap(
        path / "embeddings.npy", "w+", np.float32, (len(of), width)
    )
    heads = None if shape is None else _Heads(path, len(of), basis, shape, rng)
    step = BLOCK if heads is None else BLOCK // 25
    for start in range(0, len(of), step):
        own = of[start : start + step]
        part = draw(len(own))
        part[own >= 0] += shift[own[own >= 0]]
        embeddings[start : start + step] = mean + (
            part @ basis.T if heads is None else heads.write(start, part)
        )
    embeddings.flush()


def _write_phrases(path: Path, width: int, seed: int) -> dict[str, Any]:
    """A bank of texts; returns what the manifest says of it."""
    table = read_phrases(OWN_PHRASES)
    vectors = np.random.default_rng(seed).standard_normal((len(table), width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (path / "text").mkdir(exist_ok=True)
    np.save(path / "text" / "phrases.npy", vectors.astype(np.float16))
    table.to_parquet(path / "text" / "phrases.parquet", index=False)
    return {"texts": len(table), "source": "random directions", "template": "{}"}


class _Heads:
    """Heads whose contributions, with a constant, add up to the embeddings."""

    def __init__(
        self,
        path: Path,
        images: int,
        basis: Float32[np.ndarray, "d d"],
        shape: HeadShape,
        rng: np.random.Generator,
    ) -> None:
        d, k = len(basis), shape.head_width
        self._rng, self._scale = rng, np.float32(np.sqrt(d))
        maps = rng.standard_normal((shape.layers, shape.heads, k, d), np.float32)
        maps *= 0.02 / np.sqrt(d * shape.layers * shape.heads * k)
        self._carrying = -(-d // k)
        own = np.zeros((self._carrying * k, d), np.float32)
        own[:d] = basis.T / self._scale
        maps[-1, : self._carrying] = own.reshape(self._carrying, k, d)
        self._maps = maps.reshape(-1, d)
        self._heads = np.lib.format.open_memmap(
            path / "heads.npy", "w+", np.float16, (shape.layers, shape.heads, images, k)
        )
        norm = np.stack([np.zeros(images), np.ones(images)], axis=1).astype(np.float32)
        np.save(path / "ln_post.npy", norm)
        np.savez(path / "decomposition.npz", head_maps=maps, beta=np.zeros(d, np.float32))

    def write(self, start: int, part: Float32[np.ndarray, "b d"]) -> Float[np.ndarray, "b d"]:
        """Contexts of some images; returns the sum of all contributions."""
        layers, heads, _, k = self._heads.shape
        contexts = self._rng.standard_normal((len(part), layers, heads, k), np.float32)
        own = np.zeros((len(part), self._carrying * k), np.float32)
        own[:, : part.shape[1]] = part * self._scale
        contexts[:, -1, : self._carrying] = own.reshape(len(part), self._carrying, k)
        stored = contexts.astype(np.float16)
        self._heads[:, :, start : start + len(part)] = stored.transpose(1, 2, 0, 3)
        total: np.ndarray = stored.reshape(len(part), -1).astype(np.float32) @ self._maps
        return total


def _table(of: Int[np.ndarray, " N"], rng: np.random.Generator, seed: int) -> pd.DataFrame:
    images = len(of)
    group = np.arange(images) // 3
    lot = np.random.default_rng(seed + 1).random(group[-1] + 1)[group]
    png, large = of == 0, np.where(of == 1, 1024, 512)
    table = pd.DataFrame(
        {
            "path": [f"{i:09d}.{'png' if is_png else 'jpg'}" for i, is_png in enumerate(png)],
            "label": np.where(of >= 0, FAKE, 0),
            "generator": np.where(of >= 0, np.char.add("generator ", of.astype(str)), ""),
            "family": np.where(of >= 0, np.where(of % 2 == 0, "gan", "diffusion"), ""),
            "pool": "pool",
            "group": group.astype(str),
            "split": np.where(lot < 0.56, "train", np.where(lot < 0.7, "val", "test")),
            "width": large,
            "height": large,
            "format": np.where(png, "PNG", "JPEG"),
            "mode": "RGB",
            "bytes": rng.integers(50_000, 500_000, images),
            "jpeg_quality": np.where(png, np.nan, 90.0),
            "has_metadata": False,
            "content_hash": [f"{i:064x}" for i in range(images)],
        }
    )
    for name in COLUMNS:
        if name not in table:
            table[name] = ""
    return table[list(COLUMNS)].astype(COLUMNS)
