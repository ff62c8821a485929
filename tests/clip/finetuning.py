"""A few images and a detector to be fine-tuned on them."""

import numpy as np
import torch

from aigi_core.clip.encoder import Encoder
from aigi_core.clip.finetune import Cut, Detector, Head, Images, Settings

N = 24


class Held:
    """Fixed features, of copies too."""

    def __init__(self, cut: Cut, encoder: Encoder, copies: int = 1) -> None:
        rng = np.random.default_rng(0)
        size = encoder.preprocessing.size
        pixels = rng.integers(0, 256, (N * copies, size, size, 3), dtype=np.uint8)
        pixels[1::2, ::2] //= 2
        self.pixels = pixels[:N]
        self.kept = cut.before(encoder.normalise(pixels))

    def batch(self, rows: np.ndarray, copies: np.ndarray) -> torch.Tensor:
        return self.kept[copies * N + rows]


def images() -> Images:
    rows = np.arange(N)
    return Images(rows % 2, rows[:16], rows[16:], rows[12:])


def a_detector(encoder: Encoder, settings: Settings) -> Detector:
    rng = np.random.default_rng(1)
    head = Head(rng.standard_normal((2, encoder.embedding_width)), np.zeros(2))
    return Detector(Cut(encoder, settings), head)
