"""Scores and domains with a known answer."""

import numpy as np

from aigi_core.manifest import Domains

FAMILIES = ("gan", "diffusion")


def make_domains(
    generators: int = 4, reals: int = 60, fakes: int = 60, group_size: int = 1
) -> Domains:
    """One pool; generators g0, g1, ... in turn GAN and diffusion; half of the images test, the rest
    train and val.

    With ``group_size`` 2 the i-th real image and the i-th fake of g0 share a group, as a scene and
    its translation.
    """
    generator, label, split, group = [], [], [], []
    for name, size in [("", reals)] + [(f"g{i}", fakes) for i in range(generators)]:
        for i in range(size):
            generator.append(name)
            label.append(int(name != ""))
            split.append("test" if i % 2 else "val" if i % 10 == 0 else "train")
            group.append(f"scene {i}" if group_size > 1 and name in ("", "g0") else f"{name} {i}")
    return Domains(
        labels=np.array(label, np.int8),
        generator=np.array(generator),
        pool=np.full(len(label), "pool"),
        split=np.array(split),
        group=np.array(group),
        family_of={f"g{i}": FAMILIES[i % 2] for i in range(generators)},
    )


def make_scores(
    domains: Domains, detectors: int, strength: float = 1.0, seed: int = 0
) -> np.ndarray:
    """Normal scores; fakes lie ``strength`` higher, centred so that 0 is a fair threshold."""
    noise = np.random.default_rng(seed).standard_normal((detectors, len(domains)))
    return noise + strength * (domains.labels - 0.5)
