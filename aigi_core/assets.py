"""Files that come with the package: the demo, phrases, the alignment of the demo's encoder."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def asset(name: str) -> Path:
    """Path of a file or folder of ``assets/``: inside an installed package, beside it in a
    checkout.

    Examples:
        >>> asset("phrases.txt").name
        'phrases.txt'
    """
    package = Path(str(files("aigi_core")))
    installed = package / "assets" / name
    return installed if installed.exists() else package.parent / "assets" / name
