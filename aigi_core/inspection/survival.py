"""Would the verdict survive? The same image compressed, shrunk, blurred, with noise, cropped, as a
screenshot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from aigi_core.clip.preprocessing import Preprocessing
from aigi_core.heads import EncodedImages
from aigi_core.images import ImageError, load_rgb
from aigi_core.inspection.intake import BATCH, encode
from aigi_core.inspection.panel import Panel
from aigi_core.perturb import PERTURBATIONS, Op, ladder
from aigi_core.processes import read_images
from aigi_core.workspace import Workspace

if TYPE_CHECKING:  # it needs torch, this module does not
    from aigi_core.clip.encoder import Encoder


@dataclass(frozen=True, eq=False)
class Copies:
    """Perturbed copies of one image, encoded: the image itself first, then one copy an
    operation.
    """

    ops: tuple[Op | None, ...]
    images: EncodedImages


def perturbed_copies(
    workspace: Workspace,
    encoder: Encoder,
    source: bytes | str | Path,
    key: str,
    progress: Callable[[int, int], None] | None = None,
) -> Copies:
    """Perturb the whole picture by every step of every ladder, in a process limited in time and
    memory, and encode every copy as the workspace's images were.

    Args:
        key: SHA-256 of the file, which seeds random parts: the same copies come out every time.
    """
    wanted: tuple[Op | None, ...] = (None, *ladder())
    preprocessing = Preprocessing.from_description(workspace.encoder["preprocessing"])
    pieces = []
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        (pixels,) = read_images(_perturbed, [(source, part, preprocessing, key)])
        if isinstance(pixels, ImageError):
            raise pixels
        pieces.append(encode(encoder, pixels, workspace))
        if progress:
            progress(start + len(part), len(wanted))
    return Copies(wanted, EncodedImages.joined(pieces))


def _perturbed(
    source: bytes | str | Path, ops: Sequence[Op | None], preprocessing: Preprocessing, key: str
) -> list[UInt8[np.ndarray, "size size 3"]]:
    picture = load_rgb(source).image
    return [preprocessing.pixels(op(picture, key) if op else picture, key) for op in ops]


def survival(
    copies: Copies, panel: Panel, judge: int, rate: float, prior: float = 0.5
) -> pd.DataFrame:
    """What one judge says of every copy.

    Returns:
        Columns ``kind`` ("" for the image itself), ``strength, description, logit, probability,
        low, high, verdict``.
    """
    logits = panel.logits(copies.images)[judge]
    verdicts = panel.calls(judge, logits, rate)
    rows = []
    for op, logit, verdict in zip(copies.ops, logits, verdicts, strict=True):
        probability, low, high = panel.probability(judge, float(logit), prior)
        rows.append(
            {
                "kind": op.kind if op else "",
                "strength": op.value if op and PERTURBATIONS[op.kind].takes_value else np.nan,
                "description": op.description if op else "as it came",
                "logit": float(logit),
                "probability": probability,
                "low": low,
                "high": high,
                "verdict": str(verdict),
            }
        )
    return pd.DataFrame(rows)
