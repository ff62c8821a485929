"""Which parts of the representation hold under an operation: heads alone, components."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from aigi_core.detectors.features import EmbeddingView, HeadsView
from aigi_core.detectors.heads import Progress
from aigi_core.detectors.protocol import Protocol, TrainingSet, as_names
from aigi_core.detectors.training import TrainingImages, train_detectors
from aigi_core.errors import AigiError
from aigi_core.heads import all_heads
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.perturb import Op
from aigi_core.stress.copies import open_perturbed
from aigi_core.stress.matrices import replaced
from aigi_core.transfer import difference, transfer_matrix
from aigi_core.workspace import Workspace

CONSTANT = 1e-9
"""Standard deviation, in components of unit rows, below which a component holds nothing."""


def robust_heads(
    workspace: Workspace,
    op: str | Op,
    training_set: TrainingSet,
    test: str | None = None,
    *,
    protocol: Protocol | None = None,
    draws: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Each head alone, trained on clean images, tested on clean and on perturbed ones.

    Args:
        test: the generator tested on; by default the first of the training set.
        protocol: by default C = 1 without a search, as there are as many fits as heads.
        progress: called with (heads done, heads in all).

    Returns:
        One row a head: ``layer, head, clean, clean_low, clean_high, perturbed, perturbed_low,
            perturbed_high, change, change_low, change_high, p_value, q_value`` (balanced accuracy;
            change paired), ``n_real, n_fake``.

    Raises:
        AigiError: copies without heads.
    """
    copy, names = open_perturbed(workspace, op), as_names(training_set)
    if not copy.has_heads:
        _ = copy.heads
    domains, heads = workspace.domains, all_heads(workspace)
    used = protocol or Protocol(C=(1.0,))
    clean = np.empty((len(heads), len(domains)))
    moved = np.empty((len(heads), len(copy.rows)))
    for i, head in enumerate(heads):
        view = HeadsView((head,))
        features = view.matrix(workspace)
        detector = train_detectors(TrainingImages(features, domains, view), [names], used)[0]
        clean[i], moved[i] = detector.score(features), detector.score(view.matrix(copy))
        if progress is not None:
            progress(i + 1, len(heads))
    columns = (test or names[0],)
    options = dict(metrics=(DEFAULT_METRIC,), draws=draws, seed=seed)
    sets = [names] * len(heads)
    before = transfer_matrix(clean, domains, sets, columns, **options)  # type: ignore[arg-type]
    scores = replaced(clean, moved, copy.rows, domains.labels, "both")
    after = transfer_matrix(scores, domains, sets, columns, **options)  # type: ignore[arg-type]
    change = difference(after, before, DEFAULT_METRIC)
    table = pd.DataFrame(heads, columns=["layer", "head"])
    for name, matrix in (("clean", before), ("perturbed", after)):
        low, high = matrix.interval(DEFAULT_METRIC)
        table[name], table[f"{name}_low"], table[f"{name}_high"] = (
            matrix.values[DEFAULT_METRIC][:, 0],
            low[:, 0],
            high[:, 0],
        )
    table["change"], table["change_low"], table["change_high"] = (
        part[:, 0] for part in (change.values, change.low, change.high)
    )
    return table.assign(
        p_value=change.p_value[:, 0],
        q_value=change.q_value[:, 0],
        n_real=int(after.n_real[0]),
        n_fake=int(after.n_fake[0]),
    )


def component_stability(workspace: Workspace, op: str | Op, *, level: float = 0.95) -> pd.DataFrame:
    """How each component of the normalised embedding comes through an operation, over all copies.

    Returns:
        One row a component: ``component, correlation`` between image and copy with ``low, high``
            (Fisher's z, images taken as independent), ``shift`` (mean of copy minus image, in
            standard deviations over images) and ``n``. A component that is the same for all images
            has NaN.
    """
    copy = open_perturbed(workspace, op)
    before = EmbeddingView().matrix(workspace, copy.rows)
    after = EmbeddingView().matrix(copy)
    if len(before) < 4:
        raise AigiError(
            f"Correlations need at least 4 copies of {copy.op}, there are {len(before)}."
        )
    spread = before.std(axis=0), after.std(axis=0)
    covariance = ((before - before.mean(axis=0)) * (after - after.mean(axis=0))).mean(axis=0)
    constant = np.minimum(*spread) < CONSTANT
    spread = np.where(constant, np.nan, spread[0]), np.where(constant, np.nan, spread[1])
    correlation = np.clip(covariance / (spread[0] * spread[1]), -1, 1)
    half = ndtri(0.5 + level / 2) / np.sqrt(len(before) - 3)
    z = np.arctanh(np.clip(correlation, -1 + 1e-12, 1 - 1e-12))
    return pd.DataFrame(
        {
            "component": np.arange(before.shape[1]),
            "correlation": correlation,
            "low": np.tanh(z - half),
            "high": np.tanh(z + half),
            "shift": (after - before).mean(axis=0) / spread[0],
            "n": len(before),
        }
    )
