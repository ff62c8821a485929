"""Random features that behave like CLIP's: a common mean direction, a falling spectrum, unit rows,
fakes set apart.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from aigi_core.manifest import Domains

SPLITS = ("train", "val", "test")


def clip_like(
    generators: int = 13,
    per_class: tuple[int, int, int] = (700, 300, 300),
    d: int = 768,
    seed: int = 0,
) -> tuple[Float[np.ndarray, "N d"], Domains]:
    """Features of one pool's real images and of each generator's fakes, and who is trained and
    tested on which rows.

    Variances fall as 1 / rank^0.8 around a mean of the same length as the spread. Each generator's
    fakes are shifted by a direction common to all (times 0.175) and one of its own (times 0.25), so
    that detectors transfer in part.

    Args:
        per_class: images of each class in train, val and test; 700 of each class make n = 1,400.
    """
    rng = np.random.default_rng(seed)
    n = sum(per_class)
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    spread = np.arange(1, d + 1) ** -0.4
    spread /= np.linalg.norm(spread)

    def draw(count: int) -> np.ndarray:
        drawn: np.ndarray = (rng.standard_normal((count, d)) * spread) @ basis.T
        return drawn

    mean = rng.standard_normal(d)
    mean /= np.linalg.norm(mean)
    common = draw(1)
    blocks = [mean + draw(n)] + [
        mean + draw(n) + 0.175 * common + 0.25 * draw(1) for _ in range(generators)
    ]
    X = np.concatenate(blocks)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    names = [f"generator {k:02d}" for k in range(generators)]
    domains = Domains(
        labels=np.repeat([0, *[1] * generators], n).astype(np.int8),
        generator=np.repeat(["", *names], n),
        pool=np.full(len(X), "pool"),
        split=np.tile(np.repeat(SPLITS, per_class), generators + 1),
        group=np.array([f"image {k}" for k in range(len(X))]),
        family_of={name: ("gan", "diffusion")[k % 2] for k, name in enumerate(names)},
    )
    return X, domains
