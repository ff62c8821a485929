"""Further features of one forward pass: tokens that the tower computes on its way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from aigi_core.errors import AigiError
from aigi_core.statements import counted
from aigi_core.stored_features import PATCHES


class TokenFeatures:
    """Collects what was asked for while a tower runs.

    ``pre`` [B, width]: the vector before the projection. ``layers`` [layers, B, width]: the token
    that stands for the image after each block (the class token; the mean over patches where there
    is none). ``norm2`` [layers, B, width]: the same after each block's second norm, before its MLP
    (what RINE reads). ``patches:K`` [B, K, width]: K patch tokens after the last block, evenly
    spread over the grid.
    """

    def __init__(self, features: Sequence[str], prefix: int) -> None:
        """``prefix``: tokens before the first patch; 0 where there is no class token."""
        self.features: dict[str, Tensor] = {}
        self._wanted = set(features)
        self._prefix = prefix
        self._steps: dict[str, list[Tensor]] = {"layers": [], "norm2": []}
        asked = [name for name in features if name.startswith(PATCHES)]
        self.patches = int(asked[0].removeprefix(PATCHES)) if asked else 0

    def after_block(
        self, normed: Float[Tensor, "B Q width"], stream: Float[Tensor, "B Q width"]
    ) -> None:
        """Of one block: the input of its MLP and the stream after it."""
        for name, tokens in (("layers", stream), ("norm2", normed)):
            if name in self._wanted:
                token = tokens[:, 0] if self._prefix else tokens.mean(dim=1)
                self._steps[name].append(token.float())

    def after_blocks(self, stream: Float[Tensor, "B T width"]) -> None:
        """The stream after the last block."""
        self.features |= {name: torch.stack(steps) for name, steps in self._steps.items() if steps}
        if self.patches:
            tokens = stream.shape[1] - self._prefix
            if self.patches > tokens:
                raise AigiError(
                    f"{counted(self.patches, 'patch token', 'were')} asked for, the encoder has"
                    f" {tokens}."
                )
            at = torch.linspace(0, tokens - 1, self.patches).round().long() + self._prefix
            self.features[f"{PATCHES}{self.patches}"] = stream[:, at.to(stream.device)].float()

    def before_projection(self, vector: Float[Tensor, "B width"]) -> None:
        """The vector that the projection takes into the joint space."""
        if "pre" in self._wanted:
            self.features["pre"] = vector.float()
