"""Evidence against the encoder's own terms: the remainder is its MLPs, embedding and biases, and
nothing else.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from aigi_core.clip.encoder import load_encoder
from aigi_core.explain.evidence import evidence
from aigi_core.explain.reading import Reading
from aigi_core.workspace import Workspace, describe_file, read_manifest, write_manifest
from tests.clip.oracle import all_but_heads, recording
from tests.factory import make_workspace
from tests.tiny_clip import randomise

COUNT = 6


@torch.inference_mode()
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float32, 1e-5), (np.float16, 2e-3)], ids=["float32", "cache"]
)
def test_logit_is_bias_heads_and_the_encoders_other_terms(
    tmp_path: Path, dtype: type, tolerance: float
) -> None:
    encoder = load_encoder("ViT-B-32", None, device="cpu", seed=4)
    tower = randomise(encoder.tower, seed=5)
    pixels = np.random.default_rng(6).integers(0, 256, (COUNT, 224, 224, 3), dtype=np.uint8)
    images = encoder.normalise(pixels)
    with recording(tower) as seen:
        embedding = tower(images).double().numpy()
    rest = all_but_heads(tower, seen)
    workspace = encoded(
        tmp_path / "w", encoder.adapter.encode(images), encoder.decomposition(), dtype
    )
    rng, length = np.random.default_rng(7), np.linalg.norm(embedding, axis=1)
    for reading, scale in (
        (Reading(0.4, rng.standard_normal(embedding.shape[1])), length),
        (Reading(-2.0, rng.standard_normal(embedding.shape[1]), normalised=False), 1.0),
    ):
        result = evidence(workspace, reading, np.arange(COUNT))
        logit, remainder = (
            reading.bias + embedding @ reading.embedding / scale,
            rest @ reading.embedding / scale,
        )
        heads = logit - reading.bias - remainder
        assert np.ptp(heads) > 0.01 * np.ptp(logit)  # heads must matter, or anything would pass
        of = np.abs(logit).max()
        assert np.abs(result.logit - logit).max() <= 1e-5 * of
        assert np.abs(result.remainder - remainder).max() <= tolerance * of
        assert np.abs(result.heads.sum(axis=(1, 2)) - heads).max() <= tolerance * of
        assert result.bias + result.heads.sum(axis=(1, 2)) + result.remainder == pytest.approx(
            result.logit, abs=1e-9
        )


def encoded(path: Path, batch, maps: dict[str, np.ndarray], dtype: type) -> Workspace:  # type: ignore[no-untyped-def]
    """A workspace whose first images have a real encoder's arrays (the others have zeros)."""
    make_workspace(path, per_class=20)
    n = len(Workspace.open(path).images)

    def padded(array: np.ndarray, axis: int, fill: float = 0.0) -> np.ndarray:
        shape = list(array.shape)
        shape[axis] = n - array.shape[axis]
        return np.concatenate([array, np.full(shape, fill, array.dtype)], axis=axis)

    np.save(path / "embeddings.npy", padded(batch.embedding.numpy(), 0, 1.0))
    np.save(path / "heads.npy", padded(batch.heads.numpy().astype(dtype), 2))
    np.save(path / "ln_post.npy", padded(batch.ln_post.numpy(), 0, 1.0))
    np.savez(path / "decomposition.npz", **maps)
    manifest = read_manifest(path)
    changed = ("embeddings.npy", "heads.npy", "ln_post.npy", "decomposition.npz")
    write_manifest(
        path,
        manifest
        | {"files": manifest["files"] | {name: describe_file(path, name) for name in changed}},
    )
    return Workspace(path, read_manifest(path))  # wider than its record says, so not opened
