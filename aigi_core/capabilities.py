"""What an encoder can give of an image, as a value that a workspace records: no torch, no encoder.

Everything that needs more than the embedding asks for it by name and is told, in one sentence, why
this encoder has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aigi_core.errors import AigiError, NotGivenError

CLASS_TOKEN, AVERAGE, POOLED = "class token", "average", "pooled"
HEADS: dict[str, str] = {
    CLASS_TOKEN: "exact, read at the class token",
    AVERAGE: "exact, averaged over the image's patches",
    POOLED: "exact up to the vector that attention pooling gives",
}
"""Kind of exact heads -> what it means, in words."""
THINGS: dict[str, str] = {
    "heads": "attention heads whose contributions add up to the embedding",
    "texts": "text tower",
    "evidence": "evidence of single image patches",
    "pre": "features before the projection into the joint space",
    "layers": "token of each layer that stands for the whole image",
    "patches": "tokens of image patches",
}
"""What an encoder may give besides the embedding -> what it is, as in "has no ..."."""


@dataclass(frozen=True)
class Capabilities:
    """What an encoder gives.

    Attributes:
        heads: a key of :data:`HEADS`, empty where there are none.
        lacks: a key of :data:`THINGS` -> why the encoder has none, as a clause without a full stop.
            What stands here is lacking, all else is given.

    Example:
        >>> Capabilities("class token").has("texts")
        True
        >>> resnet = Capabilities("", {"heads": "its image tower is a ResNet"})
        >>> resnet.has("heads")
        False
    """

    heads: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.lacks) - set(THINGS)
        if unknown or (self.heads and self.heads not in HEADS):
            raise AigiError(
                f"An encoder's heads are one of {', '.join(HEADS)} or none, and it may lack"
                f" {', '.join(THINGS)}; got heads {self.heads!r}, lacking"
                f" {', '.join(map(str, self.lacks)) or 'nothing'}."
            )
        if not self.heads and "heads" not in self.lacks:
            object.__setattr__(self, "lacks", {**self.lacks, "heads": "none is known for it"})

    def has(self, thing: str) -> bool:
        """Whether the encoder gives a thing of :data:`THINGS`."""
        return thing not in self.lacks

    def require(self, thing: str, model: str) -> None:
        """Raise NotGivenError, in one sentence with the reason, where the encoder has no such
        thing.
        """
        if thing in self.lacks:
            raise NotGivenError(
                f"The encoder {model!r} has no {THINGS[thing]}: {self.lacks[thing]}."
            )

    def without(self, thing: str, reason: str) -> Capabilities:
        """The same encoder, lacking one thing more."""
        heads = "" if thing == "heads" else self.heads
        return Capabilities(heads, {**self.lacks, thing: reason})

    def describe(self) -> dict[str, Any]:
        """The entry ``gives`` of an encoder's record."""
        return {"heads": self.heads, "lacks": dict(sorted(self.lacks.items()))}

    @classmethod
    def of_record(cls, encoder: Mapping[str, Any]) -> Capabilities:
        """Of the ``encoder`` entry of ``workspace.json``.

        Records written before encoders said what they give are of CLIP vision transformers with a
        class token: nothing else was accepted then.
        """
        gives = encoder.get("gives")
        if gives is None:
            return cls(CLASS_TOKEN)
        return cls(gives["heads"], gives["lacks"])
