"""Two ways to run the whole method: ``ours``, with its defaults founded in docs/method.md, and
``paper``, literally as Gaintseva et al. 2024 (arXiv 2406.15035) describe it.

Each switch is a field; docs/method.md lists what it decides and what it changes on the demo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.solvers.elimination import Cut
from aigi_core.errors import AigiError

Means = Literal["unit embeddings", "raw embeddings"]
"""What a residual's means are taken over, and what its detector multiplies with it."""
HeadSpace = Literal["embedding", "stream"]
"""Where a head's output is seen: as its share of the embedding, or in the residual stream before
the final norm and projection."""
PenaltyFrom = Literal["own", "scored"]
"""Whose validation images choose a single head's penalty: its training generator's own, or those of
the generator that it is scored on."""


@dataclass(frozen=True)
class Preset:
    """One way to run the method.

    Attributes:
        name: as in links, commands and stored results.
        title: as in controls.
        training: how detectors are trained.
        metric: what the matrix is measured in.
        cut: where a list of removals is cut, among steps of equal accuracy.
        residual: what residuals are means of.
        head_space: what a detector on heads sees.
        head_penalty: whose images choose the penalty of a single head.
        heads_leave_out_train: the generator that heads were chosen on by training is left out of
            their matrix, beside the one that they were validated on.
        word_bank: texts that detectors are named with, where the workspace has them.
        words_centred: whether the mean text and the mean image are taken out of the cosines.
    """

    name: str
    title: str
    training: Protocol = field(default_factory=Protocol)
    metric: str = "balanced_accuracy"
    cut: Cut = "log-loss"
    residual: Means = "unit embeddings"
    head_space: HeadSpace = "embedding"
    head_penalty: PenaltyFrom = "own"
    heads_leave_out_train: bool = True
    word_bank: str = "phrases"
    words_centred: bool = True


PRESETS: dict[str, Preset] = {
    "ours": Preset("ours", "Ours"),
    "paper": Preset(
        "paper",
        "Paper",
        training=Protocol(grid="paper", class_weight=None),
        metric="accuracy",
        cut="last",
        residual="raw embeddings",
        head_space="stream",
        head_penalty="scored",
        heads_leave_out_train=False,
        word_bank="tokens",
        words_centred=False,
    ),
}


def preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        AigiError: there is none of this name.

    Example:
        >>> preset("paper").training.class_weight is None
        True
    """
    if name not in PRESETS:
        raise AigiError(f"There is no protocol {name!r}: choose {' or '.join(PRESETS)}.")
    return PRESETS[name]
