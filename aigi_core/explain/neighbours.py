"""Which images of a workspace lie nearest to one of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.errors import AigiError
from aigi_core.explain.contributions import blocks
from aigi_core.manifest import FAKE
from aigi_core.workspace import Workspace


def neighbours(workspace: Workspace, row: int, k: int = 12) -> pd.DataFrame:
    """The k images nearest to one by cosine of embeddings, itself left out: ``row, cosine, generator, split, same_group``.

    ``generator`` is ``real`` for real images. One query needs no index: a product over the memory map, in blocks.

    Raises:
        AigiError: the image does not exist, or an embedding has length zero.
    """
    n = len(workspace.embeddings)
    if not 0 <= row < n:
        raise AigiError(f"There is no image in row {row}: the workspace has rows 0 to {n - 1}.")
    cosine = np.concatenate([_cosines(workspace.embeddings[part], workspace.embeddings[row]) for part in blocks(n)])
    cosine[row] = -np.inf
    nearest = np.argsort(-cosine, kind="stable")[: min(k, n - 1)]
    domains = workspace.domains
    return pd.DataFrame(
        {"row": nearest, "cosine": cosine[nearest],
         "generator": np.where(domains.labels[nearest] == FAKE, domains.generator[nearest], "real"),
         "split": domains.split[nearest], "same_group": domains.group[nearest] == domains.group[row]}
    )  # fmt: skip


def _cosines(rows: Float[np.ndarray, "n d"], query: Float[np.ndarray, " d"]) -> Float[np.ndarray, " n"]:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows)) * np.linalg.norm(query)
    if not lengths.all():
        raise AigiError("An embedding of length zero has no direction: leave that image out and encode again.")
    cosine: np.ndarray = (rows @ query) / lengths
    return cosine
