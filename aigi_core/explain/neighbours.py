"""Which images of a workspace lie nearest to one of them, or to any other; those on which a
detector of nearest neighbours decides are its evidence.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.detectors.methods.base import protocol_of
from aigi_core.detectors.methods.neighbours import NeighbourDetector
from aigi_core.detectors.protocol import splits_needed
from aigi_core.errors import AigiError
from aigi_core.heads import blocks, embedding_norms
from aigi_core.manifest import FAKE, REAL
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace


def neighbours(workspace: Workspace, row: int, k: int = 12) -> pd.DataFrame:
    """The k images nearest to one by cosine of embeddings, itself left out: ``row, cosine,
    generator, split, same_group``.

    ``generator`` is ``real`` for real images.

    Raises:
        AigiError: the image does not exist, or an embedding has length zero.
    """
    n = len(workspace.embeddings)
    if not 0 <= row < n:
        raise AigiError(f"There is no image in row {row}: the workspace has rows 0 to {n - 1}.")
    result = nearest(workspace, workspace.embeddings[row], k + 1)
    domains = workspace.domains
    result = result[result["row"] != row].head(k).reset_index(drop=True)
    return result.assign(same_group=domains.group[result["row"].to_numpy()] == domains.group[row])


def nearest(workspace: Workspace, embedding: Float[np.ndarray, " d"], k: int = 12) -> pd.DataFrame:
    """The k images of a workspace nearest to any embedding: ``row, cosine, generator, split``."""
    cosine = cosines(workspace, embedding)
    least = np.partition(cosine, -min(k, len(cosine)))[-min(k, len(cosine))]
    near = np.flatnonzero(cosine >= least)  # of a million, few are put in order
    rows = near[np.argsort(-cosine[near], kind="stable")][:k]
    domains = workspace.domains
    return pd.DataFrame(
        {
            "row": rows,
            "cosine": cosine[rows],
            "generator": np.where(domains.labels[rows] == FAKE, domains.generator[rows], "real"),
            "split": domains.split[rows],
        }
    )


def cosines(workspace: Workspace, embedding: Float[np.ndarray, " d"]) -> Float[np.ndarray, " N"]:
    """Cosine of one embedding with every image's. One query needs no index: a product over the
    memory map, in blocks.
    """
    query = unit_rows(np.asarray(embedding)[None])[0]
    images = workspace.embeddings
    products = np.concatenate([images[part] @ query for part in blocks(len(images))])
    # in the precision of the embeddings, as their lengths are kept in a higher one
    cosine: np.ndarray = products / embedding_norms(workspace).astype(products.dtype)
    return cosine


def deciding_neighbours(
    workspace: Workspace, detector: NeighbourDetector, features: Float[np.ndarray, " p"]
) -> pd.DataFrame:
    """The images that make the score of one image: the k nearest fakes and the k nearest real
    images that the detector was trained on.

    The score is the mean cosine of the fakes less that of the real images, less the detector's
    offset (Ojha et al. 2023).

    Args:
        features: of one image, as the detector's view gives them.

    Returns:
        Columns ``bank`` (``fake`` or ``real``), ``row``, ``cosine``, ``generator``, ``split``; the
            nearest of each bank first.

    Raises:
        AigiError: the detector was trained on another workspace.
    """
    domains, names = workspace.domains, detector.training_set
    known = detector.provenance.get("workspace_digest") == workspace.digest
    rows = (
        np.concatenate([domains.rows(names, s) for s in splits_needed(protocol_of(detector))])
        if known
        else np.array([], int)
    )
    banks = {label: rows[domains.labels[rows] == label] for label in (FAKE, REAL)}
    if [len(banks[FAKE]), len(banks[REAL])] != [len(detector.fakes), len(detector.reals)]:
        raise AigiError(
            f"The images on which {detector.name!r} decides are not in {workspace.path}: it was"
            " trained on another workspace. Train it on this one to see them."
        )
    tables = []
    for label, (cosine, position) in zip(
        (FAKE, REAL), detector.neighbours(np.asarray(features)[None]), strict=True
    ):
        at = banks[label][position[0]]
        tables.append(
            pd.DataFrame(
                {
                    "bank": "fake" if label == FAKE else "real",
                    "row": at,
                    "cosine": cosine[0],
                    "generator": domains.generator[at] if label == FAKE else "real",
                    "split": domains.split[at],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
