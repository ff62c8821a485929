"""Zero-shot: texts that describe real and generated images, and no training image (Radford et al.
2021, section 3.1). Only the threshold, and the temperature of the softmax, are set on validation
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from aigi_core.detectors.detector import Detector, FeatureDetector
from aigi_core.detectors.detector import register as register_kind
from aigi_core.detectors.features import EmbeddingView, FeatureView, view_from_spec
from aigi_core.detectors.methods.base import Labels, OffsetMethod, Parameters, Rows, register
from aigi_core.detectors.protocol import Protocol
from aigi_core.errors import AigiError
from aigi_core.reprs import ShortRepr
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

BANK = "zero-shot"
"""Name of a user's own bank; its categories ``real`` and ``generated`` are taken."""
REAL_TEXTS = (
    "real photograph without artefacts",
    "authentic unedited photograph",
    "photo with natural imperfections",
    "natural camera noise",
    "camera-original file",
)
GENERATED_TEXTS = (
    "GAN-generated image",
    "picture made by artificial intelligence",
    "synthetic image",
    "fake photo",
    "output of an image generator",
)
"""The default set: texts of the project's own bank ``phrases``."""
TEMPERATURES = (100.0, 30.0, 10.0)
"""What cosines are multiplied by; 100 is where CLIP's own training ends."""

Way = Literal["mean", "softmax"]
Texts = tuple[Float[np.ndarray, "a d"], Float[np.ndarray, "b d"]]


def zero_shot_texts(workspace: Workspace) -> Texts:
    """Embeddings of the texts for real and for generated images, unit rows.

    A bank named ``zero-shot`` goes before the default set.

    Raises:
        AigiError: there are no such texts here; says how to add them.
    """
    if BANK in workspace.text_banks:
        bank = workspace.text_bank(BANK)
        wanted = bank.table["category"] if "category" in bank.table else bank.table["text"]
        sets = [wanted == name for name in ("real", "generated")]
        needs = f"texts under the headings '# real' and '# generated' in the bank {BANK!r}"
    else:
        bank = workspace.text_bank("phrases")
        sets = [bank.table["text"].isin(texts) for texts in (REAL_TEXTS, GENERATED_TEXTS)]
        needs = f"the project's own phrases, or a bank {BANK!r} of your own"
    if not all(each.any() for each in sets):
        adds = workspace.command("text", phrases=f"{BANK}.txt")
        raise AigiError(f"Zero-shot needs {needs}: '{adds}' adds such a file as a bank.")
    real, generated = (np.asarray(bank.embeddings[each.to_numpy()], np.float64) for each in sets)
    return unit_rows(real), unit_rows(generated)


@register_kind
@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ZeroShotDetector(FeatureDetector, ShortRepr):
    """Closeness to texts for generated images less closeness to texts for real ones.

    Attributes:
        real, generated: [a, d] and [b, d] text embeddings, unit rows.
        way: ``mean``, the cosines with the two mean directions; ``softmax``, the log-odds of a
            softmax over all texts, each set weighing as one text.
        temperature: what cosines are multiplied by (softmax only).
        offset: subtracted, so that the threshold is 0.
    """

    kind: ClassVar[str] = "zero-shot"

    real: Float[np.ndarray, "a d"]
    generated: Float[np.ndarray, "b d"]
    way: Way
    temperature: float = 1.0
    offset: float = 0.0

    def score(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        features = self._require_width(features, self.real.shape[1])
        near = [self._closeness(features, texts) for texts in (self.generated, self.real)]
        scores: np.ndarray = near[0] - near[1] - self.offset
        return scores

    def _closeness(self, features: np.ndarray, texts: np.ndarray) -> np.ndarray:
        if self.way == "mean":
            mean = texts.mean(axis=0)
            return np.asarray(features @ (mean / np.linalg.norm(mean)))
        logits = self.temperature * (features @ texts.T)
        return np.asarray(logsumexp(logits, axis=1) - np.log(len(texts)))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"real": self.real, "generated": self.generated}

    def about(self) -> dict[str, Any]:
        return {
            "view": self.view.spec(),
            "way": self.way,
            "temperature": self.temperature,
            "offset": self.offset,
        }

    @classmethod
    def build(
        cls, arrays: dict[str, np.ndarray], about: dict[str, Any], **common: Any
    ) -> ZeroShotDetector:
        real, generated = (arrays[name].astype(np.float64) for name in ("real", "generated"))
        temperature, offset = float(about["temperature"]), float(about["offset"])
        if real.ndim != 2 or generated.shape[1:] != real.shape[1:] or not len(generated):
            raise ValueError(f"its texts have shapes {real.shape} and {generated.shape}")
        if about["way"] not in ("mean", "softmax"):
            raise ValueError(f"there is no way {about['way']!r} of reading texts")
        if not np.isfinite([temperature, offset]).all() or not np.isfinite(real).all():
            raise ValueError("its texts, temperature and offset must be finite")
        return cls(
            view=view_from_spec(about["view"]),
            real=real,
            generated=generated,
            way=about["way"],
            temperature=temperature,
            offset=offset,
            **common,
        )


