"""Does the encoder know the concept? How far texts such as "synthetic image" tell fakes from real
images by cosine alone, without any training, beside what any other text would do.

That newer encoders have met generated images and their captions is one explanation given for how
well linear detectors do on them (arXiv 2602.01738).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from aigi_core.errors import NotGivenError
from aigi_core.intervals import auc_interval
from aigi_core.manifest import FAKE
from aigi_core.significance import q_values
from aigi_core.vectors import unit_rows
from aigi_core.workspace import Workspace

CONCEPTS = (
    "AI-generated image",
    "GAN-generated image",
    "synthetic image",
    "computer-generated image",
    "digital rendering",
    "deepfake",
)
"""Names of the concept; those that a bank of texts holds are used."""
MOST_NULL = 4000
"""Words drawn from the vocabulary, evenly spread."""


def concept_alignment(workspace: Workspace, concepts: Sequence[str] = CONCEPTS) -> pd.DataFrame:
    """Each generator's fakes against the real images of its pools, by cosine with the concept, on
    test images.

    The concept is the mean direction of the texts of it among the phrases. The null is the same
    for single words of the vocabulary, either way round.

    Returns:
        ``name`` (generator), ``value, low, high`` (AUC of the cosine, 1 = fakes nearer to the
        concept), ``n``, ``null_low, null_high`` (95% of other texts), ``p_value`` (share of other
        texts whose AUC lies at least as far from .5, add-one) and ``q_value`` over generators.

    Raises:
        NotGivenError: no text tower, or none of the texts in the bank.
    """
    texts = workspace.text_bank("phrases")
    known = texts.table["text"].str.lower().isin([c.lower() for c in concepts])
    if not known.any():
        raise NotGivenError(
            f"The bank 'phrases' holds none of {', '.join(map(repr, concepts))}: add them with"
            f" '{workspace.command('text', phrases='FILE')}'."
        )
    concept = np.asarray(texts.embeddings[known.to_numpy()], np.float64).mean(axis=0)
    others = workspace.text_bank("vocabulary").embeddings
    step = max(1, len(others) // MOST_NULL)
    directions = np.vstack([concept, np.asarray(others[::step], np.float64)]).T
    domains, rows = workspace.domains, []
    for generator in domains.generators:
        used = domains.rows(generator, "test")
        X = unit_rows(np.asarray(workspace.embeddings[used], np.float64))
        auc = _auc(X @ directions, domains.labels[used] == FAKE)
        fakes = int((domains.labels[used] == FAKE).sum())
        interval = auc_interval(auc[:1], fakes, len(used) - fakes)
        low, high = np.quantile(auc[1:], [0.025, 0.975])
        beyond = np.abs(auc[1:] - 0.5) >= abs(auc[0] - 0.5)
        rows.append(
            {
                "name": generator,
                "value": float(auc[0]),
                "low": float(interval.low[0]),
                "high": float(interval.high[0]),
                "n": len(used),
                "null_low": float(low),
                "null_high": float(high),
                "p_value": (1 + int(beyond.sum())) / (1 + len(beyond)),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(q_value=q_values(table["p_value"].to_numpy()))


def _auc(values: Float[np.ndarray, "n T"], fake: np.ndarray) -> Float[np.ndarray, " T"]:
    columns = np.ascontiguousarray(values.T)
    order = columns.argsort(axis=1)
    ranks = fake[order] @ np.arange(1.0, len(values) + 1)
    ordered = np.take_along_axis(columns, order, axis=1)
    tied = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if tied.any():  # rare, and five times as slow
        from scipy.stats import rankdata  # takes long to load

        ranks[tied] = rankdata(columns[tied], axis=1)[:, fake].sum(axis=1)
    fakes, reals = int(fake.sum()), int((~fake).sum())
    result: np.ndarray = (ranks - fakes * (fakes + 1) / 2) / (fakes * reals)
    return result
