"""Small synthetic workspaces with known structure: fakes differ from reals along one planted
direction a family.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from aigi_core.soundness import rows_record
from aigi_core.workspace import describe_file, read_manifest, write_manifest
from benchmarks._small_workspace import (  # noqa: F401 (tests import them from here)
    GENERATORS,
    make_images,
    make_workspace,
)


def put_images(path: Path, images: pd.DataFrame) -> Path:
    """The workspace at path with this table of images instead of its own."""
    images.to_parquet(path / "images.parquet", index=False)
    manifest = read_manifest(path)
    manifest["files"]["images.parquet"] = describe_file(path, "images.parquet")
    manifest["rows"] = rows_record(images, manifest["files"])
    write_manifest(path, manifest)
    return path


def put_features(path: Path, name: str, array: np.ndarray) -> Path:
    """The workspace at path with these features of its images instead of its own."""
    np.save(path / name, array)
    manifest = read_manifest(path)
    manifest["files"][name] = describe_file(path, name)
    images = pd.read_parquet(path / "images.parquet")
    manifest["rows"] = rows_record(images, manifest["files"])
    write_manifest(path, manifest)
    return path


def edit_images(path: Path, change: Callable[[pd.DataFrame], None]) -> Path:
    """The workspace at path with its table of images changed."""
    images = pd.read_parquet(path / "images.parquet")
    change(images)
    return put_images(path, images)


def with_images(source: Path, target: Path, change: Callable[[pd.DataFrame], None]) -> Path:
    """A copy of a workspace with its table of images changed."""
    return edit_images(Path(shutil.copytree(source, target)), change)


NO_HEADS = "its image tower is a ConvNeXt"


def without_heads(path: Path) -> Path:
    """The workspace at path, as an encoding that was asked for its embedding only."""
    manifest = read_manifest(path)
    del manifest["files"]["heads.npy"]
    (path / "heads.npy").unlink()
    rows = rows_record(pd.read_parquet(path / "images.parquet"), manifest["files"])
    write_manifest(path, manifest | {"rows": rows})
    return path


def embedding_only(path: Path) -> Path:
    """The workspace at path, as an encoder without heads and texts would have left it."""
    manifest = json.loads((path / "workspace.json").read_text())
    for name in list(manifest["files"]):
        if name in ("heads.npy", "ln_post.npy", "decomposition.npz") or name.startswith("text/"):
            del manifest["files"][name]
            (path / name).unlink()
    lacks = dict.fromkeys(("heads", "evidence", "texts", "pre", "layers", "patches"), NO_HEADS)
    manifest["encoder"] |= {"gives": {"heads": "", "lacks": lacks}, "layers": 0, "heads": 0}
    rows = rows_record(pd.read_parquet(path / "images.parquet"), manifest["files"])
    write_manifest(path, manifest | {"text": {}, "rows": rows})
    return path
