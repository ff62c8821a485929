"""Command lines whose mistakes are one sentence: what was expected, what came, the nearest right
name, and how to get help.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from aigi_core.errors import AigiError

_NEGATIVE = re.compile(r"-\.?\d")
_VALUE = re.compile(r"invalid (\w+) value: (.+)", re.S)
_CHOICE = re.compile(r"invalid choice: (.+) \(choose from (.+)\)", re.S)
_NOUNS = {"int": "a whole number", "float": "a number"}


def did_you_mean(wrong: str, names: Iterable[str], most: int = 1) -> str:
    """``: did you mean X?``, whatever its case, or a full stop where no name is near.

    Args:
        most: names to offer.

    Examples:
        >>> did_you_mean("encdoe", ["ingest", "encode"])
        ': did you mean encode?'
        >>> did_you_mean("vit-l-15", ["ViT-L-14", "ViT-L-16", "RN50"], 3)
        ': did you mean ViT-L-16 or ViT-L-14?'
    """
    by_lower = {name.lower(): name for name in names}
    near = [by_lower[n] for n in difflib.get_close_matches(wrong.lower(), by_lower, most, 0.6)]
    return f": did you mean {' or '.join(near)}?" if near else "."


class Arguments(argparse.ArgumentParser):
    """A parser that raises :class:`AigiError` where argparse would print a usage and end."""

    _given: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, which ``parse_args`` calls; keeps what came for :meth:`error`."""
        self._given = list(args or ())
        return super().parse_known_args(args, namespace)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """As argparse's.

        Raises:
            AigiError: a mistake in the command.
        """
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(f"Nothing can be done with {' '.join(rest)!r}")
        return known

    def error(self, message: str) -> NoReturn:
        """Raise a sentence; a mistyped option comes before what argparse says, which is often that
        the right one is lacking.
        """
        advice = f"'{self.prog} --help' lists the options."
        for word in self._given:
            if word == "--":
                break
            name = word.partition("=")[0]
            if not name.startswith("-") or name == "-" or _NEGATIVE.match(name):
                continue
            if self._matching(name):
                continue
            meant = did_you_mean(name, [n for n in self._option_string_actions if n != "-h"])
            raise AigiError(f"There is no option {name}{meant} {advice}")
        raise AigiError(f"{_sentence(message)}. {advice}")

    def _matching(self, name: str) -> bool:
        """Whether it is an option, or the beginning of one."""
        return any(
            known == name or (name.startswith("--") and known.startswith(name))
            for known in self._option_string_actions
        )


def _sentence(message: str) -> str:
    """What argparse says, in the words of this program's messages."""
    lacking = message.removeprefix("the following arguments are required: ")
    if lacking != message:
        return f"Expected {lacking} as well"
    option, _, what = message.removeprefix("argument ").partition(": ")
    if value := _VALUE.fullmatch(what):
        return f"Expected {_NOUNS.get(value[1], 'another value')} after {option}, got {value[2]}"
    if choice := _CHOICE.fullmatch(what):
        return f"Expected one of {choice[2]} after {option}, got {choice[1]}"
    if what.startswith("expected ") and what.endswith(("argument", "arguments")):
        return f"Expected {what[9:].replace('argument', 'value')} after {option}"
    plain = f"{option}: {what}" if message.startswith("argument ") else message
    return plain[:1].upper() + plain[1:]
