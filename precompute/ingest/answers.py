"""What the user has told about a data set beside its files: the answers to what ingest may ask."""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aigi_core.errors import AigiError
from aigi_core.remote import as_path
from precompute.options import image_folder

OUR_COLUMNS = (
    "path",
    "label",
    "generator",
    "family",
    "pool",
    "group",
    "split",
    "source_url",
    "caption",
    "note",
    "left_out",
)
"""Columns that a data set may tell; the others of a table of images are measured."""
ANY = "*"
MIN_IMAGES = 10
"""Fewest images of a generator, unless the command says otherwise."""


@dataclass(frozen=True)
class Answers:
    """Options that decide what the files leave open; empty where nothing was said.

    Attributes:
        columns: our name of a column (:data:`OUR_COLUMNS`) -> the table's.
        fake_labels, real_labels: values of the label column that mean fake, or real; all others
            mean the other class.
        rename: generator as the layout reads it -> its name; ``*`` stands for all others.
        pools: generator -> pool of the real images that it is compared with; ``*`` for all others.
        real, fake: folders of real images; and of fakes, each with its generator ("" where each
            folder in it is one).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    fake_labels: tuple[str, ...] = ()
    real_labels: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    real: tuple[Path, ...] = ()
    fake: tuple[tuple[str, Path], ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of images that were named one by one; empty where none was."""
        return (*self.real, *(folder for _, folder in self.fake))

    def generator(self, name: str) -> str:
        """A generator's name as it shall be."""
        return self.rename.get(name, self.rename.get(ANY, name))

    def decides(self, name: str) -> bool:
        """Whether this name of a generator was confirmed or replaced."""
        return name in self.rename or ANY in self.rename or name in self.rename.values()

    def pool(self, generator: str, default: str) -> str:
        """The pool of a generator, by its new or old name."""
        return self.pools.get(generator, self.pools.get(ANY, default))


def add_answers(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`Answers`."""
    add = parser.add_argument
    add(
        "--real",
        type=image_folder,
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of real images, where they lie apart from the fakes (may be repeated)",
    )
    add(
        "--fake",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a folder of one generator's images; DIR alone: each folder in it is a generator",
    )
    add(
        "--columns",
        default="",
        metavar="path=filename,label=typ,...",
        help="which columns of a table are meant",
    )
    add(
        "--fake-label",
        action="append",
        default=[],
        metavar="VALUE",
        help="value of the label column (or folder 0 or 1) that means fake; all others mean real",
    )
    add(
        "--real-label",
        action="append",
        default=[],
        metavar="VALUE",
        help="value of the label column (or folder 0 or 1) that means real; all others mean fake",
    )
    add(
        "--rename",
        action="append",
        default=[],
        metavar="FOUND=NAME",
        help="call a generator otherwise, or confirm its name (NAME=NAME); * stands for all others",
    )
    add(
        "--pool",
        action="append",
        default=[],
        metavar="GENERATOR=POOL",
        help="the pool of real images of a generator; POOL alone: one pool for all",
    )


def composed(name: str) -> str:
    """A name in one spelling of its accents, whatever system wrote it."""
    return unicodedata.normalize("NFC", name)


def parse_answers(args: argparse.Namespace) -> Answers:
    """Read the options that :func:`add_answers` defines.

    Raises:
        AigiError: an option is not of its form, or names a column that cannot be told.
    """
    columns = parse_columns(args.columns)
    fakes = [text.partition("=") for text in args.fake]
    if nameless := [
        text
        for text, (name, told, _) in zip(args.fake, fakes, strict=True)
        if told and not name.strip()
    ]:
        raise AigiError(f"Expected --fake NAME=DIR, or DIR alone, got {nameless[0]!r}.")
    return Answers(
        columns=columns,
        fake_labels=tuple(args.fake_label),
        real_labels=tuple(args.real_label),
        rename=_pairs([composed(text) for text in args.rename], "--rename FOUND=NAME"),
        pools=_pairs(
            [composed(text if "=" in text else f"{ANY}={text}") for text in args.pool],
            "--pool GENERATOR=POOL",
        ),
        real=tuple(args.real),
        fake=tuple(
            (composed(a.strip()), as_path(b)) if is_pair else ("", as_path(a))
            for a, is_pair, b in fakes
        ),
    )


def parse_columns(text: str, told: Sequence[str] = OUR_COLUMNS) -> dict[str, str]:
    """``path=filename,label=typ``: our name of a column -> the table's.

    Raises:
        AigiError: not of that form, or a name that is none of ``told``.
    """
    columns = _pairs(list(filter(None, text.split(","))), f"--columns {told[0]}=filename,...")
    if unknown := [name for name in columns if name not in told]:
        raise AigiError(
            f"--columns tells what {', '.join(told)} are called, not {', '.join(unknown)}."
        )
    return columns


def _pairs(texts: Sequence[str], form: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, is_pair, value = (part.strip() for part in text.partition("="))
        if not (name and is_pair and value):
            raise AigiError(f"Expected {form}, got {text!r}.")
        if name in pairs:
            raise AigiError(f"{name!r} is given twice in {form}.")
        pairs[name] = value
    return pairs
