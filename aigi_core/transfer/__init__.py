"""Questions asked of detectors through their scores: how well they transfer, how surely, and trained on what.

Everything here takes decision values ``scores`` [K detectors, N images] and the index of who is tested on what
(:class:`aigi_core.manifest.Domains`); how the detectors were trained is no concern of this room.
"""

from aigi_core.transfer.bootstrap import Estimate, draw_counts
from aigi_core.transfer.difference import MatrixDifference, PairedDifference, difference
from aigi_core.transfer.matrix import TrainSet, TransferMatrix, transfer_matrix
from aigi_core.transfer.metrics import METRICS, Metric, evaluate

__all__ = [
    "METRICS",
    "Estimate",
    "MatrixDifference",
    "Metric",
    "PairedDifference",
    "TrainSet",
    "TransferMatrix",
    "difference",
    "draw_counts",
    "evaluate",
    "transfer_matrix",
]
