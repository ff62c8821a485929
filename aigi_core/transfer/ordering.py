"""The order in which a matrix shows its detectors and generators."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from aigi_core.errors import AigiError
from aigi_core.metrics import METRICS
from aigi_core.transfer.matrix import TransferMatrix

Order = Literal["family", "mean", "name", "similarity"]
MATRIX_ORDERS: tuple[Order, ...] = get_args(Order)


def matrix_order(
    matrix: TransferMatrix, metric: str, by: Order = "family"
) -> tuple[Int[np.ndarray, " K"], Int[np.ndarray, " T"]]:
    """Rows and columns of a matrix in an order.

    Args:
        by: ``family``, as the workspace has them; ``mean`` out of domain, best first (over all
            cells where there are none); ``name``; ``similarity``, so that detectors, and
            generators, with like results stand beside each other (average linkage of Euclidean
            distances, leaves in optimal order: Bar-Joseph et al. 2001).

    Raises:
        AigiError: no such order.
    """
    values = matrix.values[metric]
    if by == "family":
        return np.arange(len(matrix.train)), np.arange(len(matrix.test))
    if by == "name":
        return np.argsort(matrix.train_names, kind="stable"), np.argsort(matrix.test, kind="stable")
    if by == "mean":
        sign = -1 if METRICS[metric].higher_is_better else 1
        return tuple(  # type: ignore[return-value]
            np.argsort(sign * _means(values, matrix.out_of_domain, axis), kind="stable")
            for axis in (1, 0)
        )
    if by == "similarity":
        return _leaves(values), _leaves(values.T)
    raise AigiError(f"There is no order {by!r}; there are {', '.join(MATRIX_ORDERS)}.")


def _means(
    values: Float[np.ndarray, "K T"], cells: np.ndarray, axis: int
) -> Float[np.ndarray, " n"]:
    weights = np.where(cells.any(axis=axis, keepdims=True), cells, True)
    return np.asarray((values * weights).sum(axis) / weights.sum(axis))


def _leaves(rows: Float[np.ndarray, "n m"]) -> Int[np.ndarray, " n"]:
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(rows) < 3:
        return np.arange(len(rows))
    return np.asarray(leaves_list(linkage(rows, "average", optimal_ordering=True)))
