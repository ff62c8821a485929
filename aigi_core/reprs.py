"""Short texts of results: sizes of arrays and tables instead of their numbers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import Any

from aigi_core.statements import counted

LISTED = 3


class ShortRepr:
    """For a dataclass with ``repr=False``: its fields in a line that a notebook can show.

    Example:
        >>> from dataclasses import dataclass
        >>> import numpy as np
        >>> @dataclass(frozen=True, eq=False, repr=False)
        ... class Scores(ShortRepr):
        ...     name: str
        ...     values: np.ndarray
        >>> Scores("sdxl", np.zeros((2, 700)))
        Scores(name='sdxl', values=<2 × 700 float64>)
    """

    def __repr__(self) -> str:
        shown = (
            f"{field.name}={short(getattr(self, field.name))}"
            for field in fields(self)  # type: ignore[arg-type]
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def short(value: Any) -> str:
    """One value in a few words."""
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        return f"<{counted(len(value), 'row')}: {_listed(list(map(str, value.columns)))}>"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{' × '.join(map(str, value.shape)) or '1'} {value.dtype}>"
    if isinstance(value, dict):
        return f"<{len(value)}: {_listed(list(map(str, value)))}>"
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else repr(f"{value[:59]}…")
    if isinstance(value, Collection):
        simple = len(value) <= LISTED and all(isinstance(one, str | int | float) for one in value)
        return repr(value) if simple else f"<{len(value)} in a {type(value).__name__}>"
    if is_dataclass(value) and not isinstance(value, type):
        return f"<{type(value).__name__}>"
    return repr(value)


def _listed(names: list[str]) -> str:
    more = ", …" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
