"""A table of a document: the names of its columns, then rows of cells."""

from __future__ import annotations

from collections.abc import Sequence

Rows = list[list[str]]
"""Rows of cells; the first holds the names of the columns."""


def columns(header: str) -> list[str]:
    """The names in the first line of a Markdown table.

    >>> columns("generator | n")
    ['generator', 'n']
    """
    return header.split(" | ")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown.

    >>> print(markdown([columns("generator | n"), ["alpha", "3"]]))
    | generator | n |
    | --- | --- |
    | alpha | 3 |
    """
    header, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *body))
