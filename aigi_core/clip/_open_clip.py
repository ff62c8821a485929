"""The one place that imports torchvision, open_clip and timm: ``from aigi_core.clip._open_clip
import open_clip``.

Beside a CPU build of torch, the registry's torchvision is a CUDA build whose native operators do
not load, and importing it raises. Nothing here uses those operators, so they are declared by name
and the import is repeated. Where torchvision loads natively nothing is declared.
"""

from __future__ import annotations

import sys
import warnings

import torch

_DECLARED: list[torch.library.Library] = []
"""Keeps the declarations alive: torch drops the operators of a library that is
garbage-collected.
"""


def _import_torchvision() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    operators = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        operators.define(schema)  # type: ignore[no-untyped-call]
    _DECLARED.append(operators)
    import torchvision  # noqa: F401


with warnings.catch_warnings():
    # torchvision's image extension does not load either beside a CPU torch; images are decoded by
    # Pillow here.
    warnings.filterwarnings("ignore", message="Failed to load image Python extension")
    _import_torchvision()
    import open_clip
    import timm

__all__ = ["open_clip", "timm"]