class ZeroShot(OffsetMethod):
    """Texts of one's own, or those of the workspace, bound when a workspace is at hand."""

    way: ClassVar[Way]
    source = "Radford et al. 2021, section 3.1"
    sees = "The cosines of the embedding with texts for real and for generated images."
    cost = "Needs no training time; scores with one matrix product."
    views = (EmbeddingView,)
    why_whole = "Texts are compared with the whole normalised embedding"
    banks = (BANK, "phrases")

    def __init__(self, texts: Texts | None = None) -> None:
        self.texts = texts

    def missing(self, workspace: Workspace) -> str:
        if self.texts is not None:
            return ""
        try:
            zero_shot_texts(workspace)
        except AigiError as error:
            return str(error)
        return ""

    def bound(self, workspace: Workspace) -> ZeroShot:
        return self if self.texts is not None else type(self)(zero_shot_texts(workspace))

    def twin(self, workspace: Workspace, detector: Detector) -> Detector:
        if not isinstance(detector, ZeroShotDetector):
            return detector
        own = type(self)((detector.real, detector.generated))
        return super(ZeroShot, own).twin(workspace, detector)

    def grid(self, protocol: Protocol) -> Sequence[Parameters]:
        del protocol
        steps = TEMPERATURES if self.way == "softmax" else (1.0,)
        return [{"temperature": step, "offset": 0.0} for step in steps]

    def fit(self, X: Rows, y: Labels, parameters: Parameters, protocol: Protocol) -> dict[str, Any]:
        del X, y, protocol  # no image trains it
        if self.texts is None:
            raise AigiError(
                f"{self.title} reads texts of a workspace: train it on one, or choose another"
                " method here."
            )
        return {
            "real": self.texts[0],
            "generated": self.texts[1],
            "way": self.way,
            "temperature": float(parameters["temperature"]),
            "offset": float(parameters["offset"]),
        }

    def make(self, view: FeatureView, fitted: dict[str, Any], **common: Any) -> FeatureDetector:
        return ZeroShotDetector(view=view, **fitted, **common)


@register
class ZeroShotMean(ZeroShot):
    name = "zero-shot-mean"
    title = "Zero-shot, mean of texts"
    chosen = "Not trained on images. With a bias, the threshold is chosen on validation images."
    scale = "differences of cosines"
    way = "mean"


@register
class ZeroShotSoftmax(ZeroShot):
    name = "zero-shot-softmax"
    title = "Zero-shot, softmax over texts"
    chosen = (
        "Not trained on images. Temperature from three values and, with a bias, the"
        " threshold are chosen on validation images."
    )
    scale = "differences of log-sums"
    way = "softmax"
