"""Public names of rooms whose modules are slow to load: found when they are first used.

``from aigi_core.explain import Lexicon`` then loads one module and not the whole room, which brings
search indexes and statistics that most callers never need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def load_when_used(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__``. Such a package has no ``__all__``, which would hide its modules
    from the API reference.

    Args:
        package: its ``__name__``.
        modules: public name -> the module of the package that defines it. A name may not be that
            of a module, which would hide it.
    """

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return __getattr__
