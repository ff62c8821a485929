"""What may be fetched and loaded because a file says so: weights that a workspace names, and
archives that run code. Both wait for the user's agreement, which a machine remembers.

A workspace may come from a stranger. Weights that it names on a model hub are loaded where the user
agreed to them, or encoded with them on this machine; those that the user names, and the demo's own,
are agreed to. A TorchScript archive runs the code that it brings when it is loaded, whoever named
it, so that it needs an agreement of its own.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import file_digest
from pathlib import Path
from typing import Any

from aigi_core.commands import DEMO, DEMO_EFFICIENTNET
from aigi_core.errors import AigiError

_FILE = Path("aigi-explorer") / "agreed-weights.txt"
_IN_THIS_PROCESS: set[str] = set()
_ARCHIVES_ALLOWED: ContextVar[bool] = ContextVar("archives", default=False)


class ConsentNeeded(AigiError):
    """Weights or an archive that nobody agreed to yet.

    Attributes:
        what: names them, with their digest; what :func:`agree` takes.
    """

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what


def add_weights_options(parser: argparse.ArgumentParser) -> None:
    """The options by which a command finds a workspace's encoder."""
    add = parser.add_argument
    add(
        "--model",
        help="where the workspace was encoded from a folder: local-dir:DIR (default: as recorded)",
    )
    add("--pretrained", metavar="FILE", help="weights, where the workspace was encoded from a file")
    add(
        "--load-weights",
        action="store_true",
        help="agree to fetch and load the weights of a hub that the workspace names; remembered,"
        " and not needed for weights that this machine has encoded with",
    )
    add_archive_option(parser)


def add_archive_option(parser: argparse.ArgumentParser) -> None:
    """The option by which a command may load TorchScript archives; see :func:`archives_allowed`."""
    parser.add_argument(
        "--allow-torchscript",
        action="store_true",
        help="load weights that come as a TorchScript archive, which runs the code that it brings",
    )


@contextmanager
def archives_allowed(allowed: bool) -> Iterator[None]:
    """Let TorchScript archives be loaded inside."""
    token = _ARCHIVES_ALLOWED.set(allowed)
    try:
        yield
    finally:
        _ARCHIVES_ALLOWED.reset(token)


def require_weights_agreed(encoder: Mapping[str, Any], where: str) -> None:
    """Pass on where a workspace's recorded encoder is on no hub, or was agreed to.

    Args:
        encoder: the workspace's record.
        where: the workspace, for the message.

    Raises:
        ConsentNeeded: says what would be fetched and how to agree.
    """
    what = weights_named(encoder)
    if not what or what in _agreed():
        return
    model, pretrained = str(encoder["model"]), str(encoder.get("pretrained") or "")
    named = f"{model} ({pretrained})" if pretrained else model
    raise ConsentNeeded(
        f"{where} names weights of a model hub, {named} with SHA-256"
        f" {str(encoder['weights_sha256'])[:16]}…: they are fetched and loaded only when you agree."
        " If you trust who made the workspace, say --load-weights (in the app: the button).",
        what,
    )


def require_archive_agreed(file: Path) -> None:
    """Pass on where a TorchScript archive may be loaded.

    Raises:
        ConsentNeeded: says what it is and how to agree.
    """
    if _ARCHIVES_ALLOWED.get():
        return
    with file.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()
    what = f"torchscript {digest}"
    if what not in _agreed():
        raise ConsentNeeded(
            f"The file {file} (SHA-256 {digest[:16]}…) is a TorchScript archive, which runs the"
            " code that it brings when it is loaded: give its weights as .safetensors or as a"
            " state dict, or, if you trust who made it, say --allow-torchscript (in the app: the"
            " button).",
            what,
        )


def weights_named(encoder: Mapping[str, Any]) -> str:
    """What a workspace's recorded encoder takes from a hub, as :func:`agree` takes it; empty where
    that is nothing that a workspace chooses.
    """
    model, pretrained = str(encoder["model"]), str(encoder.get("pretrained") or "")
    untrained = pretrained.startswith("untrained") and not model.startswith("hf-hub:")
    if model in (DEMO, DEMO_EFFICIENTNET) or untrained:
        return ""
    parts = (encoder["weights_sha256"], model, pretrained)
    return " ".join("".join(str(part).split()) for part in parts).strip()


def agree(what: str) -> None:
    """Remember an agreement, in this process and, where that can be written, on this machine
    (``~/.local/state/aigi-explorer/agreed-weights.txt``, or below ``XDG_STATE_HOME``).
    """
    if not what or what in _agreed():
        return
    _IN_THIS_PROCESS.add(what)
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        with _file().open("a", encoding="utf-8") as stream:
            stream.write(f"{what}\n")
    except (OSError, RuntimeError):
        return


def _agreed() -> set[str]:
    try:
        return _IN_THIS_PROCESS | set(_file().read_text("utf-8").splitlines())
    except (OSError, ValueError, RuntimeError):
        return _IN_THIS_PROCESS


def _file() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / _FILE
