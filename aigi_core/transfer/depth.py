"""How far into an encoder: transfer of detectors on the token of each layer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aigi_core.detectors import score_detectors, train
from aigi_core.detectors.token_views import LayerView
from aigi_core.metrics import DEFAULT_METRIC
from aigi_core.transfer.matrix import transfer_matrix
from aigi_core.workspace import Workspace


def by_layer(workspace: Workspace, *, draws: int = 1000) -> pd.DataFrame:
    """Train one detector a generator on every layer, and measure how they transfer.

    Layers are compared on the same images and the same draws. The best of them is chosen on test
    images: say among how many.

    Returns:
        One row a layer: ``layer``, ``in_domain``, and the mean of the ``n`` out-of-domain cells as
        ``value, low, high`` (95%, bootstrap of groups of images).

    Raises:
        NotGivenError: the workspace holds no tokens of layers.
    """
    layers = len(workspace.feature("layers"))
    domains = workspace.domains
    rows = []
    for layer in range(layers):
        detectors = train(workspace, domains.generators, LayerView(layer))
        matrix = transfer_matrix(
            score_detectors(detectors, workspace),
            domains,
            domains.generators,
            thresholds=np.array([detector.threshold for detector in detectors]),
            metrics=(DEFAULT_METRIC,),
            draws=draws,
        )
        inside, outside = (
            matrix.mean(DEFAULT_METRIC, c) for c in (matrix.in_domain, ~matrix.in_domain)
        )
        rows.append(
            {
                "layer": layer,
                "in_domain": inside.value,
                "value": outside.value,
                "low": outside.low,
                "high": outside.high,
                "n": outside.n,
            }
        )
    return pd.DataFrame(rows)
