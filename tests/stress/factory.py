"""Perturbed copies put into a synthetic workspace."""

from pathlib import Path

import numpy as np

from aigi_core.perturb import parse_ops
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest

EVERY = ("train", "val", "test")


def add_copies(
    path: Path,
    op: str,
    embeddings: np.ndarray,
    splits: tuple[str, ...],
    z: np.ndarray | None = None,
) -> None:
    workspace, slug = Workspace.open(path), parse_ops([op])[0].slug
    rows = np.flatnonzero(np.isin(workspace.domains.split, splits))
    folder = path / "perturbed" / slug
    folder.mkdir(parents=True)
    arrays = {"embeddings": embeddings[rows].astype(np.float32)}
    if z is not None:
        arrays |= {"heads": z[:, :, rows].astype(np.float16), "ln_post": workspace.ln_post[rows]}
    files = []
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        files.append(f"perturbed/{slug}/{name}.npy")
    manifest = read_manifest(path)
    entry = {
        "op": op,
        "splits": list(splits),
        "images": len(rows),
        "heads": z is not None,
        "preprocessing_sha256": "0" * 64,
        "workspace_digest": workspace.digest,
    }
    manifest["perturbed"] = manifest.get("perturbed", {}) | {slug: entry}
    manifest["files"] |= {name: describe_file(path, name) for name in files}
    write_manifest(path, manifest)
