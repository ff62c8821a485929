"""What a collection of any size costs: stages computed from measured rates, with their
uncertainty (``python -m benchmarks scale --images 1e9 --gpus 64``).

Rates stand in ``rates.json``: low, middle and high values, what was measured where, and on which
day. Each stage's hours are drawn from its rates (triangular in the logarithm) many times; what is
reported is the median and the 5% and 95% points. Nothing here measures anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from aigi_core.errors import AigiError

RATES = Path(__file__).with_name("rates.json")
DRAWS = 10_000


@dataclass(frozen=True)
class Hardware:
    """What the work runs on.

    Attributes:
        gpus: for encoding.
        cores: for ingest, reading and training; of all machines together.
        memory: bytes of the machine that trains and serves.
        disk: bytes a second that this machine reads.
        network: bytes a second from where the images lie, of all machines together.
    """

    gpus: int
    cores: int
    memory: float = 128e9
    disk: float = 2e9
    network: float = 1.25e9

    def __post_init__(self) -> None:
        if min(self.gpus, self.cores) < 1 or min(self.memory, self.disk, self.network) <= 0:
            raise AigiError(
                "A plan needs at least one GPU and one core, and memory, disk and network above"
                f" zero; got {self}."
            )


def plan(images: int, generators: int, hardware: Hardware, seed: int = 0) -> dict[str, Any]:
    """Hours of each stage, bytes, and the sizes from which something else is needed.

    Args:
        images: how many; half of them real, each generator's detector trained on all real images.
        generators: detectors that are trained, and columns of the matrix.

    Returns:
        ``stages``: name -> hours (median, 5%, 95%) and what limits it. ``terabytes``: of the
        image files and of each feature. ``limits``: sentence -> images from which on it is true,
        rising.

    Raises:
        AigiError: no images or no generators.
    """
    if images < 1 or generators < 1:
        raise AigiError(
            f"A plan needs images and generators, got {images:,} images of {generators:,}."
        )
    rates = json.loads(RATES.read_text("utf-8"))
    rng = np.random.default_rng(seed)

    def rate(name: str) -> Float[np.ndarray, " draws"]:
        low, middle, high = np.log(rates[name]["values"])
        if low == high:
            return np.full(DRAWS, np.exp(middle))
        drawn: np.ndarray = np.exp(rng.triangular(low, middle, high, DRAWS))
        return drawn

    embedding, heads = (rate(f"{name}_bytes_an_image") for name in ("embedding", "heads"))
    cpu = images / (hardware.cores * rate("encode_cpu_images_a_core_second"))
    fetched = images * rate("bytes_an_image_file") / hardware.network
    computed = images * rate("encode_flops_an_image") / (hardware.gpus * rate("flops_a_gpu_second"))
    decoded = images / (hardware.cores * rate("read_images_a_core_second"))
    work = images / 1e6 * generators / 8
    stages = {
        "ingest": (
            np.maximum(images / (hardware.cores * rate("ingest_images_a_core_second")), fetched),
            "decoding on all cores, or the network",
        ),
        "encode": (
            np.maximum(np.maximum(computed, decoded), fetched),
            "the slowest of GPUs, decoding and the network",
        ),
        "train": (
            np.maximum(
                work * rate("train_core_seconds_a_million") / min(hardware.cores, 2),
                rate("train_passes") * _beyond(images * embedding, hardware) / hardware.disk,
            ),
            "two cores of one machine, or its disk where the embeddings exceed its memory",
        ),
        "score": (
            np.maximum(
                work * rate("score_core_seconds_a_million") / min(hardware.cores, 2),
                _beyond(images * embedding, hardware) / hardware.disk,
            ),
            "one pass over the embeddings",
        ),
        "intervals": (
            work * rate("interval_core_seconds_a_million") / min(hardware.cores, 2),
            "two cores of one machine",
        ),
        "search": (
            generators
            * (generators - 1)
            / 2
            * rate("search_core_seconds_a_pair")
            / min(hardware.cores, max(1, generators * (generators - 1) // 2)),
            "a core a pair; without the detectors that are trained on what a search leaves",
        ),
    }
    table = rate("table_bytes_an_image")
    limits = {
        "the table of images exceeds the memory": hardware.memory / np.median(table),
        "the embeddings exceed the memory, and every pass reads the disk": hardware.memory
        / np.median(embedding),
        "training on one machine takes a day": 86_400 / np.median(stages["train"][0]) * images,
        "ingest on these cores takes a week": 604_800 / np.median(stages["ingest"][0]) * images,
        "encoding on these GPUs takes a week": 604_800 / np.median(stages["encode"][0]) * images,
    }
    return {
        "images": images,
        "generators": generators,
        "stages": {
            name: {"hours": _points(seconds / 3600), "limited_by": what}
            for name, (seconds, what) in stages.items()
        },
        "hours_of_encoding_on_cores_alone": _points(cpu / 3600),
        "gpu_hours": _points(computed * hardware.gpus / 3600),
        "terabytes": {
            "image files": _points(images * rate("bytes_an_image_file") / 1e12),
            "embeddings": _points(images * embedding / 1e12),
            "heads": _points(images * heads / 1e12),
        },
        "limits": {
            what: float(f"{at:.2g}") for what, at in sorted(limits.items(), key=lambda x: x[1])
        },
    }


def _beyond(size: Float[np.ndarray, " draws"], hardware: Hardware) -> Float[np.ndarray, " draws"]:
    """Bytes that each pass reads from the disk: all of them where they exceed the memory."""
    return np.where(size > hardware.memory, size, 0.0)


def _points(values: Float[np.ndarray, " draws"]) -> dict[str, float]:
    middle, low, high = np.quantile(values, [0.5, 0.05, 0.95])
    named = {"median": middle, "low": low, "high": high}
    return {name: float(f"{value:.3g}") for name, value in named.items()}
