"""Options that several jobs have, each written once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aigi_core.errors import AigiError
from aigi_core.remote import ADDRESS, as_path

MIN_DRAWS = 20
"""Fewest bootstrap draws that an interval is taken from."""


def whole_number(text: str) -> int:
    """A number of at least 1, as argparse reads it."""
    value = int(text) if text.removeprefix("-").isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text}")
    return value


def from_zero(text: str) -> int:
    """A whole number of at least 0, as argparse reads it."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text}")
    return int(text)


def number(text: str) -> float:
    """A finite number, as argparse reads it."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text}")
    return value


def positive(text: str) -> float:
    """A number above 0, as argparse reads it."""
    value = number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def draws(text: str) -> int:
    """A number of draws that intervals can be taken from, as argparse reads it."""
    value = whole_number(text)
    if value < MIN_DRAWS:
        raise argparse.ArgumentTypeError(
            f"an interval needs at least {MIN_DRAWS} draws, got {text}"
        )
    return value


def file_to_write(text: str) -> Path:
    """A file in a folder that is there, as argparse reads it: a job may take hours to write it."""
    file = Path(text)
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"expected a file to write in a folder that is there, got {text}"
        )
    return file


def folder(text: str) -> Path:
    """A folder on a file system that is mounted, as argparse reads it."""
    if ADDRESS.match(text):
        raise argparse.ArgumentTypeError(
            f"expected a folder, got the address {text}: a workspace is written with locks and"
            " renames; name a folder on a disk, and copy the workspace when it is finished"
        )
    return Path(text)


def image_folder(text: str) -> Path:
    """A folder of images, or an address that fsspec knows, as argparse reads it."""
    try:
        return as_path(text)
    except AigiError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


SHARED: dict[str, dict[str, Any]] = {
    "workspace": {
        "type": folder,
        "required": True,
        "metavar": "W",
        "help": "the workspace",
    },
    "images": {
        "type": image_folder,
        "metavar": "DIR",
        "help": "folder of the images (default: as ingest recorded)",
    },
    "device": {"default": "auto", "help": "auto, cpu, cuda, cuda:1 or mps (default auto)"},
    "batch-size": {"type": whole_number, "help": "images a forward pass (default auto)"},
    "shard-size": {
        "type": whole_number,
        "help": "images a shard, the most that an interruption loses (default auto)",
    },
    "draws": {
        "type": draws,
        "default": 1000,
        "help": "bootstrap draws of every interval (default 1,000)",
    },
    "seed": {"type": from_zero, "default": 0, "help": "of what is drawn at random (default 0)"},
    "protocol": {
        "default": "ours",
        "metavar": "ours|paper",
        "help": "our defaults, or the paper's protocol to the letter (default ours)",
    },
    "words": {
        "type": whole_number,
        "metavar": "N",
        "help": "keep only the N most frequent words of the vocabulary",
    },
    "force": {"action": "store_true", "help": "compute again what is there"},
}
"""Name -> what ``add_argument`` takes."""


def add_shared(parser: argparse.ArgumentParser, *names: str) -> Callable[..., argparse.Action]:
    """Add some of :data:`SHARED`; returns ``parser.add_argument``, for the job's own options."""
    for name in names:
        parser.add_argument(f"--{name}", **SHARED[name])
    return parser.add_argument
