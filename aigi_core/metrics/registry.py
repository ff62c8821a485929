"""Every metric by name, in the order in which tables show them: a new one is added here."""

from collections.abc import Sequence

from aigi_core.errors import AigiError
from aigi_core.metrics.contract import Metric
from aigi_core.metrics.decisions import (
    ACCURACY,
    ACCURACY_AT_VAL_FPR5,
    ACCURACY_FAKE,
    ACCURACY_REAL,
    BALANCED_ACCURACY,
)
from aigi_core.metrics.ranking import (
    AUC,
    AVERAGE_PRECISION,
    BEST_ACCURACY,
    EER,
    TPR_AT_FPR1,
    TPR_AT_FPR5,
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        ACCURACY,
        BALANCED_ACCURACY,
        AUC,
        AVERAGE_PRECISION,
        EER,
        TPR_AT_FPR1,
        TPR_AT_FPR5,
        ACCURACY_REAL,
        ACCURACY_FAKE,
        BEST_ACCURACY,
        ACCURACY_AT_VAL_FPR5,
    )
}

DEFAULT_METRIC = "balanced_accuracy"
"""Equal to accuracy where a generator has as many fakes as real images; elsewhere accuracy praises
whoever calls everything real."""


def check_metrics(metrics: Sequence[str], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The names as a tuple; raises AigiError for one that is not known (:data:`METRICS` where no
    others are given).
    """
    known = known or tuple(METRICS)
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        if name not in known:
            raise AigiError(f"There is no metric {name!r} here; there are {', '.join(known)}.")
    return names
