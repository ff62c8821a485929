"""How long the intervals of a whole transfer matrix take: all metrics, every cell, shared
group-aware draws.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from aigi_core.manifest import Domains
from aigi_core.transfer.matrix import transfer_matrix


def random_domains(
    generators: int = 13, reals: int = 1000, fakes: int = 1000, share_of_test: float = 0.3
) -> Domains:
    """One pool of single-image groups; the test split holds 300 + 300 images of a generator by
    default.
    """
    names = [f"generator {i:02d}" for i in range(generators)]
    generator = np.repeat(["", *names], [reals, *([fakes] * generators)])
    place = np.concatenate([np.arange(reals), np.tile(np.arange(fakes), generators)])
    size = np.where(generator == "", reals, fakes)
    split = np.where(
        place < share_of_test * size,
        "test",
        np.where(place < (share_of_test + 0.1) * size, "val", "train"),
    )
    return Domains(
        labels=(generator != "").astype(np.int8),
        generator=generator,
        pool=np.full(len(generator), "pool"),
        split=split,
        group=np.array([f"image {i}" for i in range(len(generator))]),
        family_of={name: ("gan", "diffusion")[i % 2] for i, name in enumerate(names)},
    )


def bootstrap_seconds(
    generators: int = 13, draws: int = 1000, repeats: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Median seconds for every metric in every cell and draw, on random scores, with what was
    computed.
    """
    domains = random_domains(generators)
    noise = np.random.default_rng(seed).standard_normal((generators, len(domains)))
    scores = noise + 0.8 * (domains.labels - 0.5)
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        matrix = transfer_matrix(scores, domains, domains.generators, draws=draws)
        seconds.append(perf_counter() - start)
    return {
        "bootstrap_seconds": round(median(seconds), 3),
        "bootstrap": {
            "cells": generators**2,
            "draws": draws,
            "metrics": len(matrix.metrics),
            "test_images_a_cell": int(matrix.n_real[0] + matrix.n_fake[0]),
        },
    }


def main(argv: list[str]) -> dict[str, Any]:
    """Measure once; takes no options."""
    argparse.ArgumentParser(prog="python -m benchmarks bootstrap", description=__doc__).parse_args(
        argv
    )
    return bootstrap_seconds()
