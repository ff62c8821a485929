"""Metrics of decisions at a threshold."""

from aigi_core.metrics.contract import RateMetric

ACCURACY = RateMetric(
    "accuracy",
    "Accuracy",
    "share of images classified correctly at the detector's own threshold",
    threshold="own",
    weight_of_fakes=None,
)
BALANCED_ACCURACY = RateMetric(
    "balanced_accuracy",
    "Balanced accuracy",
    "mean of the accuracies on real and on fake images",
    threshold="own",
)
ACCURACY_REAL = RateMetric(
    "accuracy_real",
    "Accuracy on real",
    "share of real images that are called real (1 - FPR)",
    threshold="own",
    weight_of_fakes=0.0,
)
ACCURACY_FAKE = RateMetric(
    "accuracy_fake",
    "Accuracy on fake",
    "share of fakes that are called fake (TPR)",
    threshold="own",
    weight_of_fakes=1.0,
)
ACCURACY_AT_VAL_FPR5 = RateMetric(
    "accuracy_at_val_fpr5",
    "Accuracy at 5% FPR on validation reals",
    "accuracy of the detector without refit on validation, at the threshold that 5% of real"
    " images are expected to exceed; it is set on real validation images of the test's pools"
    " (too few images: the nearest possible rate)",
    threshold="held out",
    weight_of_fakes=None,
)
