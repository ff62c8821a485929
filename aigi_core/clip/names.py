"""Names of encoders, looked up without torch: a mistyped one is refused before anything is loaded
or read.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from aigi_core.arguments import did_you_mean
from aigi_core.commands import DEMO, DEMO_EFFICIENTNET
from aigi_core.errors import AigiError

SCHEMES = ("timm", "hf-hub", "local-dir")
"""What stands before a colon in names of encoders that are not open_clip's."""


def refuse_mistyped(model: str) -> None:
    """Raise AigiError for a name without a colon that is no encoder's, and for a name with another
    word than :data:`SCHEMES` before the colon; whether such a source has it, only the source says.

    Example:
        >>> refuse_mistyped("demo"), refuse_mistyped("ViT-L-14"), refuse_mistyped("timm:resnet50")
        (None, None, None)
    """
    scheme, colon, _ = model.partition(":")
    if scheme not in SCHEMES if colon else model not in (DEMO, DEMO_EFFICIENTNET, *configured()):
        raise unknown_model(model, configured())


def configured() -> list[str]:
    """Models of open_clip, by the files of its configurations."""
    found = find_spec("open_clip")
    assert found is not None and found.origin, "open_clip is installed"
    return sorted(
        file.stem for file in (Path(found.origin).parent / "model_configs").glob("*.json")
    )


def unknown_model(model: str, known: Iterable[str]) -> AigiError:
    """The error for a name that is no encoder's, with the nearest of the known ones."""
    _, colon, rest = model.partition(":")
    schemes = [f"{name}:{rest}" for name in SCHEMES if colon]
    meant = did_you_mean(model, [DEMO, DEMO_EFFICIENTNET, *known, *schemes], 3)
    return AigiError(
        f"There is no model {model!r}{meant} Names are open_clip's (ViT-L-14), {DEMO}, timm:NAME,"
        " hf-hub:OWNER/REPO or local-dir:DIR."
    )
