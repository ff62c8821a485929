"""The project's own source files, and what each imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file, in dotted form."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    (*file.relative_to(ROOT).parts[: -node.level], *([base] if base else []))
                )
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def files(*rooms: str) -> list[Path]:
    result = [
        f
        for room in rooms
        for f in ([ROOT / room] if room.endswith(".py") else sorted((ROOT / room).rglob("*.py")))
    ]
    assert result
    return result
