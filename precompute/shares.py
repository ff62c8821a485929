"""One share of a job's units of work: ``--shard i/n``, for batch schedulers.

Every job of an array computes its share into the workspace's folder, on a file system that all of
them see; the same command without ``--shard``, run after them, finds the units and publishes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Share:
    """The i-th of n shares, i from 1 to n: every n-th unit of work.

    Example:
        >>> Share(2, 3).of("abcdefgh")
        ['b', 'e', 'h']
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, units: Sequence[Unit]) -> list[Unit]:
        """Its units, in order."""
        return list(units[self.index - 1 :: self.count])


def parse_share(text: str) -> Share:
    """What ``--shard`` was given.

    Raises:
        ArgumentTypeError: not two whole numbers i/n with 1 <= i <= n.

    Example:
        >>> parse_share("3/8")
        Share(index=3, count=8)
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(
            f"expected i/n with i from 1 to n, such as 3/8, got {text!r}"
        )
    return Share(int(match[1]), int(match[2]))


def add_share_option(parser: argparse.ArgumentParser) -> None:
    """The option of jobs that a batch scheduler may divide."""
    parser.add_argument(
        "--shard",
        type=parse_share,
        metavar="i/n",
        help=(
            "compute the i-th of n shares only and publish nothing; the same command without it,"
            " run last, publishes"
        ),
    )
