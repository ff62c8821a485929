"""Detectors: what they see (feature views), how they are trained, exactly, and what is left when
parts are removed.
"""

from aigi_core.detectors.components import ComponentSearch, search_components, train_without
from aigi_core.detectors.detector import Detector, score_detectors
from aigi_core.detectors.features import EmbeddingView, FeatureView, HeadsView, ResidualView
from aigi_core.detectors.heads import score_heads, select_heads
from aigi_core.detectors.protocol import Protocol
from aigi_core.detectors.residual import train_residual
from aigi_core.detectors.solvers.logistic import fit_logistic
from aigi_core.detectors.token_views import LayerView, PreView
from aigi_core.detectors.training import train, train_detectors

__all__ = [
    "ComponentSearch",
    "Detector",
    "EmbeddingView",
    "FeatureView",
    "HeadsView",
    "LayerView",
    "PreView",
    "Protocol",
    "ResidualView",
    "fit_logistic",
    "score_detectors",
    "score_heads",
    "search_components",
    "select_heads",
    "train",
    "train_detectors",
    "train_residual",
    "train_without",
]
