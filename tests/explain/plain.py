"""Slow and obvious versions of what explain computes, for its tests."""

import numpy as np

from aigi_core.explain.reading import Reading
from aigi_core.workspace import Workspace


def contribution(workspace: Workspace, layer: int, head: int) -> np.ndarray:
    """[N, d] one head's contribution to every image's embedding, in the full space."""
    z = np.asarray(workspace.heads[layer, head], np.float64)
    return (
        z
        @ workspace.decomposition["head_maps"][layer, head]
        / np.asarray(workspace.ln_post[:, 1:], np.float64)
    )


def all_contributions(workspace: Workspace) -> np.ndarray:
    """[L, H, N, d]"""
    layers, heads = workspace.heads.shape[:2]
    return np.array([[contribution(workspace, a, b) for b in range(heads)] for a in range(layers)])


def some_readings(d: int = 24, seed: int = 0) -> list[Reading]:
    """One detector of each kind."""
    rng = np.random.default_rng(seed)
    return [
        Reading(0.3, rng.standard_normal(d)),
        Reading(-1.0, np.where(rng.random(d) < 0.6, rng.standard_normal(d), 0)),
        Reading(0.1, np.zeros(d), {(0, 0): rng.standard_normal(d), (1, 2): rng.standard_normal(d)}),
        Reading(0.0, rng.standard_normal(d), normalised=False),
    ]


def plain_scores(reading: Reading, E: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Logits from embeddings [N, d] and contributions [L, H, N, d]."""
    out = np.empty(len(E))
    for i, e in enumerate(E):
        total = reading.embedding @ e + sum(u @ C[head][i] for head, u in reading.heads.items())
        out[i] = reading.bias + total / (np.linalg.norm(e) if reading.normalised else 1)
    return out
