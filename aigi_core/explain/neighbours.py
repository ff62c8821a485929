"""Which images of a workspace lie nearest to one of them, or to any other."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.errors import AigiError
from aigi_core.heads import blocks
from aigi_core.manifest import FAKE
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
    rows = np.argsort(-cosine, kind="stable")[:k]
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
    return np.concatenate(
        [
            unit_rows(workspace.embeddings[part]) @ query
            for part in blocks(len(workspace.embeddings))
        ]
    )
