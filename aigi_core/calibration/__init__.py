"""What a detector's scores are worth as probabilities, and where to put its threshold."""

from aigi_core.calibration.probabilities import (
    AbstentionBand,
    Calibration,
    CalibrationError,
    Ensemble,
    FalseAlarmThreshold,
    abstention_band,
    best_threshold,
    calibration_error,
    false_alarm_threshold,
    fit_calibration,
    fit_ensemble,
    images_needed,
    nearest_false_alarm_threshold,
    nearest_rate,
    operating_point,
    reliability,
)

__all__ = [
    "AbstentionBand",
    "Calibration",
    "CalibrationError",
    "Ensemble",
    "FalseAlarmThreshold",
    "abstention_band",
    "best_threshold",
    "calibration_error",
    "false_alarm_threshold",
    "fit_calibration",
    "fit_ensemble",
    "images_needed",
    "nearest_false_alarm_threshold",
    "nearest_rate",
    "operating_point",
    "reliability",
]
