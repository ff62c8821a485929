"""Methods of detecting: a registry, each with ``train``, the unrefitted twin and the null of its
explanations.

    >>> from aigi_core.detectors.methods import METHODS
    >>> METHODS["logistic"].title
    'Logistic regression'
"""

from __future__ import annotations

from aigi_core.detectors.detector import Detector
from aigi_core.detectors.methods import (  # noqa: F401 (each registers its methods)
    ensembles,
    layers,
    logistic_regression,
    neighbours,
    other_linear,
    prompts,
    zero_shot,
)
from aigi_core.detectors.methods.base import (
    METHODS,
    FeatureMethod,
    Method,
    protocol_of,
    register,
)
from aigi_core.errors import AigiError
from aigi_core.workspace import Workspace

__all__ = ["METHODS", "FeatureMethod", "Method", "method", "register", "twin"]


def method(name: str) -> Method:
    """A method by name; AigiError, which lists them, for an unknown one."""
    if name not in METHODS:
        raise AigiError(f"There is no method {name!r}; there are {', '.join(METHODS)}.")
    return METHODS[name]


def twin(workspace: Workspace, detector: Detector) -> Detector:
    """The same detector trained on the training split alone, with the same hyperparameters; itself
    where it never saw this workspace, or was not fitted on validation images.
    """
    known = set(detector.training_set) <= set(workspace.domains.generators)
    if (
        detector.provenance.get("workspace_digest") != workspace.digest
        or not known
        or detector.method not in METHODS
        or not protocol_of(detector).refit
    ):
        return detector
    return METHODS[detector.method].twin(workspace, detector)
