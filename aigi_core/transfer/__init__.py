"""Questions asked of detectors through their scores: how well they transfer, how surely, and
trained on what.

Measuring takes decision values ``scores`` [K detectors, N images] and the index of who is tested on
what (:class:`aigi_core.manifest.Domains`), however the detectors were trained; rankings of training
sets and few-shot curves train their own.
"""

from aigi_core.metrics import DEFAULT_METRIC, METRICS, Metric, evaluate
from aigi_core.transfer.atlas import Atlas, highest_change, highest_pair, search_curves
from aigi_core.transfer.bootstrap import Estimate, Resample, draw_counts
from aigi_core.transfer.cell import Cell, open_cell
from aigi_core.transfer.difference import MatrixDifference, PairedDifference, difference, standings
from aigi_core.transfer.few_shot import FewShotCurves, few_shot_curves
from aigi_core.transfer.gallery import (
    ORDERS,
    SIZES,
    VERDICTS,
    arrange,
    filter_gallery,
    gallery,
    verdict_shares,
)
from aigi_core.transfer.matrix import (
    TRAINING,
    TrainSet,
    TransferMatrix,
    make_training_sets,
    transfer_matrix,
)
from aigi_core.transfer.ordering import MATRIX_ORDERS, Order, matrix_order
from aigi_core.transfer.pairs import Pair, d_eval, d_eval_rows
from aigi_core.transfer.stability import SelectionStability, selection_stability
from aigi_core.transfer.training_sets import (
    TargetRanking,
    TrainingSetRanking,
    rank_for_targets,
    rank_training_sets,
    score_twice,
    trainer,
)

__all__ = [
    "DEFAULT_METRIC",
    "MATRIX_ORDERS",
    "METRICS",
    "ORDERS",
    "SIZES",
    "TRAINING",
    "VERDICTS",
    "Atlas",
    "Cell",
    "Estimate",
    "FewShotCurves",
    "MatrixDifference",
    "Metric",
    "Order",
    "Pair",
    "PairedDifference",
    "Resample",
    "SelectionStability",
    "TargetRanking",
    "TrainSet",
    "TrainingSetRanking",
    "TransferMatrix",
    "arrange",
    "d_eval",
    "d_eval_rows",
    "difference",
    "draw_counts",
    "evaluate",
    "few_shot_curves",
    "filter_gallery",
    "gallery",
    "highest_change",
    "highest_pair",
    "make_training_sets",
    "matrix_order",
    "open_cell",
    "rank_for_targets",
    "rank_training_sets",
    "score_twice",
    "search_curves",
    "selection_stability",
    "standings",
    "trainer",
    "transfer_matrix",
    "verdict_shares",
]
