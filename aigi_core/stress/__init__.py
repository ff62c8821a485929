"""What survives a JPEG: detectors on perturbed copies of images, and trained on them."""

from aigi_core.stress.copies import (
    AUGMENTED,
    Perturbed,
    open_perturbed,
    perturbed_ops,
    trainable,
)
from aigi_core.stress.matrices import (
    CLEAN,
    SIDES,
    Side,
    Stress,
    clean_tables,
    replaced,
    stress,
    training_gains,
)
from aigi_core.stress.robustness import component_stability, robust_heads

__all__ = [
    "AUGMENTED",
    "CLEAN",
    "SIDES",
    "Perturbed",
    "Side",
    "Stress",
    "clean_tables",
    "component_stability",
    "open_perturbed",
    "perturbed_ops",
    "replaced",
    "robust_heads",
    "stress",
    "trainable",
    "training_gains",
]
