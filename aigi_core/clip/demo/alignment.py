"""Two linear maps that bring frozen image features and frozen text embeddings into one space.

Locked-image tuning (Zhai et al. 2022, arXiv 2111.07991) in closed form, for collections of hundreds
of captioned photographs, on which gradient-trained contrastive heads overfit. The image side is
whitened with shrinkage; the singular directions of the cross-covariance with the captions'
embeddings, which partial least squares would use, are weighted by powers of their singular values.
The image map is square and of full rank, so nothing that the features hold is lost, and being
linear it folds into the image tower's last layer norm and projection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from aigi_core.commands import command
from aigi_core.errors import AigiError
from aigi_core.statements import counted
from aigi_core.vectors import unit_rows
from aigi_core.workspace import write_atomic

unit = partial(unit_rows, keep_zeros=True)
"""Rows scaled to length 1; rows of zeros stay."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Features to the joint space: ``(features - mean) @ map`` on either side, compared by
    cosine.
    """

    image_mean: Float32[np.ndarray, " image_width"]
    image_map: Float32[np.ndarray, "image_width d"]
    text_mean: Float32[np.ndarray, " text_width"]
    text_map: Float32[np.ndarray, "text_width d"]

    def images(self, features: Float[np.ndarray, "N image_width"]) -> Float[np.ndarray, "N d"]:
        """Image features in the joint space, not normalised."""
        joint: Float[np.ndarray, "N d"] = (features - self.image_mean) @ self.image_map
        return joint

    def texts(self, features: Float[np.ndarray, "T text_width"]) -> Float[np.ndarray, "T d"]:
        """Text embeddings in the joint space, not normalised."""
        joint: Float[np.ndarray, "T d"] = (features - self.text_mean) @ self.text_map
        return joint

    def save(self, file: Path) -> None:
        """Write as safetensors, atomically."""
        write_atomic(file, save({part.name: getattr(self, part.name) for part in fields(self)}))

    @classmethod
    def load(cls, file: Path) -> Alignment:
        """Read what :meth:`save` wrote; raises AigiError where it is missing or something else."""
        try:
            return cls(**load_file(file))
        except (OSError, SafetensorError, TypeError) as error:
            raise AigiError(
                f"The demo encoder's text alignment {file} cannot be read ({error}): restore it"
                f" from the repository, or fit it anew with '{command('demo', align=True)}'."
            ) from error


def fit(
    images: Float[np.ndarray, "n image_width"],
    texts: Sequence[Float[np.ndarray, "n text_width"]],
    *,
    shrinkage: float = 1.0,
    image_power: float = 0.5,
    text_power: float = 0.7,
) -> Alignment:
    """Fit the two maps to captioned photographs.

    Args:
        images: features of n photographs.
        texts: one or several wordings of their captions, each embedded; the directions of all are
            averaged.
        shrinkage: added to the spectrum of the image covariance, in units of its mean.
        image_power, text_power: of the singular values (largest = 1) by which each side weights the
            directions.

    Raises:
        AigiError: fewer than two photographs, or values that are not finite.
    """
    if len(images) < 2 or any(len(wording) != len(images) for wording in texts) or not texts:
        raise AigiError(
            "An alignment needs at least two photographs with one caption each, it got"
            f" {counted(len(images), 'photograph')} and"
            f" {' / '.join(str(len(wording)) for wording in texts) or 'no'} captions."
        )
    x, wordings = images.astype(np.float64), [wording.astype(np.float64) for wording in texts]
    if not all(np.isfinite(part).all() for part in (x, *wordings)):
        raise AigiError(
            "An alignment needs finite features: some of the images' or captions' are not."
        )
    image_mean, text_mean = (
        x.mean(axis=0),
        np.mean([wording.mean(axis=0) for wording in wordings], axis=0),
    )
    spectrum, axes = np.linalg.eigh(np.cov((x - image_mean).T))
    whiten = (axes * (spectrum.clip(0) + shrinkage * spectrum.mean()) ** -0.5) @ axes.T
    a = unit((x - image_mean) @ whiten)
    b = unit(np.sum([unit(wording - wording.mean(axis=0)) for wording in wordings], axis=0))
    u, s, vt = np.linalg.svd(a.T @ b)
    s /= s[0]
    # Image directions beyond the texts' width meet no text and keep the smallest weight.
    image_map = whiten @ (u * np.pad(s, (0, len(u) - len(s)), mode="edge") ** image_power)
    text_map = np.pad(vt[: len(s)].T * s**text_power, ((0, 0), (0, len(u) - len(s))))
    image_map /= np.linalg.norm((x - image_mean) @ image_map, axis=1).mean()
    text_map /= np.linalg.norm(unit(wordings[0] - text_mean) @ text_map, axis=1).mean()
    parts = {
        "image_mean": image_mean,
        "image_map": image_map,
        "text_mean": text_mean,
        "text_map": text_map,
    }
    return Alignment(
        **{name: np.ascontiguousarray(part, np.float32) for name, part in parts.items()}
    )


def ranks(
    images: Float[np.ndarray, "n d"], texts: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """For each image the rank, from 1, of its own text (the same row) among all texts, by
    cosine.
    """
    cosines = unit(images) @ unit(texts).T
    own = np.diag(cosines)[:, None]
    better: Float[np.ndarray, " n"] = (cosines > own).sum(axis=1) + (
        np.sum(cosines == own, axis=1) - 1
    ) / 2
    return better + 1
